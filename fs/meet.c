#include "fs/meet.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "cache/base/fd.h"
#include "fs/generations.h"
#include "fs/overlay.h"

enum meeting {
        MEET_FINDING,
        MEET_MAKING,
        MEET_LISTING,
};

/* Stands for a name of a directory of a mount, as long as no directory moves and the rules are the same. */
static uint64_t mark_of(const struct fs_mount *m, const struct node *dir, const char *name, enum meeting how)
{
        struct {
                node_id dir;
                uint64_t epoch;
                unsigned mount, how;
        } what = {node_id_of(dir), atomic_load(&m->overlay->epoch), m->connection, how};

        return XXH3_64bits_withSeed(name, strlen(name), XXH3_64bits(&what, sizeof(what)));
}

/* Where `name` in the directory is, relative to the source. */
static int path_of(const struct fs_mount *m, int dirfd, const char *name, char ret[PATH_MAX])
{
        int rc = layer_path(&m->source, dirfd, ret, PATH_MAX);
        size_t len = rc == 0 ? strlen(ret) : 0;

        if (rc < 0)
                return rc;
        if (len + strlen(name) + 2 > PATH_MAX)
                return -ENAMETOOLONG;
        if (len)
                ret[len++] = '/';
        memcpy(ret + len, name, strlen(name) + 1);
        return 0;
}

void meet(struct fs_mount *m, const struct node *dir, int dirfd, const char *name, const struct rule *rule, bool making)
{
        struct generations *g = m->overlay->generations;
        uint64_t mark = mark_of(m, dir, name, making ? MEET_MAKING : MEET_FINDING);
        char path[PATH_MAX];

        if (generations_has_met(g, mark))
                return;
        if (path_of(m, dirfd, name, path) == 0)
                generations_meet(g, path, rule, making);
        generations_remember(g, mark);
}

/* A directory whose entries are about to be listed. */
struct listed {
        struct fs_mount *m;
        const struct node *dir;
        int fd;
};

static void meet_name(void *arg, const char *name)
{
        const struct listed *l = arg;
        const struct pattern_place *place = atomic_load(&l->dir->place);
        const struct rules *rules = overlay_rules(l->m->overlay);
        size_t len = strlen(name);
        const struct rule *rule = place ? rules_find(rules, place, name, len, true) : NULL;

        if (place && !rule_has_generations(rule))
                rule = rules_find(rules, place, name, len, false);
        if (rule_has_generations(rule))
                meet(l->m, l->dir, l->fd, name, rule, false);
}

/* What the source has may be what generations begin with. */
static void meet_seeds(struct listed *l)
{
        int fd = openat(l->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *d = fd < 0 ? NULL : fdopendir(fd);
        const struct dirent *e;

        while (d && (e = readdir(d)))
                meet_name(l, e->d_name);
        if (d)
                closedir(d);
        else
                fd_close(&fd);
}

void meet_listing(struct fs_mount *m, const struct node *dir, int dirfd)
{
        struct generations *g = m->overlay->generations;
        struct listed l = {.m = m, .dir = dir, .fd = dirfd};
        uint64_t mark = mark_of(m, dir, "", MEET_LISTING);
        char path[PATH_MAX];

        if (generations_has_met(g, mark) || layer_path(&m->source, dirfd, path, sizeof(path)) < 0)
                return;
        generations_each_in(g, path, meet_name, &l);
        if (rules_seeded(overlay_rules(m->overlay)))
                meet_seeds(&l);
        generations_remember(g, mark);
}

void meet_change(struct fs_mount *m, int dirfd, const char *name)
{
        generations_note(m->overlay->generations, dirfd, name);
}

void meet_change_begin(struct fs_mount *m)
{
        generations_change_begin(m->overlay->generations);
}

void meet_change_end(struct fs_mount *m)
{
        generations_change_end(m->overlay->generations);
}

void meet_writer(struct fs_mount *m, int fd, int by)
{
        generations_note_writer(m->overlay->generations, fd, by);
}
