/*
 * A mount namespace of one's own. Whoever makes a namespace while a benchmark runs, a container that starts or a test, copies every mount
 * there is: they would keep the benchmark's alive when it unmounts them, and it would keep theirs.
 */
#pragma once

/* Leave the namespace that we are in, and in the new one let go of what others may want to unmount: FUSE, overlays and loop devices, except
 * what `dir` or the current directory is on. Without privilege nothing happens. */
void apart_begin(const char *dir);
