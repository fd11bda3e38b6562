/*
 * Mounts with rules, and where their artifacts are on disk.
 */
#pragma once

#include <fcntl.h>
#include <glob.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/mount/case.h"

#define OVERLAY_OWNER 4242

/* The overlay is on ext4: with the source on one mount of it, or apart from it. */
static const struct variant overlay_variants[] __attribute__((unused)) = {
        {.backing = ON_EXT4, .transport = BY_URING, .watch = WATCH_BY_FANOTIFY, .owner = OVERLAY_OWNER},
        {.backing = ON_EXT4, .transport = BY_DEV, .watch = WATCH_BY_INOTIFY, .owner = OVERLAY_OWNER},
        {.backing = ON_TMPFS, .transport = BY_URING, .watch = WATCH_BY_INOTIFY, .owner = OVERLAY_OWNER},
        {.backing = ON_TMPFS, .transport = BY_DEV, .watch = WATCH_BY_FANOTIFY, .owner = OVERLAY_OWNER},
        {.backing = ON_EXT4, .transport = BY_DEV, .watch = WATCH_BY_FANOTIFY, .profile = PROFILE_DATA, .owner = OVERLAY_OWNER},
        {.backing = ON_TMPFS, .transport = BY_URING, .watch = WATCH_BY_FANOTIFY, .profile = PROFILE_DATA, .owner = OVERLAY_OWNER},
};

static inline void put_rules(struct fixture *f)
{
        put_text(at(f->src, "dsfs.yaml"), "version: 1\n"
                                          "artifacts:\n"
                                          "  - path: node_modules/\n"
                                          "  - path: \"*.art\"\n"
                                          "  - path: /build/\n"
                                          "  - path: \"*.secret\"\n"
                                          "    route: hidden\n"
                                          "  - path: /fixed/\n"
                                          "    route: readonly\n");
        must(chown(at(f->src, "dsfs.yaml"), OVERLAY_OWNER, OVERLAY_OWNER) == 0, "chown");
}

/* A path in the overlay. */
static inline const char *in_overlay(const struct fixture *f, const char *path)
{
        const char *found;
        glob_t g;

        must(glob(at(f->base, "state/dsfs/*/overlay"), 0, NULL, &g) == 0 && g.gl_pathc == 1, "the overlay");
        found = at(g.gl_pathv[0], "%s", path);
        globfree(&g);
        return found;
}

static inline bool is_there(const char *path)
{
        struct stat st;

        return lstat(path, &st) == 0;
}

static inline void must_be(const char *path, const char *text)
{
        CLEANUP_FREE char *have = NULL;

        must(fd_read_file(AT_FDCWD, path, 1 << 20, &have) >= 0, "%s can't be read", path);
        errno = 0;
        must(strcmp(have, text) == 0, "%s says \"%.60s\", not \"%s\"", path, have, text);
}

static inline void must_be_absent(const char *path)
{
        errno = 0;
        must(!is_there(path), "%s is there", path);
}

/* A source with some directories, and the rules, mounted. */
static inline void mount_with_rules(struct fixture *f)
{
        put_rules(f);
        for (size_t i = 0; i < 3; i++) {
                const char *dir = at(f->src, "%s", (const char *const[]){"pkg", "pkg/inner", "fixed"}[i]);

                must(mkdir(dir, i == 1 ? 0750 : 0755) == 0 && chown(dir, OVERLAY_OWNER, OVERLAY_OWNER) == 0, "mkdir %s", dir);
        }
        put_text(at(f->src, "pkg/file"), "the source's");
        fixture_mount(f);
}

#define OVERLAY_CASE(suite, name) CASE_UNMOUNTED(suite, name, overlay_variants)
