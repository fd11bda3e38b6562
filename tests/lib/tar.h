/*
 * Tar archives made by hand: members that no tar would write.
 */
#pragma once

#include <stddef.h>
#include <stdio.h>

struct tar_out {
        FILE *f;
};

/* must() work. */
void tar_open(struct tar_out *t, const char *path);
/* `type` as in the header; `link` and `content` may be NULL. Names are cut to what a header holds. */
void tar_add(struct tar_out *t, char type, const char *name, const char *link, const char *content);
/* With the blocks that end an archive. */
void tar_close(struct tar_out *t);

/* Have a header's checksum right (512 bytes). */
void tar_sum(unsigned char *header);
