/*
 * Reading without a trace: a directory below which nothing that is read has its access time moved, symlinks included.
 */
#pragma once

/* A path descriptor (O_PATH) of the directory `path`: privileged, in a private copy of its mounts that keeps no access times and lasts as
 * long as the descriptor; else as it is. Or -errno. Any thread. */
int quiet_open(const char *path);
