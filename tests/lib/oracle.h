/*
 * The oracle: a script of calls is run in a plain directory and in the mount beside it, and each call must answer the same, leave the same
 * tree, and the mount must show exactly what is in the source.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "tests/lib/mount.h"

/* Text that grows in memory shared with children. */
struct trace {
        size_t len;
        char bytes[];
};
struct trace *trace_new(void);
void trace_free(struct trace *t);
void trace_add(struct trace *t, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* The first line that differs, as text; false if none does. */
bool trace_difference(const struct trace *want, const struct trace *have, char *ret, size_t size);

/* Fail and show it. */
void trace_must_equal(const struct trace *want, const struct trace *have, const char *what);

struct script {
        const char *root;    /* absolute path of the current directory */
        const char *backing; /* where the same files are, without the mount between */
        struct trace *out;
};

/* Run `run` in both places, each time in a process of its own whose working directory and root it is; compare. */
void oracle_compare(struct fixture *f, void (*run)(struct script *s));

/* Make a call, record what it returns and its errno. The value is the call's. */
#define DO(s, call)                                                                                                                        \
        ({                                                                                                                                 \
                errno = 0;                                                                                                                 \
                long do_ret = (long)(call);                                                                                                \
                script_record((s), #call, do_ret, errno);                                                                                  \
                do_ret;                                                                                                                    \
        })

/* The same for calls that return a descriptor, whose number doesn't matter. */
#define DO_FD(s, call)                                                                                                                     \
        ({                                                                                                                                 \
                errno = 0;                                                                                                                 \
                int do_fd = (int)(call);                                                                                                   \
                script_record((s), #call, do_fd < 0 ? -1 : 0, errno);                                                                      \
                do_fd;                                                                                                                     \
        })
void script_record(struct script *s, const char *call, long ret, int error);

/* Record text, or a file's state: type, mode, links, size, owner, content. */
#define SAY(s, ...) trace_add((s)->out, __VA_ARGS__)
void say_stat(struct script *s, const char *path);
void say_fstat(struct script *s, int fd);
void say_content(struct script *s, const char *path);

/* Run fn(s) as somebody else, in the script's directory; what it records counts. */
void as_user(struct script *s, const struct who *who, void (*fn)(struct script *s));

enum tree_what {
        TREE_CONTENT,
        TREE_INODES,   /* and inode numbers, times; directories' links and sizes */
        TREE_IDENTITY, /* and blocks, whose number may change when they are written to the disk */
};

/* One line for everything below `root`, in order of name: type, mode, owner, links, size, extended attributes, content's hash. */
void tree_describe(struct trace *t, const char *root, enum tree_what what);

/* The mount shows exactly what is in the source. */
void must_mirror(struct fixture *f);
