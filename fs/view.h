/*
 * What is shown of a directory depends on where it is: rules apply below the source's directories, and to their paths, and not in
 * artifacts. A rename that would change what is shown can't be made by renaming; who copies entry by entry has each go where it belongs.
 */
#pragma once

#include "fs/rename.h"

/* 0; -EXDEV: something in the directories that are renamed would be shown that wasn't, or not any more, or be elsewhere; or there is too
 * much in them to tell. Any thread. */
int view_check(struct renaming *r);
