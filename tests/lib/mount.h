/*
 * A mount to test: a fresh source directory on the filesystem that the variant names, mounted with the variant's transport and watch,
 * checked to be what was asked for, and taken away afterwards whatever becomes of the test (a janitor process outlives it).
 *
 * DSFS_BIN names the program. DSFS_TEST_PROFILE=data gives every variant that profile. DSFS_TEST_BIND=1 puts a bind mount in its place, to
 * try the tests themselves.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "tests/lib/area.h"
#include "tests/lib/child.h"

enum transport {
        BY_URING,
        BY_DEV,
};

enum profile {
        PROFILE_SOURCE,
        PROFILE_DATA,
};

enum watch_how {
        WATCH_BY_FANOTIFY,
        WATCH_BY_INOTIFY,
};

/* No pointers inside: Criterion hands variants to a process of its own. */
struct variant {
        enum backing backing;
        enum transport transport;
        enum watch_how watch;
        enum profile profile;
        bool unprivileged; /* the agent runs as FIXTURE_UID, and so must who looks */
        bool prewarm;
        bool no_holder;   /* an agent that is killed stays dead */
        bool own_fs;      /* nothing but this test happens on its filesystem */
        uid_t owner;      /* of the source */
        unsigned max_fds; /* 0: not asked for */
        unsigned nofile;  /* the agent's RLIMIT_NOFILE; 0: as it is */
        unsigned life;    /* seconds until the janitor takes it down regardless; 0: FIXTURE_LIFE */
        char options[64]; /* more -o options */
};

#define FIXTURE_UID 65534 /* fusermount3 wants a user with a name: nobody */
#define FIXTURE_LIFE 300

struct fixture {
        struct variant variant;
        char base[64];         /* everything of this fixture is below it */
        char area[96];         /* on the variant's filesystem: */
        char src[112];         /*   the source */
        char plain[112];       /*   a directory beside it, for the same operation without a mount */
        char mnt[80];          /* the mount point */
        char second[80];       /* the second mount's, if there is one */
        char env_runtime[112]; /* XDG_…=… for who talks to the agent */
        char env_state[112];
        char env_config[112];
        const char *env[4];
        struct who agent; /* whom dsfs runs as, if unprivileged */
        bool bind;        /* DSFS_TEST_BIND */
        bool mounted, mounted_second;
        pid_t pid; /* the agent's */
        pid_t holder;
        pid_t janitor;
        int area_fd;
        int leash; /* the janitor acts when it closes */
};

/* Make the directories; mount. Any failure fails the test. */
struct fixture *fixture_new(const struct variant *v);

/* Unmount (which must work), remove everything, free. */
void fixture_free(struct fixture *f);

/* The two halves, for tests of mounting itself, or that fill the source first: fixture_prepare() leaves the source unmounted. */
struct fixture *fixture_prepare(const struct variant *v);
void fixture_mount(struct fixture *f);
void fixture_umount(struct fixture *f);

/* Mount the source once more, at f->second; `options` in addition to, or in place of, the variant's. fixture_umount() takes it down too. */
void fixture_mount_second(struct fixture *f, const char *options);
void fixture_umount_second(struct fixture *f);

/* Everything that happened before now is visible through the mount when this returns. */
void fixture_wait(struct fixture *f);

/* Run `dsfs ARGS…` (NULL-terminated) as the fixture's agent would. Its exit status; standard output in `out` unless NULL. */
int fixture_dsfs(struct fixture *f, const char *const args[], char *out, size_t size);

/* A number of the mount's object in `status --json`, wherever in it the key is. False if there is none. */
bool fixture_status(struct fixture *f, const char *key, int64_t *ret);

/* A string of it. */
bool fixture_status_text(struct fixture *f, const char *key, char *ret, size_t size);

/* "DIR/NAME…" in one of a few static buffers: for a call's argument, not to keep. */
const char *at(const char *dir, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* A copy of `text` that stays for the rest of the test. */
char *keep(const char *text);

/* The filesystem's type at `path` in /proc/self/mountinfo ("" if it is no mount point). */
void mount_type(const char *path, char *ret, size_t size);

/* Remove a tree; what isn't there is fine. */
void remove_tree(const char *path);

/* A file's whole new content; must() work. */
void put_file(const char *path, const void *bytes, size_t len);
void put_text(const char *path, const char *text);
