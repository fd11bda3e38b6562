/*
 * Moves between the source and its artifacts, and of directories that have some, while the agent is killed again and again: nothing is
 * lost, nothing is there twice, and nothing half done is left. Each file says in its content, each symlink in its target, which it is.
 *
 *      moves [MOVES]   how many to make for each place of the overlay (150)
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/lib/mount.h"

#define MOVES_DEFAULT 150
#define PLACES 4 /* directories, each called d<n> or e<n> */
#define FILES 24 /* f<n>, by name and content */
#define LINKS 8  /* l<n> */
#define TREES 4  /* t<n>, each with some files in it */
#define IN_TREE 4
#define ITEMS (FILES + LINKS + TREES)
#define CONTENTS (FILES + LINKS + TREES * IN_TREE)
#define MOVERS 2
#define LARGE_EVERY 5
#define LARGE_BYTES ((size_t)700 << 10)
#define BURST 24
#define PATIENCE_SECONDS 30
/* An agent that is killed while it replays through its own mount waits there for itself. */
#define NO_REPLAY "replay=off"

struct shared {
        atomic_uint moves, refused, directories;
};

static struct shared *shared;
static struct fixture *fixture;

/*
 * What there is
 */

static void item_name(unsigned item, char ret[16])
{
        if (item < FILES)
                snprintf(ret, 16, "f%u", item);
        else if (item < FILES + LINKS)
                snprintf(ret, 16, "l%u", item - FILES);
        else
                snprintf(ret, 16, "t%u", item - FILES - LINKS);
}

static void put_content(const char *path, unsigned content)
{
        CLEANUP_FREE char *bytes = calloc(1, LARGE_BYTES);
        size_t len = content % LARGE_EVERY ? 64 : LARGE_BYTES;

        snprintf(bytes, LARGE_BYTES, "content %u\n", content);
        put_file(path, bytes, len);
}

static void fill(void)
{
        char name[16];

        put_text(at(fixture->src, "dsfs.yaml"), "version: 1\nartifacts:\n  - path: \"*.art\"\n");
        for (unsigned i = 0; i < PLACES; i++)
                must(mkdir(at(fixture->src, "d%u", i), 0755) == 0, "mkdir");
        for (unsigned i = 0; i < ITEMS; i++) {
                char path[PATH_MAX];

                item_name(i, name);
                snprintf(path, sizeof(path), "%s/d%u/%s", fixture->src, i % PLACES, name);
                if (i < FILES) {
                        put_content(path, i);
                } else if (i < FILES + LINKS) {
                        must(symlink(at("content", "%u", i), path) == 0, "symlink");
                } else {
                        must(mkdir(path, 0755) == 0, "mkdir");
                        for (unsigned n = 0; n < IN_TREE; n++)
                                put_content(at(path, "g%u", n), FILES + LINKS + (i - FILES - LINKS) * IN_TREE + n);
                }
        }
}

static unsigned seen[CONTENTS];
static const char *walking;

static int see(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
        CLEANUP_FD int fd = -1;
        char text[64] = "";
        unsigned content = CONTENTS;

        (void)ftw;
        must(!strstr(path, "/.dsfs-") && !strstr(path, "/cross-"), "left half done: %s", path);
        if (type == FTW_SL) {
                must(readlink(path, text, sizeof(text) - 1) > 0 && sscanf(text, "content/%u", &content) == 1, "%s", path);
        } else if (S_ISREG(st->st_mode) && !strstr(path, "dsfs.yaml") && !strstr(path, "/kept/") && !strstr(path, "/saved/")) {
                fd = open(path, O_RDONLY | O_CLOEXEC);
                must(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0 && sscanf(text, "content %u", &content) == 1, "%s says %s", path,
                     text);
                must(st->st_size == (content % LARGE_EVERY ? 64 : (off_t)LARGE_BYTES), "%s has %ld bytes", path, (long)st->st_size);
        } else {
                return 0;
        }
        must(content < CONTENTS, "%s", path);
        errno = 0;
        must(seen[content]++ == 0, "%s: %s is there twice", walking, path);
        return 0;
}

static void walk(const char *path)
{
        must(nftw(path, see, 32, FTW_PHYS) == 0, "nftw %s", path);
}

static void all_must_be_seen(void)
{
        errno = 0;
        for (unsigned i = 0; i < CONTENTS; i++)
                must(seen[i] == 1, "%s: content %u is lost", walking, i);
        memset(seen, 0, sizeof(seen));
}

static void take_stock(void)
{
        glob_t g;

        walking = "on disk";
        must(glob(at(fixture->base, "state/dsfs/*/overlay"), 0, NULL, &g) == 0 && g.gl_pathc == 1, "the overlay");
        walk(fixture->src);
        walk(g.gl_pathv[0]);
        globfree(&g);
        all_must_be_seen();
        walking = "in the mount";
        walk(fixture->mnt);
        all_must_be_seen();
}

/*
 * Moving
 */

static void place_path(char *ret, unsigned place, char letter, const char *name, bool artifact)
{
        snprintf(ret, PATH_MAX, "%s/%c%u/%s%s", fixture->mnt, letter, place, name, artifact ? ".art" : "");
}

static bool is_there(const char *path)
{
        struct stat st;

        return lstat(path, &st) == 0;
}

static bool find(const char *name, char *ret)
{
        for (unsigned i = 0; i < PLACES * 4; i++) {
                place_path(ret, i / 4, i & 1 ? 'd' : 'e', name, i & 2);
                if (is_there(ret))
                        return true;
        }
        return false;
}

static void move_item(struct dice *d, unsigned mover)
{
        char from[PATH_MAX], to[PATH_MAX], name[16];
        unsigned place = dice_roll(d, PLACES);

        item_name(dice_roll(d, ITEMS / MOVERS) * MOVERS + mover, name);
        if (!find(name, from))
                return;
        place_path(to, place, 'd', name, dice_roll(d, 2));
        if (!is_there(at(fixture->mnt, "d%u", place)))
                place_path(to, place, 'e', name, strstr(from, ".art") == NULL);
        if (strcmp(from, to) == 0)
                return;
        if (rename(from, to) == 0)
                atomic_fetch_add(&shared->moves, 1);
        else if (errno == EXDEV)
                atomic_fetch_add(&shared->refused, 1);
}

static void move_place(struct dice *d)
{
        unsigned place = dice_roll(d, PLACES);
        char a[PATH_MAX], b[PATH_MAX];

        snprintf(a, sizeof(a), "%s/d%u", fixture->mnt, place);
        snprintf(b, sizeof(b), "%s/e%u", fixture->mnt, place);
        if (rename(a, b) == 0 || rename(b, a) == 0)
                atomic_fetch_add(&shared->directories, 1);
}

struct mover {
        unsigned number, seed;
};

static int keep_moving(void *arg)
{
        const struct mover *m = arg;
        struct dice d = {m->seed};
        struct statfs fs;

        /* MNT_FORCE may have unmounted it. */
        while (statfs(fixture->mnt, &fs) == 0 && fs.f_type == FUSE_SUPER_MAGIC) {
                if (m->number == 0 && dice_roll(&d, 4) == 0)
                        move_place(&d);
                else
                        move_item(&d, m->number);
        }
        return 0;
}

static bool has_moved(void *arg)
{
        const unsigned *upto = arg;

        return atomic_load(&shared->moves) >= *upto;
}

static bool is_gone(void *arg)
{
        const pid_t *pid = arg;
        char state = 0;
        FILE *f = fopen(at("/proc", "%d/stat", *pid), "re");

        if (!f)
                return true;
        (void)!fscanf(f, "%*d (%*[^)]) %c", &state);
        fclose(f);
        return state == 'Z' || state == 'X';
}

static void kill_agent(void)
{
        pid_t pid = fixture->pid;

        must(kill(pid, SIGKILL) == 0, "kill %d", pid);
        /* A notification of its own that waits for a request keeps the connection, and the request waits for the agent: this aborts it. */
        (void)umount2(fixture->mnt, MNT_FORCE);
        must(wait_until(is_gone, &pid, PATIENCE_SECONDS), "%d outlives SIGKILL", pid);
}

static void run_round(struct dice *d)
{
        struct mover movers[MOVERS];
        pid_t pids[MOVERS];
        unsigned upto = atomic_load(&shared->moves) + 1 + dice_roll(d, BURST);
        struct timespec moment = {.tv_nsec = (long)dice_roll(d, 4000) * 1000};

        for (unsigned i = 0; i < MOVERS; i++) {
                movers[i] = (struct mover){.number = i, .seed = dice_roll(d, 1u << 30)};
                pids[i] = child_start(NULL, keep_moving, &movers[i]);
        }
        must(wait_until(has_moved, &upto, PATIENCE_SECONDS), "nothing moves: %u of %u", atomic_load(&shared->moves), upto);
        nanosleep(&moment, NULL); /* into the midst of one */
        kill_agent();
        for (unsigned i = 0; i < MOVERS; i++)
                (void)child_wait(pids[i]);
        while (umount2(fixture->mnt, MNT_DETACH) == 0)
                continue;
        fixture->mounted = false;
        fixture_mount(fixture);
        take_stock();
}

static void run(enum backing backing, unsigned moves, unsigned seed)
{
        struct variant v = {
                .backing = backing, .transport = seed & 1 ? BY_URING : BY_DEV, .life = 3600, .no_holder = true, .options = NO_REPLAY};
        struct dice d = {seed};
        unsigned rounds = 0;

        memset(shared, 0, sizeof(*shared));
        fixture = fixture_prepare(&v);
        fill();
        fixture_mount(fixture);
        for (; atomic_load(&shared->moves) < moves; rounds++)
                run_round(&d);
        printf("%s: %u moves, %u of directories with artifacts, %u refused, %u kills: nothing lost, nothing twice\n",
               backing == ON_TMPFS ? "overlay on another filesystem" : "overlay beside the source", atomic_load(&shared->moves),
               atomic_load(&shared->directories), atomic_load(&shared->refused), rounds);
        fixture_free(fixture);
}

int main(int argc, char **argv)
{
        unsigned moves = argc > 1 ? (unsigned)atoi(argv[1]) : MOVES_DEFAULT;

        setvbuf(stdout, NULL, _IOLBF, 0);
        shared = shared_new(sizeof(*shared));
        for (unsigned i = 0; i < 2; i++) {
                run(ON_TMPFS, moves, 1 + i);
                run(ON_EXT4, moves, 3 + i);
        }
        return 0;
}
