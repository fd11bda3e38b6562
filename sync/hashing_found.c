#include "sync/hashing_found.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "cache/base/err.h"
#include "sync/hashing_place.h"
#include "sync/journal.h"
#include "sync/watch.h"

#define LIST_BYTES (JOURNAL_RECORDS * sizeof(struct finding))

/* Memory of its own, touched as far as it is used and given back whole: what a storm takes is not kept by the allocator. */
static void *reserve(size_t size)
{
        void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

        return at == MAP_FAILED ? NULL : at;
}

static void forget(struct found *f)
{
        if (f->list)
                munmap(f->list, LIST_BYTES);
        if (f->texts)
                munmap(f->texts, JOURNAL_BYTES);
        f->list = NULL;
        f->texts = NULL;
        f->count = f->texts_used = 0;
}

void found_release(struct found *f)
{
        forget(f);
}

/* Room for one more. */
static bool make_room(struct found *f, size_t len)
{
        if (!f->list)
                f->list = reserve(LIST_BYTES);
        if (!f->texts)
                f->texts = reserve(JOURNAL_BYTES);
        return f->list && f->texts && f->count < JOURNAL_RECORDS && f->texts_used + len <= JOURNAL_BYTES;
}

void found_add(struct found *f, const struct cache_change *c)
{
        size_t len = strlen(c->path) + 1;

        if (f->too_much)
                return;
        if (!make_room(f, len)) {
                f->too_much = true;
                forget(f);
                return;
        }
        memcpy(f->texts + f->texts_used, c->path, len);
        f->list[f->count++] = (struct finding){.path = (uint32_t)f->texts_used,
                                               .was = (uint8_t)c->was,
                                               .is = (uint8_t)c->is,
                                               .touched = c->touched,
                                               .old_hash = c->old_hash,
                                               .new_hash = c->new_hash};
        f->texts_used += len;
}

static int by_path(const void *a, const void *b, void *texts)
{
        return strcmp((const char *)texts + ((const struct finding *)a)->path, (const char *)texts + ((const struct finding *)b)->path);
}

/* If several had part in it: the host before all, for it is he who waits for what his edit does. But of everything at once, nobody knows
 * who did what. */
static enum change_origin origin_of(struct hashing_places *places, const char *path)
{
        uint8_t by = places ? hashing_places_by(places, path) : 0;

        if (by == WATCH_BY_OURS)
                return ORIGIN_CONTAINER;
        if (by == WATCH_BY_OTHERS || (by & WATCH_BY_OTHERS && !places->all))
                return ORIGIN_HOST;
        return ORIGIN_UNKNOWN;
}

static bool has_hash(uint8_t kind)
{
        return kind != CONTENT_NONE && kind != CONTENT_DIRECTORY;
}

/* What was another kind of thing is gone, and something new is there. */
static void tell(struct journal *j, const struct finding *f, struct change *c)
{
        bool gone = f->is == CONTENT_NONE, new = f->was == CONTENT_NONE;
        bool other = !gone && !new && (f->was == CONTENT_DIRECTORY) != (f->is == CONTENT_DIRECTORY);

        if (gone || other) {
                c->kind = CHANGE_DELETED;
                c->type = f->was;
                c->has_old = has_hash(f->was);
                c->has_new = false;
                journal_append(j, c);
        }
        if (gone)
                return;
        c->kind = new || other ? CHANGE_CREATED : f->touched ? CHANGE_TOUCHED : CHANGE_MODIFIED;
        c->type = f->is;
        c->has_old = !new && !other &&has_hash(f->was);
        c->has_new = has_hash(f->is);
        journal_append(j, c);
}

void found_tell(struct found *f, struct hashing_places *places, bool (*leave_out)(void *arg, const char *path, bool is_directory),
                void *arg, struct journal *j)
{
        if (f->too_much)
                journal_lost(j);
        if (f->count)
                qsort_r(f->list, f->count, sizeof(*f->list), by_path, f->texts);
        for (size_t i = 0; i < f->count; i++) {
                const struct finding *at = &f->list[i];
                struct change c = {.path = f->texts + at->path, .old_hash = at->old_hash, .new_hash = at->new_hash};

                if (leave_out && leave_out(arg, c.path, (at->is ? at->is : at->was) == CONTENT_DIRECTORY))
                        continue;
                c.origin = origin_of(places, c.path);
                tell(j, at, &c);
        }
        forget(f);
        f->too_much = false;
}
