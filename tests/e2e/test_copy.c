/*
 * tar, rsync -aHAX and cp -a into the mount, out of it and within it: every copy has the bytes and attributes of the original.
 */
#include <sys/stat.h>

#include "tests/e2e/tool.h"

#define OWNER_KEPT .options = "owner=keep"

static const struct variant copy_variants[] = {
        {.backing = ON_EXT4, .transport = BY_URING, .watch = WATCH_BY_FANOTIFY, OWNER_KEPT},
        {.backing = ON_EXT4, .transport = BY_DEV, .watch = WATCH_BY_INOTIFY, OWNER_KEPT},
        {.backing = ON_EXT4, .transport = BY_URING, .watch = WATCH_BY_INOTIFY, .profile = PROFILE_DATA, OWNER_KEPT},
};

static char *new_dir(const char *dir, const char *name)
{
        char *path = keep(at(dir, "%s", name));

        must(mkdir(path, 0755) == 0, "mkdir %s", path);
        return path;
}

static void copy(struct fixture *f, const char *how, const char *origin, const char *from, const char *to)
{
        char step[3 * PATH_MAX];

        snprintf(step, sizeof(step), "%s %s %s", how, origin, from);
        tool(f, to, "copy.sh", step);
}

static void round_trip(struct fixture *f, const char *how)
{
        char *origin = new_dir(f->plain, "origin"), *back = new_dir(f->plain, "back");
        char *in = new_dir(f->mnt, "in"), *within = new_dir(f->mnt, "within");

        tool(f, origin, "copy.sh", "fill");
        copy(f, how, origin, origin, in);
        copy(f, how, origin, in, within);
        copy(f, how, origin, within, back);
        fixture_wait(f);
        copy(f, "verify", origin, origin, at(f->src, "in"));
        must_mirror(f);
        copy(f, "rsync_again", origin, origin, in);
        fixture_wait(f);
        copy(f, "verify", origin, origin, at(f->src, "in"));
        must_mirror(f);
}

CASE_WITH(copy, tar_there_and_back, copy_variants)
{
        round_trip(f, "by_tar");
}

CASE_WITH(copy, rsync_there_and_back, copy_variants)
{
        round_trip(f, "by_rsync");
}

CASE_WITH(copy, cp_there_and_back, copy_variants)
{
        round_trip(f, "by_cp");
}

/* A tree that was made in the mount is the same as one made without. */
CASE_WITH(copy, made_in_the_mount, copy_variants)
{
        char *origin = new_dir(f->mnt, "origin"), *back = new_dir(f->plain, "back");

        tool(f, origin, "copy.sh", "fill");
        fixture_wait(f);
        copy(f, "by_tar", origin, origin, back);
        copy(f, "by_rsync", origin, at(f->src, "origin"), new_dir(f->mnt, "again"));
        must_mirror(f);
}
