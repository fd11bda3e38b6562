/*
 * Unpacking tar archives of unknown origin below one directory: ustar, pax and GNU's long names; files, directories, symlinks, hard links.
 * Whatever would be made or reached outside, or is none of these, is refused, and with it the archive.
 */
#pragma once

/* Read an archive from `in`, to its end, into the directory open as `root`. 0, or -errno and *why (the caller frees): -EINVAL when the
 * archive is not to be had. What has been made until then stays. */
int untar(int in, int root, char **why);
