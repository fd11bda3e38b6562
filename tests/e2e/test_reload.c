/*
 * Programs that reload when a file changes, unmodified and without polling, at work in the mount; the file is edited on the host.
 */
#include <stdio.h>

#include "tests/e2e/tool.h"

static const struct variant reload_variants[] = {
        {.backing = ON_EXT4, .transport = BY_URING, .watch = WATCH_BY_FANOTIFY, .options = "replay=on"},
        {.backing = ON_EXT4, .transport = BY_DEV, .watch = WATCH_BY_FANOTIFY, .options = "replay=on"},
};

/* The step with the source as its argument. */
static const char *on_host(const struct fixture *f, const char *step)
{
        char text[256];

        must(snprintf(text, sizeof(text), "%s %s", step, f->src) < (int)sizeof(text), "too long");
        return keep(text);
}

CASE_WITH(reload, once_for_each_edit_on_the_host, reload_variants)
{
        tool(f, f->base, "npm.sh", "fetch");
        tool(f, f->mnt, "reload.sh", "install");
        fputs(tool(f, f->mnt, "reload.sh", on_host(f, "all")), stderr);
}
