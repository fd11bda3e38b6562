#include "tests/e2e/tool.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cache/base/thread.h"

#define OUTPUT_MAX (1 << 20)
#define TOOL_SECONDS "120"

static const char in_place[] = "cd -- \"$1\"; exec bash -euo pipefail \"$2\" $3 </dev/null";

const char *tool_path(const char *name)
{
        char *path = realpath(at("tests/e2e", "%s", name), NULL);
        const char *stays;

        must(path, "tests/e2e/%s (tests run in the repository's root)", name);
        stays = keep(path);
        free(path);
        return stays;
}

unsigned long long tool_seed(void)
{
        const char *text = getenv("DSFS_TEST_SEED");
        struct timespec now;
        unsigned long long seed;

        clock_gettime(CLOCK_REALTIME, &now);
        seed = text && *text ? strtoull(text, NULL, 0) : (unsigned long long)now.tv_sec * 1000000007ull ^ (unsigned long long)now.tv_nsec;
        fprintf(stderr, "DSFS_TEST_SEED=%llu\n", seed);
        return seed;
}

static void put_env(const char **slot, const char *name, const char *dir, const char *rest)
{
        char text[PATH_MAX];

        snprintf(text, sizeof(text), "%s=%s%s", name, dir, rest);
        *slot = keep(text);
}

/* HOME is fresh, so that nobody's settings count; but npm asks the registry that its user has configured. */
static const char *const *tool_env(const struct fixture *f)
{
        static const char *env[9] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "TZ=UTC", "SOURCE_DATE_EPOCH=1700000000"};
        const char *home = getenv("HOME"), *run = getenv("DSFS_TEST_RUN"), *cache = getenv("DSFS_E2E_CACHE");

        if (env[4])
                return env;
        must(mkdir(at(f->base, "home"), 0755) == 0, "mkdir");
        put_env(&env[4], "NPM_CONFIG_USERCONFIG", home ? home : "/root", "/.npmrc");
        put_env(&env[5], "HOME", f->base, "/home");
        put_env(&env[6], "E2E", tool_path("."), "");
        /* One for all tests of a run, or of several. */
        if (cache && *cache)
                put_env(&env[7], "E2E_CACHE", cache, "");
        else
                put_env(&env[7], "E2E_CACHE", run && *run ? run : f->base, "/e2e-cache");
        return env;
}

const char *tool(struct fixture *f, const char *dir, const char *script, const char *step)
{
        const char *here = keep(at(f->base, "here")), *path = tool_path(script);
        static char out[OUTPUT_MAX];
        uint64_t began = clock_now_ns();
        int rc;

        mkdir(here, 0755);
        /* No namespace of our own, for it would have everybody's mounts, and keep them from ending. */
        must(mount(dir, here, NULL, MS_BIND, NULL) == 0, "bind %s at %s", dir, here);
        rc = child_exec(
                (const char *const[]){"timeout", "-k", "10", TOOL_SECONDS, "bash", "-euc", in_place, "tool", here, path, step, NULL},
                tool_env(f), NULL, out, sizeof(out));
        must(umount2(here, 0) == 0 || umount2(here, MNT_DETACH) < 0, "%s %s in %s left somebody behind", script, step, dir);
        fprintf(stderr, "%s %s in %s: %.1f s\n", script, step, dir, (double)(clock_now_ns() - began) / 1e9);
        errno = 0;
        must(rc == 0, "%s %s in %s: %d, after: %s", script, step, dir, rc, out);
        return keep(out);
}

void tool_same(const char *want, const char *have, const char *what)
{
        struct trace *want_text = trace_new(), *have_text = trace_new();

        trace_add(want_text, "%s", want);
        trace_add(have_text, "%s", have);
        trace_must_equal(want_text, have_text, what);
        trace_free(want_text);
        trace_free(have_text);
}

void tool_compare_output(struct fixture *f, const char *script, const char *step)
{
        const char *want = tool(f, f->plain, script, step);
        const char *have = tool(f, f->mnt, script, step);

        tool_same(want, have, at(script, "%s says in the mount", step));
}

void tool_compare(struct fixture *f, const char *script, const char *step)
{
        struct trace *want = trace_new(), *have = trace_new();

        tool_compare_output(f, script, step);
        tree_describe(want, f->plain, TREE_CONTENT);
        tree_describe(have, f->src, TREE_CONTENT);
        trace_must_equal(want, have, at(script, "%s leaves in the source", step));
        trace_free(want);
        trace_free(have);
        must_mirror(f);
}
