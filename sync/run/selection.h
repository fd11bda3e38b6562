/*
 * Which changes `dsfs run` runs its command for: patterns as in a .gitignore at the source's root, and whose change it was. And the list of
 * those that were picked, until the command is run for them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct selection;

struct selection_rules {
        const char *const *on; /* none: everything */
        size_t on_count;
        const char *const *ignore; /* of that */
        size_t ignore_count;
        bool host_only; /* what came through a mount doesn't count */
};

enum selected {
        SELECTED_NO,
        SELECTED_YES,
        SELECTED_BUT_ORIGIN, /* it would be, had it not come through a mount */
};

/* 0; -EINVAL and *pattern: nothing can match that one; or -ENOMEM. The rules are not kept. */
int selection_new(const struct selection_rules *rules, struct selection **ret, const char **pattern);
void selection_free(struct selection *s);

/* A change of `path`. `is_dir`: of a directory; only one that is `deleted` counts, for what was in it. `from_mount`: it came through a
 * mount. */
enum selected selection_of(struct selection *s, const char *path, bool is_dir, bool deleted, bool from_mount);

/* Paths that are kept in memory until they are run for; of more than this it is only known that they are many. */
#define GATHERED_BYTES_MAX (16U << 20)

struct gathered {
        char *bytes; /* paths, each with its NUL */
        size_t len, size;
        bool anything; /* there were too many, or continuity was lost: anything may have changed */
};

/* 0 or -ENOMEM, when it stands for anything from now on. */
int gathered_add(struct gathered *g, const char *path);
void gathered_anything(struct gathered *g);
void gathered_clear(struct gathered *g);

/* Sort them, each once. How many there are. */
size_t gathered_finish(struct gathered *g);
