/*
 * Drawing operations for the model stress. Names are few, so that they collide; which of them exist is looked up in the model, so that
 * most operations have something to work on.
 */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/lib/mount.h"
#include "tests/stress/model_op.h"
#include "tests/stress/model_side.h"

#define DEPTH 4
#define NAMES_MAX 400
#define PAGE 4096
#define FIRST_TREE 16u /* operations of a sequence that only make */
#define WORN_MODES 6u

struct name {
        char path[OP_PATH];
        mode_t type;
};

struct scene_names {
        struct name at[NAMES_MAX];
        unsigned count;
};

static const char *const file_names[] = {"f0", "f1", "f2", "f3", "f4"};
static const char *const dir_names[] = {"d0", "d1", "d2"};

/* In the order of names: the directory's own order is the file system's secret. */
static void scan(const char *root, const char *rel, unsigned depth, struct scene_names *ret)
{
        static const char *const all[] = {"d0", "d1", "d2", "f0", "f1", "f2", "f3", "f4"};

        for (size_t i = 0; i < ARRAY_LEN(all) && ret->count < NAMES_MAX; i++) {
                struct name *n = &ret->at[ret->count];
                struct stat st;
                int len = snprintf(n->path, sizeof(n->path), "%s%s%s", rel, *rel ? "/" : "", all[i]);

                if (len < 0 || (size_t)len >= sizeof(n->path) - 4 ||
                    fstatat(AT_FDCWD, at(root, "%s", n->path), &st, AT_SYMLINK_NOFOLLOW) < 0)
                        continue;
                n->type = st.st_mode & S_IFMT;
                ret->count++;
                if (n->type == S_IFDIR && depth < DEPTH)
                        scan(root, ret->at[ret->count - 1].path, depth + 1, ret);
        }
}

static bool is_wanted(const struct name *n, enum op_want want)
{
        switch (want) {
        case WANT_DIR:
                return n->type == S_IFDIR;
        case WANT_LINK:
                return n->type == S_IFLNK;
        case WANT_FILE:
                return n->type != S_IFDIR;
        default:
                return true;
        }
}

/* One of those that exist; false if there is none. */
static bool draw_existing(struct dice *dice, const struct scene_names *names, enum op_want want, char *ret)
{
        unsigned count = 0, pick;

        for (unsigned i = 0; i < names->count; i++)
                count += is_wanted(&names->at[i], want);
        if (count == 0)
                return false;
        pick = dice_roll(dice, count);
        for (unsigned i = 0; i < names->count; i++) {
                if (is_wanted(&names->at[i], want) && pick-- == 0) {
                        strcpy(ret, names->at[i].path);
                        return true;
                }
        }
        return false;
}

/* Any name in a directory that exists. */
static void draw_name(struct dice *dice, const struct scene_names *names, bool dir, char *ret)
{
        char parent[OP_PATH] = "";
        const char *name;

        if (dice_roll(dice, 3))
                draw_existing(dice, names, WANT_DIR, parent);
        if (strlen(parent) > DEPTH * 3)
                *parent = '\0';
        if (dice_roll(dice, 12) == 0)
                dir = !dir;
        name = dir ? dir_names[dice_roll(dice, ARRAY_LEN(dir_names))] : file_names[dice_roll(dice, ARRAY_LEN(file_names))];
        snprintf(ret, OP_PATH, "%.40s%s%s", parent, *parent ? "/" : "", name);
}

static void draw_path(struct dice *dice, const struct scene_names *names, enum op_want want, bool dir, char *ret)
{
        bool existing = want == WANT_NEW ? dice_roll(dice, 8) == 0 : dice_roll(dice, 8) != 0;

        if (want == WANT_DIR && dice_roll(dice, 8) == 0)
                strcpy(ret, ".");
        else if (!existing || !draw_existing(dice, names, want == WANT_NEW ? WANT_ANY : want, ret))
                draw_name(dice, names, dir, ret);
}

/* Where pages begin and end, and just beside that, more often than elsewhere. */
static int64_t draw_offset(struct dice *dice)
{
        int64_t page = (int64_t)dice_roll(dice, 12) * PAGE;

        switch (dice_roll(dice, 8)) {
        case 0:
                return 0;
        case 1:
                return page;
        case 2:
                return page + dice_roll(dice, 3) + PAGE - 1;
        case 3:
                return dice_roll(dice, 1u << 20);
        default:
                return dice_roll(dice, 12000);
        }
}

static int64_t draw_length(struct dice *dice)
{
        switch (dice_roll(dice, 8)) {
        case 0:
                return dice_roll(dice, 8) * PAGE;
        case 1:
                return dice_roll(dice, BYTES_MAX);
        case 2:
                return dice_roll(dice, 12000);
        default:
                return dice_roll(dice, 400);
        }
}

static const struct op_kind *draw_kind(struct dice *dice, const struct op_scene *scene, unsigned nth, struct op *ret)
{
        static const char *const makers[] = {"mkdir", "put", "put", "open"};
        size_t count;
        const struct op_kind *kinds = op_kinds(&count);
        unsigned sum = 0, pick;

        if (nth < FIRST_TREE) {
                ret->kind = op_named(makers[dice_roll(dice, ARRAY_LEN(makers))]);
                return &kinds[ret->kind];
        }
        for (size_t i = 0; i < count; i++)
                sum += kinds[i].weight;
        for (;;) {
                pick = dice_roll(dice, sum);
                for (ret->kind = 0; pick >= kinds[ret->kind].weight; ret->kind++)
                        pick -= kinds[ret->kind].weight;
                if ((scene->links || !(kinds[ret->kind].fields & OP_LINKS)) && (scene->crowd || kinds[ret->kind].act != act_crowd) &&
                    (!scene->mounts || !(kinds[ret->kind].fields & OP_SOURCE_ONLY)))
                        return &kinds[ret->kind];
        }
}

/* Ranges that a filesystem shifts are whole blocks. */
static void draw_shift(struct dice *dice, struct op *ret)
{
        ret->off = (int64_t)dice_roll(dice, 8) * PAGE;
        ret->len = PAGE * (1 + (int64_t)dice_roll(dice, 3));
}

/* Mostly a hand that holds something, and an actor who has one. */
static void draw_hands(struct dice *dice, const struct op_scene *scene, const struct op_kind *k, struct op *ret)
{
        bool mapped = k->act == act_mread || k->act == act_mwrite || k->act == act_unmap;
        const uint8_t *masks = mapped ? scene->mapped : scene->open;

        ret->h = (uint8_t)dice_roll(dice, OP_HANDS);
        ret->h2 = (uint8_t)dice_roll(dice, OP_HANDS);
        if (!(k->fields & OP_H) || k->act == act_open || k->act == act_tmpfile || dice_roll(dice, 10) == 0)
                return;
        for (unsigned i = 0; i < OP_ACTORS && !masks[ret->actor]; i++)
                ret->actor = (uint8_t)((ret->actor + (k->fields & OP_SOURCE_ONLY ? 2 : 1)) % OP_ACTORS);
        if (!masks[ret->actor])
                return;
        while (!(masks[ret->actor] & (1u << ret->h)))
                ret->h = (uint8_t)((ret->h + 1) % OP_HANDS);
        while (!(masks[ret->actor] & (1u << ret->h2)))
                ret->h2 = (uint8_t)((ret->h2 + 1) % OP_HANDS);
}

void op_draw(struct dice *dice, const struct op_scene *scene, unsigned nth, struct op *ret)
{
        static const uint32_t modes[WORN_MODES] = {0644, 0600, 0755, 0700, 0444, 0};
        static struct scene_names names;
        const struct op_kind *k;
        bool dir;

        memset(ret, 0, sizeof(*ret));
        names.count = 0;
        scan(scene->root, "", 1, &names);
        k = draw_kind(dice, scene, nth, ret);
        ret->actor = (uint8_t)dice_roll(dice, OP_ACTORS);
        if ((k->fields & OP_SOURCE_ONLY) && op_in_mount(ret))
                ret->actor--;
        draw_hands(dice, scene, k, ret);
        ret->look = dice_roll(dice, 2);
        dir = k->at == WANT_DIR || k->act == act_mkdir;
        if (k->fields & OP_AT)
                draw_path(dice, &names, k->at, dir, ret->path);
        if (k->fields & OP_TO)
                draw_path(dice, &names, k->to, dir, ret->to);
        ret->off = draw_offset(dice);
        ret->off2 = draw_offset(dice);
        ret->len = draw_length(dice);
        ret->flags = k->flags ? k->flags[1 + dice_roll(dice, k->flags[0])] : 0;
        ret->mode = modes[dice_roll(dice, WORN_MODES)];
        ret->salt = dice_roll(dice, 1u << 20);
        if (k->fields & OP_SOURCE_ONLY)
                draw_shift(dice, ret);
        if (k->act == act_symlink && dice_roll(dice, 3))
                snprintf(ret->to, sizeof(ret->to), "%s",
                         dice_roll(dice, 3) ? file_names[dice_roll(dice, 5)] : dir_names[dice_roll(dice, 3)]);
}
