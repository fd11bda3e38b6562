/*
 * What the mounts say of themselves to those who have them mounted, `.dsfs/status.json`: written anew when something has changed, at most
 * a few times a second, by a thread of its own that otherwise sleeps. A container is told how things are, not where they are.
 */
#pragma once

#include <stdbool.h>

struct agent;
struct board;
struct seat;

/* 0 or -errno. */
int board_new(struct agent *a, struct board **ret);

/* Something may have changed. Any thread. Takes NULL. */
void board_ring(struct board *b);

/* Write that of one seat now: it is being made. Blocks. */
void board_write(struct seat *s);

/* End the thread; the seats must still be there, or gone for good. Takes NULL. */
void board_free(struct board *b);
