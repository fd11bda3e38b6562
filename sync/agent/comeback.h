/*
 * What has become of the source. When it was deleted and there is a directory in its place again (a fresh clone), all that the agent has
 * open is of the old one: it has its holder start it anew, as after a crash, and the mounts show the new directory. So with one that was
 * moved away and came back. Without a holder nothing is done; dsfs status says what to do.
 */
#pragma once

#include <uv.h>

struct agent;
struct comeback;

enum source_state {
        SOURCE_THERE,
        SOURCE_MOVED,    /* the mounts show it where it is now */
        SOURCE_DELETED,  /* they show nothing */
        SOURCE_REPLACED, /* they show another than is there */
};

/* Begin: it sleeps until comeback_look(). The loop's thread. 0 or -errno. */
int comeback_new(struct agent *a, struct comeback **ret);

/* The source is gone, or may be. Any thread. Takes NULL. */
void comeback_look(struct comeback *c);

/* Any thread; SOURCE_THERE for NULL. */
enum source_state comeback_state(const struct comeback *c);

/* Close its handles. The loop's thread; takes NULL. */
void comeback_close(struct comeback *c);

/* When the loop has ended. Takes NULL. */
void comeback_free(struct comeback *c);
