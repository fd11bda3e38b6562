/*
 * Which thread of the process works for which mount: who watches the source sees a change's thread, and must know whose change it is.
 */
#pragma once

struct fs_mount;

/* The calling thread works for `m` from now on: before it first touches the source. */
void threads_enter(const struct fs_mount *m);

/* All threads of `m` have ended. */
void threads_leave(const struct fs_mount *m);
