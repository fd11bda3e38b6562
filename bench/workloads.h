/*
 * What is compared: the workloads, and the trees that they work on. bench-quick takes two lists whole; bench takes the rows of its table
 * from all lists, by name.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "bench/round.h"
#include "bench/tree.h"

enum {
        PREWARMS_MAX = 64,
        PATH_ROOM = 4096,
};

/* How large all is. */
struct sizes {
        unsigned app_files;   /* of the repository */
        unsigned first_files; /* of the tree that bench-quick sees first through a fresh mount */
        unsigned create_files;
        unsigned node_packages;
        unsigned python_modules;
        unsigned c_files;
        unsigned npm_packages, npm_files; /* and files of each */
        unsigned single_files;            /* operations of a kind a round */
        unsigned data_mib;
        bool real_project; /* else artifacts are made of what is made up, too */
};

extern const struct sizes sizes_full, sizes_smoke;

/* Parts of a scene that not everybody wants. */
enum {
        SCENE_APP = 1 << 0,
        SCENE_FIRST = 1 << 1,
        SCENE_NODE = 1 << 2,
        SCENE_PYTHON = 1 << 3,
        SCENE_C = 1 << 4,
        SCENE_NPM = 1 << 5,
        SCENE_DATA = 1 << 6,
        SCENE_SINGLE = 1 << 7,
        SCENE_PROJECT = 1 << 8,
};

/* What npm installs. Each side has copies of its own, numbered in the order in which they are made. */
struct npm_project {
        const char *name;              /* of the copies; NULL: there is no such project */
        char *from;                    /* owned: where package.json and package-lock.json are; what they name is in npm's cache */
        size_t files;                  /* that it installs */
        bool artifacts;                /* by the rules, what it installs is an artifact */
        size_t installed[SIDES_MAX];   /* how many of them are, or have been */
        size_t changed[SIDES_MAX];     /* of these, those that got another package; */
        size_t uninstalled[SIDES_MAX]; /* and that were deleted */
};

struct scene {
        struct sizes sizes;
        char *source;       /* what is mounted: the application's repository "app", the other parts, and room to write, "scratch" */
        char *first_source; /* the large tree; NULL: not wanted */
        char *archive;      /* the application's first area, a tar */
        char *npm_cache;    /* filled with the packages that "npm" installs; NULL: not wanted */
        char *python;       /* the interpreter itself, not what a version manager puts before it; NULL: there is none */
        struct tree app;
        size_t paths_n, small_n, missing_n;
        char **paths;   /* the application's files, in no order */
        char **small;   /* borrowed from paths: up to WALK_READ_MAX bytes */
        char **missing; /* not there */
        size_t small_bytes;
        size_t tar_bytes;          /* what tar makes of "app"; 0: not known yet */
        size_t stocked[SIDES_MAX]; /* unpacked archives that wait for their deletion, by side */
        size_t deleted[SIDES_MAX];
        struct npm_project npm, project; /* made up; a real one */
        const char *project_missing;     /* why the real one isn't there; NULL: it is */
        char *extra;                     /* owned: a package that is in neither */
        size_t editable[SIDES_MAX];      /* python packages that were installed */
        size_t built[SIDES_MAX];         /* the directory of the compiler's last run */
        double prewarm_s[PREWARMS_MAX];
        size_t prewarms;
};

/* A list that ends with a workload without name. */
extern const struct workload app_workloads[], first_workloads[], touch_workloads[], data_workloads[], tool_workloads[], npm_workloads[],
        artifact_workloads[], single_workloads[];

/* Make the trees in b->place; `parts` of SCENE_…. 0 or -errno, with a message. */
int scene_init(struct scene *sc, const struct bench *b, unsigned parts);
void scene_release(struct scene *sc);

/* Set the variables that git and other programs go by. */
void scene_environment(void);

/* Its parts that programs work on, below `source`. The same. */
int scene_make_node(struct scene *sc);
int scene_make_python(struct scene *sc);
int scene_make_c(struct scene *sc);
int scene_make_npm(struct scene *sc, const char *top);
int scene_make_project(struct scene *sc, const char *top);
int scene_make_data(struct scene *sc);
int scene_make_single(const struct scene *sc, const char *source, size_t sides);

/* Say what failed on which side; returns `err`. */
int work_complain(const struct bench *b, const struct side *s, const char *what, int err);

size_t work_side(const struct bench *b, const struct side *s);

/* Opens the side's root, or `below` it. */
int work_open(const struct side *s, const char *below);

/* "<root>/scratch/<what>-<side>-<n>-<pid>": names decide where ext4 puts them, so another run's are put elsewhere. */
void work_scratch(const struct bench *b, const struct side *s, const char *what, size_t n, char path[PATH_ROOM]);

const char *work_without_node(const struct bench *b);
const char *work_without_npm(const struct bench *b);

/* The side's copy number `n` of a project. */
void npm_path(const struct bench *b, const struct side *s, const struct npm_project *p, size_t n, char path[PATH_ROOM]);

/* One that only has to be installed; that done; one more than `used` of them installed, if there aren't. */
int npm_new(struct bench *b, struct side *s, struct npm_project *p);
int npm_install(struct bench *b, struct side *s, struct npm_project *p, size_t *ops);
int npm_stock(struct bench *b, struct side *s, struct npm_project *p, size_t used);

/* rm -rf of the first node_modules that is left. */
int npm_remove(struct bench *b, struct side *s, struct npm_project *p, size_t *ops);

/* A mount that has seen nothing yet, with or without reading ahead; and its end. */
int work_mount_fresh(struct bench *b, struct side *s, unsigned round);
int work_mount_prewarmed(struct bench *b, struct side *s, unsigned round);
int work_unmount(struct bench *b, struct side *s, unsigned round);
