/*
 * Conformance: every call on every kind of target, made in a plain directory and in the mount beside it. What a call returns, its errno,
 * what can be seen through the descriptor, and all that is left in the directory must be the same, or stand in the table of expected
 * differences (expected.c), each of which the manual names.
 *
 * A trial is a call on a target by a user, in a directory of its own. The calls are in calls_*.c, the targets in targets.c.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "tests/lib/mount.h"
#include "tests/lib/oracle.h"

#define FOREIGNER 7777      /* owns what is somebody else's */
#define TEAM 5000           /* a supplementary group of USER_MEMBER */
#define OLD_TIME 1000000000 /* of everything that a trial finds */

enum user {
        USER_ROOT,
        USER_MEMBER,   /* uid 1000, a member of TEAM; the source's owner where that matters */
        USER_STRANGER, /* uid 4242 */
        USER_COUNT,
};

/* One of the mounts that the trials are made on. */
struct combination {
        enum backing backing;
        enum profile profile;
        enum transport transport;
        bool keep;     /* owner=keep */
        bool readonly; /* against a read-only bind mount */
        bool warm;     /* the kernel has seen everything before the trials begin */
};

struct call;

/* A call being made: the working directory is the trial's own. */
struct trial {
        struct trace *out;
        const struct call *call;
        const char *path;      /* the target */
        const char *elsewhere; /* absolute path of a directory on another filesystem */
        const struct who *who;
        bool squash; /* ownership is not compared: DESIGN section 5 */
};

struct call {
        const char *name;
        void (*run)(struct trial *t);
        long a, b;
        const char *s;
        const char *with;                                         /* more things that must be there, as in struct target */
        bool (*fit)(const struct combination *c, enum user user); /* NULL: everywhere */
        void (*use)(struct trial *t, int fd);                     /* for `run`, with the target's descriptor */
};

/*
 * What a call is made on. `with` lists the objects, made by root before, separated by spaces: KIND:NAME[:ARG], where KIND is
 *   f e b   file of the user with the octal mode ARG: of 6 bytes, empty, of three pages with a hole
 *   F G     file of a foreigner; of a foreigner, in the group TEAM
 *   d D E   directory of the user, of a foreigner, of a foreigner in the group TEAM
 *   l       symbolic link to ARG            h    hard link to ARG
 *   p s w n fifo, socket, whiteout (device 0:0), device 1:3; of the user with mode ARG
 * In names and path, %a is a name of 255 bytes, %b one of 256, %p "./" up to PATH_MAX - 1 with what follows it, %q one byte more,
 * %x bytes that are not UTF-8, %n a newline, %s a space.
 */
struct target {
        const char *name;
        const char *path;
        const char *with;
};

/* Every call on every target. */
struct group {
        const char *name;
        const struct call *calls;
        const size_t *call_count;
        const struct target *targets;
        const size_t *target_count;
        bool writes; /* nothing to be seen of it on a read-only mount */
};

extern const struct group groups[];
extern const size_t group_count;

extern const struct target path_targets[];
extern const size_t path_target_count;
extern const struct target fd_targets[];
extern const size_t fd_target_count;

extern const struct who users[USER_COUNT];
extern const char *const user_names[USER_COUNT];

/* Make the objects that `with` lists in the working directory. */
void target_make(const char *with, const struct who *who);
/* The target's path with its % replaced, in a static buffer. */
const char *target_path(const char *text);

/* What is below `root`: everything that a program can see of it. `exact`: inode numbers and times too. `squash`: no owners.
 * Times are "new" if later than `since`. */
struct state_options {
        bool squash;
        bool exact;
        bool own_times; /* read without moving access times */
        struct timespec since;
};
void state_describe(struct trace *t, const char *root, const struct state_options *o);

/* What a descriptor or path shows right now. */
void say_seen(struct trial *t, const char *what, const struct stat *st);
void say_fd(struct trial *t, int fd);
void say_path(struct trial *t, const char *path);

/* Record text; a call's result; one whose success has no particular value (a descriptor). */
#define TELL(t, ...) trace_add((t)->out, __VA_ARGS__)
long tell_result(struct trial *t, const char *what, long ret, int error);
#define TRY(t, what, call)                                                                                                                 \
        ({                                                                                                                                 \
                errno = 0;                                                                                                                 \
                long try_ret = (long)(call);                                                                                               \
                tell_result((t), (what), try_ret, errno);                                                                                  \
        })
#define TRY_FD(t, what, call)                                                                                                              \
        ({                                                                                                                                 \
                errno = 0;                                                                                                                 \
                int try_fd = (int)(call);                                                                                                  \
                tell_result((t), (what), try_fd < 0 ? -1 : 0, errno);                                                                      \
                try_fd;                                                                                                                    \
        })

/* Run fn(t) in a child, as `who` unless NULL; how it ended is recorded if it was by a signal. */
void in_child(struct trial *t, const struct who *who, void (*fn)(struct trial *t));

/* The count of trials, those that differed as expected, failures, and what differed once and then didn't, summed up over all. */
struct tally {
        size_t trials, expected, failed, unsteady;
        bool show_all;
};

/* Run all trials whose names contain `only` (unless NULL) and are in the share 1/`share` of them. */
void run_combination(const struct combination *c, const char *only, unsigned share, struct tally *tally);
void combination_name(const struct combination *c, char *ret, size_t size);

/*
 * Expected differences
 */
struct difference {
        const char *key;   /* in packaging/manual/differences.md */
        const char *trial; /* pattern (fnmatch, extended) of CALL/TARGET/USER */
        const char *want;  /* patterns of a line that the plain directory gives, and the mount */
        const char *have;
        bool (*fit)(const struct combination *c); /* NULL: everywhere */
        bool rest;                                /* all else that differs in the trial follows from it */
};

/* Two lines of a trial that should be the same; "-" for a line that isn't there. */
struct unlike {
        const char *what;
        const char *want, *have;
        bool expected;
};

/* Mark those that are expected; how many are not. */
size_t differences_judge(const struct combination *c, const char *trial, struct unlike *unlike, size_t count);

/* After a combination: all that are expected of the trials made have been seen. */
void differences_check_seen(const struct combination *c, struct tally *tally);

/* The manual, packaging/manual/differences.md, names each, and no other. */
void differences_check_manual(struct tally *tally);

extern const struct difference differences[];
extern const size_t difference_count;
