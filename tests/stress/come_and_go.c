/*
 * Mounts of a source come and go while the watch tells all of them of a storm of changes: none is told when it is gone, and none stays for
 * ever because it is being told.
 *
 *   come_and_go [ROUNDS]
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/thread.h"
#include "fs/fs.h"
#include "sync/engine.h"
#include "tests/lib/child.h"

#define ROUNDS 60
#define COMERS 2
#define PATIENCE_MS 60000

static char top[96], src[112];
static struct engine *engine;

struct comer {
        pthread_t thread;
        char mnt[112];
        unsigned long rounds;
};

struct end {
        struct mutex lock;
        struct cond changed;
        bool ended;
};

static void on_end(void *arg)
{
        struct end *e = arg;

        mutex_lock(&e->lock);
        e->ended = true;
        cond_broadcast(&e->changed);
        mutex_unlock(&e->lock);
}

static void wait_end(struct end *e)
{
        mutex_lock(&e->lock);
        while (!e->ended)
                cond_wait(&e->changed, &e->lock);
        mutex_unlock(&e->lock);
}

static int make_noise(void *arg)
{
        char path[160];

        (void)arg;
        for (unsigned i = 0;; i++) {
                snprintf(path, sizeof(path), "%s/f%u", src, i % 16);
                CLEANUP_FD int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

                must(fd >= 0 && write(fd, path, 8) == 8 && fchmod(fd, 0600 + i % 8) == 0, "%s", path);
                if (i % 3 == 0)
                        (void)unlink(path);
        }
        return 0;
}

static void *come_and_go(void *arg)
{
        const struct comer *c = arg;

        for (unsigned long i = 0; i < c->rounds; i++) {
                struct fs_options options = {
                        .source = src,
                        .mountpoint = c->mnt,
                        .name = "comer",
                        .transport = FS_TRANSPORT_DEV,
                        .squash = true,
                        .view_uid = FS_VIEW_AS_IS,
                        .view_gid = FS_VIEW_AS_IS,
                };
                struct end end = {.ended = false};
                char path[160];
                struct fs_mount *m;
                char *why = NULL;
                struct stat st;

                mutex_init(&end.lock);
                cond_init(&end.changed);
                must(fs_mount_new(&options, &m, &why) == 0, "%s", why ? why : "out of memory");
                fs_mount_on_end(m, on_end, &end);
                must(engine_add_mount(engine, m) == 0, "no place");
                for (unsigned f = 0; f < 16; f++) {
                        snprintf(path, sizeof(path), "%s/f%u", c->mnt, f);
                        (void)stat(path, &st);
                }
                if (i % 4 == 0)
                        must(engine_barrier(engine, PATIENCE_MS) == 0, "the barrier");
                must(fs_mount_stop(m, false) == 0, "unmount %s", c->mnt);
                if (i % 2)
                        wait_end(&end);
                engine_remove_mount(engine, m);
                wait_end(&end);
                fs_mount_free(m);
                cond_release(&end.changed);
                mutex_release(&end.lock);
        }
        return NULL;
}

int main(int argc, char **argv)
{
        unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : ROUNDS;
        const char *base = getenv("TMPDIR");
        struct comer comers[COMERS];
        char path[160];
        char *why = NULL;
        pid_t noise;

        snprintf(top, sizeof(top), "%.60s/come.XXXXXX", base ? base : "/tmp");
        must(mkdtemp(top), "mkdtemp");
        snprintf(src, sizeof(src), "%s/src", top);
        must(mkdir(src, 0755) == 0, "mkdir %s", src);
        noise = child_start(NULL, make_noise, NULL);
        must(engine_new(src, ENGINE_COHERENCE_EVENTS, WATCH_AUTO, NULL, &engine, &why) == 0, "%s", why ? why : "out of memory");
        for (unsigned i = 0; i < COMERS; i++) {
                comers[i].rounds = rounds;
                snprintf(comers[i].mnt, sizeof(comers[i].mnt), "%s/m%u", top, i);
                must(mkdir(comers[i].mnt, 0755) == 0, "mkdir %s", comers[i].mnt);
                must(thread_start(&comers[i].thread, "comer", come_and_go, &comers[i]) == 0, "thread");
        }
        for (unsigned i = 0; i < COMERS; i++)
                pthread_join(comers[i].thread, NULL);
        engine_shutdown(engine);
        engine_free(engine);
        kill(noise, SIGKILL);
        child_wait(noise);
        for (unsigned i = 0; i < 16; i++) {
                snprintf(path, sizeof(path), "%s/f%u", src, i);
                (void)unlink(path);
        }
        for (unsigned i = 0; i < COMERS; i++)
                must(rmdir(comers[i].mnt) == 0, "rmdir %s", comers[i].mnt);
        must(rmdir(src) == 0 && rmdir(top) == 0, "rmdir %s", top);
        return 0;
}
