#include "tests/lib/tar.h"

#include <string.h>

#include "tests/lib/child.h"

#define BLOCK 512
#define SUM_AT 148
#define SUM_LEN 8

void tar_sum(unsigned char *header)
{
        unsigned sum = 0;

        memset(header + SUM_AT, ' ', SUM_LEN);
        for (size_t i = 0; i < BLOCK; i++)
                sum += header[i];
        snprintf((char *)header + SUM_AT, SUM_LEN, "%06o", sum);
}

static void put_blocks(struct tar_out *t, const void *bytes, size_t len)
{
        static const char zeros[BLOCK];
        size_t pad = (BLOCK - len % BLOCK) % BLOCK;

        must(fwrite(bytes, 1, len, t->f) == len && fwrite(zeros, 1, pad, t->f) == pad, "fwrite");
}

void tar_open(struct tar_out *t, const char *path)
{
        t->f = fopen(path, "wbe");
        must(t->f, "%s", path);
}

void tar_add(struct tar_out *t, char type, const char *name, const char *link, const char *content)
{
        unsigned char h[BLOCK] = {0};
        size_t len = content ? strlen(content) : 0;

        strncpy((char *)h, name, 100);
        memcpy(h + 100, "0000755", 8);
        memcpy(h + 108, "0000000", 8);
        memcpy(h + 116, "0000000", 8);
        snprintf((char *)h + 124, 12, "%011o", (unsigned)len);
        memcpy(h + 136, "14000000000", 12);
        h[156] = (unsigned char)type;
        if (link)
                strncpy((char *)h + 157, link, 100);
        memcpy(h + 257,
               "ustar\0"
               "00",
               8);
        tar_sum(h);
        put_blocks(t, h, sizeof(h));
        if (len)
                put_blocks(t, content, len);
}

void tar_close(struct tar_out *t)
{
        static const char zeros[2 * BLOCK];

        put_blocks(t, zeros, sizeof(zeros));
        must(fclose(t->f) == 0, "fclose");
}
