/*
 * Both sides edit at random while readers keep the kernel's caches warm; after each barrier the mount must show the source and nothing
 * else, and the source must hold what the editors did (each editor repeats its edits in a shadow tree).
 *
 *   coherence [EDITS [SEED [WATCH TRANSPORT [MOUNTS]]]]       WATCH: fanotify, inotify; TRANSPORT: uring, dev; MOUNTS: 1, 2
 *
 * With two mounts of the source those who edit in the mount do so each in his own; the second goes by the other transport. Without WATCH
 * and TRANSPORT it runs fanotify by uring, then inotify by dev, then both with two mounts.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/lib/mount.h"
#include "tests/lib/oracle.h"
#include "tests/stress/edit.h"

#define EDITORS 4 /* the even ones on the host, the odd ones in the mount */
#define READERS 2
#define EDITS_A_ROUND 200
#define SHARED_IN 5 /* one edit of so many happens where all editors do */
#define EDITS_DEFAULT 6000
#define LIFE 14400
#define SHOWN 5

struct run {
        struct fixture *f;
        unsigned long long seed;
        unsigned long edits;
        bool links;
        bool second;               /* there are two mounts */
        struct gate *start, *stop; /* of a round's edits */
        unsigned *end;             /* shared */
};

struct actor {
        const struct run *run;
        unsigned id;
};

static char *partition(const char *root, unsigned id)
{
        return strdup(id == EDITORS ? at(root, "shared") : at(root, "p%u", id));
}

/* Where the nth of those who are in a mount is. */
static const char *mount_of(const struct run *run, unsigned n)
{
        return run->second && n % 2 ? run->f->second : run->f->mnt;
}

/*
 * Editors and readers
 */

static int edit_rounds(void *arg)
{
        const struct actor *a = arg;
        const struct run *run = a->run;
        const char *root = a->id % 2 ? mount_of(run, a->id / 2) : run->f->src;
        char *mine = partition(root, a->id), *shadow = partition(run->f->plain, a->id), *shared = partition(root, EDITORS);
        struct dice dice = {run->seed * EDITORS + a->id}, shadow_dice;

        for (;;) {
                gate_pass(run->start);
                if (*run->end)
                        return 0;
                for (unsigned i = 0; i < EDITS_A_ROUND / EDITORS; i++) {
                        unsigned did, should;

                        if (dice_roll(&dice, SHARED_IN) == 0) {
                                edit_once(shared, &dice, run->links);
                                continue;
                        }
                        shadow_dice = dice;
                        did = edit_once(mine, &dice, run->links);
                        should = edit_once(shadow, &shadow_dice, run->links);
                        errno = 0;
                        must(did == should && dice.state == shadow_dice.state, "%s: an edit was answered as none before", mine);
                }
                gate_pass(run->stop);
        }
}

static void look(void *arg, const char *path)
{
        static char buf[8192];
        struct stat st;
        CLEANUP_FD int fd = -1;

        (void)arg;
        if (lstat(path, &st) < 0)
                return;
        if (S_ISLNK(st.st_mode)) {
                ssize_t n = readlink(path, buf, sizeof(buf));

                (void)n; /* gone or changed meanwhile: all the same */
        } else if (S_ISREG(st.st_mode) && (fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)) >= 0) {
                while (read(fd, buf, sizeof(buf)) > 0)
                        continue;
        }
}

static int keep_looking(void *arg)
{
        const struct actor *a = arg;
        unsigned k = a->id;

        while (!__atomic_load_n(a->run->end, __ATOMIC_ACQUIRE)) {
                char *dir = partition(mount_of(a->run, a->id), k++ % (EDITORS + 1));

                edit_each_name(dir, look, NULL);
                free(dir);
        }
        return 0;
}

/*
 * Comparing
 */

struct lines {
        char **at;
        size_t count;
};

static int by_line(const void *a, const void *b)
{
        return strcmp(*(char *const *)a, *(char *const *)b);
}

static struct lines split(struct trace *t)
{
        struct lines l = {0};
        char *save = NULL;

        for (char *p = strtok_r(t->bytes, "\n", &save); p; p = strtok_r(NULL, "\n", &save)) {
                if (l.count % 256 == 0)
                        l.at = realloc(l.at, (l.count + 256) * sizeof(*l.at));
                must(l.at, "memory");
                l.at[l.count++] = p;
        }
        qsort(l.at, l.count, sizeof(*l.at), by_line);
        return l;
}

/* Count the lines that only one of them has; show the first few. Both traces are consumed. */
static unsigned long differ(struct trace *want, struct trace *have, const char *what, unsigned long round)
{
        struct lines w, h;
        unsigned long missing = 0, extra = 0;
        size_t i = 0, k = 0;

        if (want->len == have->len && memcmp(want->bytes, have->bytes, want->len) == 0)
                return 0;
        w = split(want);
        h = split(have);
        while (i < w.count || k < h.count) {
                int order = i == w.count ? 1 : k == h.count ? -1 : strcmp(w.at[i], h.at[k]);

                if (order < 0 && missing++ < SHOWN)
                        fprintf(stderr, "round %lu, %s: want %s\n", round, what, w.at[i]);
                if (order > 0 && extra++ < SHOWN)
                        fprintf(stderr, "round %lu, %s: have %s\n", round, what, h.at[k]);
                i += order <= 0;
                k += order >= 0;
        }
        free(w.at);
        free(h.at);
        return missing > extra ? missing : extra;
}

struct probing {
        struct trace *out;
        size_t skip; /* the root's length */
};

/* What a listing doesn't tell: names looked up, the absent ones too. */
static void probe(void *arg, const char *path)
{
        struct probing *p = arg;
        struct stat st;

        if (lstat(path, &st) < 0)
                trace_add(p->out, "%s %s\n", path + p->skip, strerrorname_np(errno));
        else
                trace_add(p->out, "%s %lu\n", path + p->skip, (unsigned long)st.st_ino);
}

/* `parts` partitions from the first. */
static struct trace *show(const char *root, enum tree_what what, unsigned parts)
{
        struct trace *t = trace_new();
        struct probing probing = {t, strlen(root)};

        for (unsigned k = 0; k < parts; k++) {
                char *dir = partition(root, k);

                if (what == TREE_IDENTITY)
                        edit_each_name(dir, probe, &probing);
                trace_add(t, "partition %u\n", k);
                tree_describe(t, dir, what);
                free(dir);
        }
        return t;
}

static unsigned long compare(const struct run *run, unsigned long round)
{
        struct trace *done = show(run->f->src, TREE_CONTENT, EDITORS), *shadow = show(run->f->plain, TREE_CONTENT, EDITORS);
        unsigned long wrong = differ(shadow, done, "source from what was done", round);

        trace_free(done);
        trace_free(shadow);
        for (unsigned n = 0; n <= run->second; n++) {
                struct trace *mount = show(mount_of(run, n), TREE_IDENTITY, EDITORS + 1);
                struct trace *source = show(run->f->src, TREE_IDENTITY, EDITORS + 1);

                wrong += differ(source, mount, n ? "second mount from source" : "mount from source", round);
                trace_free(mount);
                trace_free(source);
        }
        return wrong;
}

/*
 * A run
 */

static void fill(const struct run *run)
{
        for (unsigned k = 0; k <= EDITORS; k++) {
                struct dice one = {run->seed + k}, two = one;

                CLEANUP_FREE char *source = partition(run->f->src, k);
                CLEANUP_FREE char *shadow = partition(run->f->plain, k);

                edit_fill(source, &one);
                edit_fill(shadow, &two);
        }
}

/* Between start and stop the editors edit; else they stand still. */
static unsigned long run_rounds(struct run *run, unsigned long *rounds)
{
        unsigned long stale = 0;

        for (*rounds = 0; *rounds * EDITS_A_ROUND < run->edits; ++*rounds) {
                gate_pass(run->start);
                gate_pass(run->stop);
                fixture_wait(run->f);
                stale += compare(run, *rounds);
        }
        __atomic_store_n(run->end, 1, __ATOMIC_RELEASE);
        gate_pass(run->start);
        return stale;
}

static pid_t actors_running[EDITORS + READERS];

/* An actor that failed would leave the others at the gate for ever: the whole run ends. The janitor cleans up. */
static void child_ended(int signal)
{
        (void)signal;
        for (size_t i = 0; i < ARRAY_LEN(actors_running); i++) {
                siginfo_t info = {0};

                if (actors_running[i] > 0 && waitid(P_PID, (id_t)actors_running[i], &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
                    info.si_pid != 0 && (info.si_code != CLD_EXITED || info.si_status != 0))
                        _exit(1);
        }
}

static void start_actors(const struct run *run, struct actor *actors)
{
        signal(SIGCHLD, child_ended);
        for (unsigned i = 0; i < EDITORS + READERS; i++) {
                actors[i] = (struct actor){run, i};
                actors_running[i] = child_start(NULL, i < EDITORS ? edit_rounds : keep_looking, &actors[i]);
        }
        child_ended(0);
}

static void join_actors(void)
{
        signal(SIGCHLD, SIG_DFL);
        for (unsigned i = 0; i < EDITORS + READERS; i++) {
                must(child_wait(actors_running[i]) == 0, "process %u of the run", i);
                actors_running[i] = 0;
        }
}

static unsigned long run_variant(const char *watch, const char *transport, unsigned mounts, unsigned long edits, unsigned long long seed)
{
        struct variant v = {.backing = ON_EXT4, .life = LIFE};
        struct run run = {.edits = edits, .seed = seed, .second = mounts == 2};
        struct actor actors[EDITORS + READERS];
        unsigned long stale, rounds;
        struct timespec start, end;

        v.watch = strcmp(watch, "inotify") == 0 ? WATCH_BY_INOTIFY : WATCH_BY_FANOTIFY;
        v.transport = strcmp(transport, "dev") == 0 ? BY_DEV : BY_URING;
        run.links = v.watch == WATCH_BY_FANOTIFY; /* inotify can't tell that a file's other name changed */
        run.f = fixture_prepare(&v);
        fill(&run);
        fixture_mount(run.f);
        if (run.second)
                fixture_mount_second(run.f, v.transport == BY_DEV ? "transport=uring" : "transport=dev");
        run.start = gate_new(EDITORS + 1);
        run.stop = gate_new(EDITORS + 1);
        run.end = shared_new(sizeof(*run.end));
        clock_gettime(CLOCK_MONOTONIC, &start);
        start_actors(&run, actors);
        stale = run_rounds(&run, &rounds);
        clock_gettime(CLOCK_MONOTONIC, &end);
        join_actors();
        fixture_free(run.f);
        printf("%s/%s, mounts=%u: edits=%lu rounds=%lu stale=%lu seed=%llu seconds=%ld\n", watch, transport, mounts, rounds * EDITS_A_ROUND,
               rounds, stale, seed, (long)(end.tv_sec - start.tv_sec));
        fflush(stdout);
        return stale;
}

int main(int argc, char **argv)
{
        unsigned long edits = argc > 1 ? strtoul(argv[1], NULL, 10) : EDITS_DEFAULT;
        unsigned long long seed = argc > 2 ? strtoull(argv[2], NULL, 10) : (unsigned long long)time(NULL);
        unsigned long stale;

        if (argc > 6 || argc == 4 || edits == 0) {
                fprintf(stderr, "usage: %s [EDITS [SEED [fanotify|inotify uring|dev [1|2]]]]\n", argv[0]);
                return 2;
        }
        printf("seed=%llu\n", seed);
        fflush(stdout);
        if (argc > 4)
                return run_variant(argv[3], argv[4], argc > 5 && strcmp(argv[5], "2") == 0 ? 2 : 1, edits, seed) > 0;
        stale = run_variant("fanotify", "uring", 1, edits, seed) + run_variant("inotify", "dev", 1, edits, seed);
        /* Fewer: with two more mounts to compare each round takes longer, and all this is a part of `make check`. */
        stale += run_variant("fanotify", "uring", 2, edits / 3, seed) + run_variant("inotify", "dev", 2, edits / 3, seed);
        return stale > 0;
}
