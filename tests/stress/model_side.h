/*
 * Where an operation of the model stress is carried out, and its answer as text: the same operation in the plain directory that is the
 * model must answer the same.
 */
#pragma once

#include <limits.h>
#include <sys/stat.h>

#include "tests/stress/model_op.h"

#define ANSWER_MAX 1000
#define BYTES_MAX (256 << 10) /* of one operation, and of a mapping */
#define ANSWER_BUSY " busy"
#define CROWD_TEXT "one of many, number %u"
#define CROWD 600 /* files beside the tree, more than the agent has descriptors for with --nofile 256 */

struct hand {
        int fd;     /* -1: none */
        int map_fd; /* the mapping's own */
        char *map;  /* or NULL */
        size_t map_len;
        bool nameless, map_nameless; /* known to be, at the last side_settle() */
};

/* One of the two trees that an actor works in. */
struct side {
        char root[128];
        char crowd[128]; /* CROWD files named by number; read only */
        /* About the actor, so the same for its side and for the model. */
        bool in_mount;
        bool overheard; /* others see what it does by the watch */
        bool vague;     /* answers are */
        bool inotify;   /* which has no word for a file without a name */
        struct hand hands[OP_HANDS];
};

struct answer {
        bool vague; /* of a directory only its mode is said: the rest is that of one of its layers */
        bool doubt; /* the kernel may have been wrong about the file's size: its pages are right after the next barrier */
        char text[ANSWER_MAX];
};

/* No hand is open. */
void side_init(struct side *p, bool in_mount, bool inotify);

/* Close all hands. */
void side_release(struct side *p);

void answer_say(struct answer *a, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* What a call returned, with its errno. */
void answer_call(struct answer *a, const char *what, long ret);

/* Type, mode, links, size, and the modification time if somebody has set it (to what can't be now). */
void answer_stat(struct answer *a, const struct stat *st);

/* An open file whose last name is removed through the mount lives on; one that the source's user removes may be gone for the mount, which
 * doesn't know who has it open there (of files that are passed through it does, of directories never: `dirs_only`). Close what was lost so,
 * in both of an actor's trees; after an operation that removes. */
void side_settle(struct side *p, struct side *model, bool by_mount, bool dirs_only);

/* With inotify, what is done on the source to a file without a name is told to nobody. Model and source agree about who has one. */
bool side_is_mute(const struct side *p, int fd);

/* Do it, and look. */
void side_act(struct side *p, const struct op *op, struct answer *a);

/* Bytes that nobody else writes, without a zero. */
void pattern_fill(char *buf, size_t len, uint32_t salt);

/* A buffer of BYTES_MAX. */
char *scratch(void);

/* An absolute path below the root, in one of a few buffers. */
const char *side_path(const struct side *p, const char *rel);

/*
 * The operations.
 */
#define ACT(name) void act_##name(struct side *p, const struct op *op, struct answer *a)
ACT(open);
ACT(close);
ACT(read);
ACT(write);
ACT(pread);
ACT(pwrite);
ACT(append);
ACT(put);
ACT(save);
ACT(cat);
ACT(lseek);
ACT(hole);
ACT(ftruncate);
ACT(truncate);
ACT(fallocate);
ACT(shift);
ACT(copy);
ACT(fsync);
ACT(map);
ACT(mread);
ACT(mwrite);
ACT(unmap);
ACT(hands);
ACT(crowd);
ACT(mkdir);
ACT(mkfifo);
ACT(symlink);
ACT(link);
ACT(rename);
ACT(unlink);
ACT(rmdir);
ACT(readdir);
ACT(hlist);
ACT(empty);
ACT(chmod);
ACT(fchmod);
ACT(utimens);
ACT(setxattr);
ACT(removexattr);
ACT(getxattr);
ACT(tmpfile);
ACT(linkfd);
ACT(readlink);
ACT(exec);
ACT(storm);
ACT(stat);
ACT(compare);
