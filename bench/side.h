/*
 * One of the two that are compared: a source seen through a bind mount, or through dsfs. Without root there are no bind mounts, and the
 * source itself takes the place of one.
 */
#pragma once

#include <stdbool.h>
#include <jansson.h>

struct options;

struct side {
        const char *label;
        bool fuse;
        char *mountpoint;     /* owned */
        char *root;           /* owned while open: where the source is seen */
        char prewarm_end[16]; /* how prewarming ended: "done", or what stopped it */
        const struct options *options;
};

/* `name` is the mount point's, below `top`. Makes the directory. 0 or -errno. */
int side_init(struct side *s, const struct options *o, const char *top, const char *name, const char *label, bool fuse);

/* Mount `source`. 0 or -errno, with a message. */
int side_open(struct side *s, const char *source);

/* Unmount, if mounted. */
void side_close(struct side *s);

/* Until all that was changed before is seen through it. */
int side_settle(struct side *s);

/* Until prewarming has ended. 0 with seconds since `since_ns` in *seconds (less than 0: it doesn't prewarm), or -errno with a message. */
int side_prewarm(struct side *s, unsigned long long since_ns, double *seconds);

/* What `dsfs status --json` says of this mount, a new reference. NULL with a message; NULL for a bind mount. */
json_t *side_status(struct side *s);

/* The mount's counters of requests, by name, a new reference; NULL for a bind mount. */
json_t *side_requests(struct side *s);
