/* A source and a memory beside it, for one test; and what every test of cache/ does with them. */
#pragma once

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/lib/area.h"
#include "tests/lib/mount.h"
#include "tests/lib/naive.h"

#define SECONDS 120

static char base[64] __attribute__((unused)), src[96] __attribute__((unused)), dir[96] __attribute__((unused));

static inline void case_failed(const char *message)
{
        cr_assert_fail("%s", message);
}

static inline void setup(void)
{
        test_on_fail(case_failed);
        area_new_base(base, sizeof(base));
        snprintf(src, sizeof(src), "%s/src", base);
        snprintf(dir, sizeof(dir), "%s/memory", base);
        must(mkdir(src, 0755) == 0, "mkdir");
}

static inline void teardown(void)
{
        remove_tree(base);
}

static inline struct cache *open_memory(const char *memory, enum cache_found want)
{
        struct cache_options options = {.source = src, .dir = memory, .threads = 2};
        enum cache_found found;
        struct cache *c;
        char *notice;

        must(cache_open(&options, &c, &found, &notice) == 0, "cache_open");
        must(found == want, "found %d, not %d: %s", found, want, notice ? notice : "no notice");
        free(notice);
        return c;
}

static inline struct scan_report scan(struct cache *c)
{
        struct scan_report r;
        int rc = cache_scan(c, NULL, &r);

        must(rc == 0, "cache_scan: %d", rc);
        return r;
}

static inline struct scan_report update(struct cache *c, const char *path)
{
        struct scan_report r;
        int rc = cache_update(c, &path, 1, NULL, &r);

        must(rc == 0, "cache_update: %d", rc);
        return r;
}

/* What a scan says without a memory. */
static inline struct scan_report scan_fresh(void)
{
        struct cache *c = open_memory(NULL, CACHE_FRESH);
        struct scan_report r = scan(c);

        cache_close(c);
        return r;
}

static inline void must_be_naive(const struct scan_report *r)
{
        struct content want = naive_root(src);

        cr_assert(content_equal(&r->root, &want), "the root hash is wrong");
}

static inline struct content known(struct cache *c, const char *path)
{
        struct content ret = {0};

        must(cache_entry(c, path, &ret) != CONTENT_NONE, "%s is not known", path);
        return ret;
}
