/*
 * An agent is killed at random moments while the host switches between generations and a container installs new ones. Afterwards each
 * generation is where its key says, none is lost or there twice, and what was installed goes by the lock file that was written for it.
 *
 *   generations_kill [ROUNDS [SEED]]
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "fs/keys.h"
#include "sync/agent/mountinfo.h"
#include "tests/lib/mount.h"

#define ROUNDS 100
#define GENERATIONS 6U
#define FILES 20
#define LIFE_US 60000U
#define INSTALL_IN 3U
#define PATIENCE_SECONDS 60
#define NS_PER_US 1000L

static const char config[] = "version: 1\nartifacts:\n  - path: node_modules/\n    key: [package-lock.json]\n";

static struct fixture *f;
static struct key keys[GENERATIONS];

/* What the one that is to be killed has come to. */
static struct progress {
        _Atomic unsigned installed; /* the generation that was installed and locked, + 1; 0: none */
        _Atomic bool unsure;        /* it is neither this one nor that */
        _Atomic bool mixed;         /* what was installed has taken others' places */
        _Atomic unsigned switches;
} * progress;

struct numeral {
        char text[12];
};

static struct numeral numeral(unsigned i)
{
        struct numeral n;

        snprintf(n.text, sizeof(n.text), "%u", i);
        return n;
}

static void lock_on_host(unsigned i)
{
        put_text(at(f->src, ".lock"), numeral(i).text);
        must(rename(at(f->src, ".lock"), at(f->src, "package-lock.json")) == 0, "rename");
}

/* What fails once the agent is dead ends the child. */
static void put_or_end(const char *path, const char *text)
{
        CLEANUP_FD int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

        if (fd < 0 || fd_write_full(fd, text, strlen(text)) < 0)
                _exit(0);
}

static void make_or_end(int rc)
{
        if (rc < 0 && errno != EEXIST)
                _exit(0);
}

static void install(unsigned i)
{
        CLEANUP_FREE char *dir = strdup(at(f->mnt, "node_modules"));

        make_or_end(mkdir(dir, 0755));
        for (int n = 0; n < FILES; n++)
                put_or_end(at(dir, "%d", n), numeral(i).text);
        put_or_end(at(f->mnt, ".lock"), numeral(i).text);
        make_or_end(rename(at(f->mnt, ".lock"), at(f->mnt, "package-lock.json")));
}

/* As a package manager does: the lock file last. */
static void install_again(struct dice *d)
{
        unsigned i = dice_roll(d, GENERATIONS);

        atomic_store(&progress->mixed, true);
        atomic_store(&progress->unsure, true);
        install(i);
        atomic_store(&progress->installed, i + 1);
        atomic_store(&progress->unsure, false);
        must(poll(NULL, 0, (int)dice_roll(d, 8)) == 0, "poll");
}

static int work(void *arg)
{
        struct dice d = {.state = *(unsigned long long *)arg};

        for (;;) {
                if (dice_roll(&d, INSTALL_IN) == 0) {
                        fixture_wait(f);
                        install_again(&d);
                        fixture_wait(f);
                }
                atomic_store(&progress->installed, 0);
                lock_on_host(dice_roll(&d, GENERATIONS));
                atomic_fetch_add(&progress->switches, 1);
                must(poll(NULL, 0, (int)dice_roll(&d, 6)) == 0, "poll");
        }
}

/*
 * What is on disk
 */

static const struct rule rule = {
        .pattern = "node_modules/", .route = RULE_ARTIFACT, .keys = (const char *const[]){"package-lock.json"}, .key_count = 1};

static void learn_keys(void)
{
        CLEANUP_FD int root = open(f->src, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        for (unsigned i = 0; i < GENERATIONS; i++) {
                struct key_files files;

                lock_on_host(i);
                must(key_files_find(root, "", &rule, &files) == 0 && key_of(root, &rule, &files, &keys[i]) == 0, "key");
                key_files_release(&files);
        }
}

static void first_below(const char *dir, char *ret, size_t size)
{
        DIR *d = opendir(dir);
        const struct dirent *e;

        must(d, "%s", dir);
        *ret = '\0';
        while ((e = readdir(d)) && !*ret) {
                if (e->d_name[0] != '.')
                        snprintf(ret, size, "%s/%s", dir, e->d_name);
        }
        closedir(d);
        must(*ret, "nothing is in %s", dir);
}

/* The one number that all files of a generation say. */
static unsigned content_of(const char *dir)
{
        unsigned first = 0;

        for (int n = 0; n < FILES; n++) {
                CLEANUP_FREE char *text = NULL;
                unsigned i;

                must(fd_read_file(AT_FDCWD, at(dir, "%d", n), 16, &text) > 0, "%s/%d", dir, n);
                i = (unsigned)atoi(text);
                must(n == 0 || i == first, "%s is of %u and of %u", dir, first, i);
                first = i;
        }
        return first;
}

static void must_be_alone(const char *kept, const char *current)
{
        unsigned seen = 0;

        for (unsigned i = 0; i < GENERATIONS; i++) {
                CLEANUP_FREE char *dir = strdup(at(kept, "%s/node_modules", keys[i].text));
                bool is_current = strncmp(current, keys[i].text, GENERATION_KEY_TEXT - 1) == 0;
                bool is_kept = access(dir, F_OK) == 0;

                must(is_current != is_kept, "generation %u is %s", i, is_kept ? "there twice" : "lost");
                must(!is_kept || content_of(dir) == i, "%s is of %u, not %u", dir, content_of(dir), i);
                seen++;
        }
        must(seen == GENERATIONS, "%u generations", seen);
}

static void check_disk(void)
{
        char state[256], kept[1024], overlay[512];
        CLEANUP_FREE char *current = NULL;

        snprintf(state, sizeof(state), "%s/dsfs", f->env_state + strlen("XDG_STATE_HOME="));
        first_below(state, overlay, sizeof(overlay));
        first_below(at(overlay, "overlay/kept"), kept, sizeof(kept));
        must(fd_read_file(AT_FDCWD, at(kept, "current"), 64, &current) > 0, "current");
        must_be_alone(kept, current);
}

/*
 * Rounds
 */

static bool is_gone(void *arg)
{
        CLEANUP_FD int fd = (int)syscall(SYS_pidfd_open, *(pid_t *)arg, 0);
        struct pollfd p = {.fd = fd, .events = POLLIN};

        return fd < 0 || poll(&p, 1, 0) > 0;
}

/* As a holder does it: a thread of the agent's that is telling the kernel of a directory which the worker holds doesn't end before that
 * has its answer, nor does the worker without one, killed or not. */
static void kill_both(pid_t worker)
{
        pid_t agent = f->pid;
        struct stat st;

        must(stat(f->mnt, &st) == 0, "%s", f->mnt);
        must(kill(agent, SIGKILL) == 0, "kill");
        (void)kill(worker, SIGKILL);
        (void)mount_abort(minor(st.st_dev));
        (void)child_wait(worker);
        must(wait_until(is_gone, &agent, PATIENCE_SECONDS), "the agent outlives SIGKILL");
}

/* All generations from the beginning. */
static void install_all(void)
{
        for (unsigned i = 0; i < GENERATIONS; i++) {
                lock_on_host(i);
                fixture_wait(f);
                install(i);
        }
        fixture_wait(f);
}

static void check(unsigned locked)
{
        CLEANUP_FREE char *lock = NULL;
        CLEANUP_FREE char *dir = strdup(at(f->mnt, "node_modules"));
        unsigned i;

        must(fd_read_file(AT_FDCWD, at(f->src, "package-lock.json"), 16, &lock) > 0, "package-lock.json");
        i = (unsigned)atoi(lock);
        must(!locked || i == locked - 1, "the lock file is of %u", i);
        must(content_of(dir) == i, "the mount shows generation %u for %u", content_of(dir), i);
}

static void play(unsigned long long seed)
{
        struct dice d = {.state = seed};
        struct timespec life = {.tv_nsec = (long)dice_roll(&d, LIFE_US) * NS_PER_US};
        pid_t worker;

        atomic_store(&progress->installed, 0);
        atomic_store(&progress->unsure, false);
        atomic_store(&progress->mixed, false);
        worker = child_start(NULL, work, &seed);
        nanosleep(&life, NULL);
        kill_both(worker);
        must(umount2(f->mnt, MNT_DETACH) == 0, "umount %s", f->mnt);
        fixture_mount(f);
        fixture_wait(f);
        if (atomic_load(&progress->installed) && !atomic_load(&progress->unsure))
                check(atomic_load(&progress->installed));
        /* By design, what an installation replaces is gone. */
        if (atomic_load(&progress->mixed))
                install_all();
        check(0);
        check_disk();
}

int main(int argc, char **argv)
{
        static const struct variant v = {.backing = ON_EXT4,
                                         .transport = BY_DEV,
                                         .watch = WATCH_BY_FANOTIFY,
                                         .life = 3600,
                                         .no_holder = true,
                                         .options = "replay=off"};
        int rounds = argc > 1 ? atoi(argv[1]) : ROUNDS;
        unsigned long long seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;

        f = fixture_prepare(&v);
        progress = shared_new(sizeof(*progress));
        put_text(at(f->src, "dsfs.yaml"), config);
        learn_keys();
        fixture_mount(f);
        install_all();
        check_disk();
        for (int i = 0; i < rounds; i++)
                play(seed + (unsigned long long)i);
        printf("%d kills, %u switches\n", rounds, atomic_load(&progress->switches));
        fixture_free(f);
        return 0;
}
