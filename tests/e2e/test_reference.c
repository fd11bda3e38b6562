/*
 * The reference case: all that the tools of a checkout of edx-platform's shape generate in it, as root in a mount, is there for them as
 * without a mount, stays, and leaves no trace in the developer's checkout.
 */
#include "tests/e2e/tool.h"

#define SCRIPT_FILE "reference.sh"
#define DEVELOPER 1000

static const struct variant reference_variants[] = {
        {.backing = ON_EXT4, .transport = BY_URING, .watch = WATCH_BY_FANOTIFY, .owner = DEVELOPER},
        {.backing = ON_EXT4, .transport = BY_DEV, .watch = WATCH_BY_INOTIFY, .owner = DEVELOPER},
};

static const char *step(struct fixture *f, const char *dir, const char *name)
{
        return tool(f, dir, SCRIPT_FILE, name);
}

/* Every artifact is there, with the bytes that it had. */
static void must_show(struct fixture *f, const char *dir, const char *want, const char *where)
{
        tool_same(want, step(f, dir, "describe"), where);
}

/* The developer, on the host, can't tell that anything was generated. */
static void source_is_clean(struct fixture *f)
{
        fixture_wait(f);
        step(f, f->src, "must_be_untouched");
        step(f, f->src, "in_step as_owner");
}

CASE_UNMOUNTED(reference, artifacts_live_beside_the_source, reference_variants)
{
        const char *want;

        step(f, f->base, "fetch");
        must(atoi(step(f, f->plain, "make_tree")) == atoi(step(f, f->src, "make_tree")), "the two trees differ");
        fixture_mount(f);
        tool_compare_output(f, SCRIPT_FILE, "generate");
        source_is_clean(f);
        want = step(f, f->plain, "describe");
        must_show(f, f->mnt, want, "what the mount shows");
        step(f, f->mnt, "nothing_is_roots");
        step(f, f->mnt, "in_step");
        source_is_clean(f);

        fixture_mount_second(f, "");
        must_show(f, f->second, want, "what a second mount shows");
        step(f, f->second, "in_step");
        fixture_umount(f);

        fixture_mount(f);
        must_show(f, f->mnt, want, "what a later mount shows");
        step(f, f->mnt, "use");
        step(f, f->mnt, "in_step");
        source_is_clean(f);
}
