/*
 * Is an LMDB file whole? LMDB trusts what it maps: a damaged page number makes it crash, a damaged list of free pages makes it write over
 * live ones. So before it may open a file that anything might have happened to, every page that it could follow is looked at, as data:
 * nothing that is in the file can make this crash or run for ever.
 */
#pragma once

#include <stddef.h>

/* NULL when the file's bytes are a whole LMDB environment with one unnamed database, else what is wrong with it (static text). Any
 * thread. */
const char *check_lmdb(const void *file, size_t size);
