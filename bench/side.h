/*
 * One of those that are compared: a source seen through a bind mount, through dsfs, or through a peer. Without root there are no bind
 * mounts, and the source itself takes the place of one.
 */
#pragma once

#include <stdbool.h>
#include <jansson.h>

struct options;
struct peer;

struct side {
        const char *label;
        const char *name;        /* in tables and results: "bind", a profile, or a peer's */
        const char *profile;     /* of dsfs, mounted with; NULL: the default one */
        const struct peer *peer; /* NULL: bind mount or dsfs */
        bool fuse;               /* dsfs */
        char *mountpoint;        /* owned */
        char *root;              /* owned while open: where the source is seen */
        char prewarm_end[16];    /* how prewarming ended: "done", or what stopped it */
        const struct options *options;
        char *work;     /* owned: a directory on the source's disk that a peer may write in; NULL: it isn't one */
        unsigned opens; /* of a peer: each has a directory of its own below `work` */
};

/* `name` is the mount point's, below `top`. Makes the directory. 0 or -errno. */
int side_init(struct side *s, const struct options *o, const char *top, const char *name, const char *label, bool fuse);

/* Mount `source`. 0 or -errno, with a message. */
int side_open(struct side *s, const char *source);

/* The same with further options for `dsfs mount -o`, which the others ignore. */
int side_open_with(struct side *s, const char *source, const char *mount_opts);

/* Unmount, if mounted. */
void side_close(struct side *s);

void side_release(struct side *s);

/* Until all that was changed before is seen through it. */
int side_settle(struct side *s);

/* Until prewarming has ended. 0 with seconds since `since_ns` in *seconds (less than 0: it doesn't prewarm), or -errno with a message. */
int side_prewarm(struct side *s, unsigned long long since_ns, double *seconds);

/* What `dsfs status --json` says of this mount, a new reference. NULL with a message; NULL for a bind mount. */
json_t *side_status(struct side *s);

/* The mount's counters of requests, by name, a new reference; NULL for a bind mount. */
json_t *side_requests(struct side *s);
