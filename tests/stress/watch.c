/*
 * The watch hammered: processes change, threads wait at barriers and read the counters, and a watch comes and goes beside it. For
 * ThreadSanitizer above all; what is told is checked as well.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <string.h>
#include <unistd.h>

#include "cache/base/err.h"
#include "cache/base/fd.h"
#include "tests/lib/mount.h"
#include "tests/lib/watch_record.h"

#define THREADS 8
#define ROUNDS 500
#define NOISE_NAMES 64

/* A thread, and the process that changes something when the thread says so. */
struct worker {
        struct place *p;
        int number;
        int ask[2], answer[2];
        pid_t child;
};

static int make_noise(void *arg)
{
        struct place *p = arg;

        if (chdir(p->src) < 0)
                return 1;
        for (unsigned i = 0;; i = (i + 1) % NOISE_NAMES) {
                char a[16], b[16], c[24];

                snprintf(a, sizeof(a), "n%u", i);
                snprintf(b, sizeof(b), "m%u", i);
                snprintf(c, sizeof(c), "%s/f", b);
                (void)!mkdir(a, 0755);
                (void)!rename(a, b);
                CLEANUP_FD int fd = open(c, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

                (void)!write(fd, "x", 1);
                (void)!unlink(c);
                (void)!rmdir(b);
        }
}

static int change_when_asked(void *arg)
{
        struct worker *w = arg;
        char script[64];
        int i;

        while (read(w->ask[0], &i, sizeof(i)) == sizeof(i)) {
                snprintf(script, sizeof(script), "create w%d.%d", w->number, i);
                if (place_perform(w->p->src, script) || write(w->answer[1], &i, sizeof(i)) < 0)
                        return 1;
        }
        return 0;
}

/* What was told of the files that the workers make; the noise is not kept. */
static atomic_bool told[THREADS][ROUNDS];
static atomic_uint overflows;

static void on_entry(void *arg, const void *origin, const struct watch_name *at, const struct ident *object, unsigned how)
{
        int number, round;

        (void)arg, (void)origin, (void)object, (void)how;
        if (at->len < 16 && sscanf(at->name, "w%d.%d", &number, &round) == 2 && number < THREADS && round < ROUNDS)
                atomic_store(&told[number][round], true);
}

static void on_object(void *arg, const void *origin, const struct ident *object, const struct watch_name *name, unsigned how)
{
        (void)arg, (void)origin, (void)object, (void)name, (void)how;
}

static void on_loss(void *arg, enum watch_loss why, const char *detail)
{
        (void)arg, (void)detail;
        must(why == WATCH_OVERFLOW, "%s", detail);
        atomic_fetch_add(&overflows, 1);
}

static void on_idle(void *arg)
{
        (void)arg;
}

static const struct watch_sink sink = {.entry = on_entry, .content = on_object, .attr = on_object, .lost = on_loss, .idle = on_idle};

static void *ask_and_wait(void *arg)
{
        struct worker *w = arg;
        struct watch_stats stats;

        for (int i = 0; i < ROUNDS; i++) {
                int done;

                must(write(w->ask[1], &i, sizeof(i)) > 0 && read(w->answer[0], &done, sizeof(done)) > 0, "the child");
                place_settle(w->p);
                must(atomic_load(&told[w->number][i]) || atomic_load(&overflows), "not told: %d.%d", w->number, i);
                watch_stats(w->p->watch, &stats);
        }
        return NULL;
}

struct visitor {
        struct place *p;
        atomic_bool stop;
};

static void *come_and_go(void *arg)
{
        struct visitor *v = arg;

        while (!atomic_load(&v->stop)) {
                struct watch *w;
                const char *why;

                must(watch_new(v->p->src, v->p->how.backend, &sink, NULL, &w, &why) == 0, "watch_new: %s", why);
                must(watch_barrier(w, PATIENCE_MS) == 0, "barrier");
                watch_free(w);
        }
        return NULL;
}

static void hammer(const struct watch_case *how)
{
        static struct place p;
        static struct worker workers[THREADS];
        struct visitor visitor = {.p = &p};
        pthread_t threads[THREADS], other;
        const char *why;
        pid_t noise;

        memset(told, 0, sizeof(told));
        place_init(&p, how);
        for (int i = 0; i < THREADS; i++) {
                struct worker *w = &workers[i];

                *w = (struct worker){.p = &p, .number = i};
                must(pipe2(w->ask, O_CLOEXEC) == 0 && pipe2(w->answer, O_CLOEXEC) == 0, "pipe");
                w->child = child_start(NULL, change_when_asked, w);
        }
        noise = child_start(NULL, make_noise, &p);
        must(watch_new(p.src, how->backend, &sink, NULL, &p.watch, &why) == 0, "watch_new: %s", why);
        must(thread_start(&other, "visitor", come_and_go, &visitor) == 0, "thread");
        for (int i = 0; i < THREADS; i++)
                must(thread_start(&threads[i], "worker", ask_and_wait, &workers[i]) == 0, "thread");
        for (int i = 0; i < THREADS; i++)
                pthread_join(threads[i], NULL);
        atomic_store(&visitor.stop, true);
        pthread_join(other, NULL);
        kill(noise, SIGKILL);
        child_wait(noise);
        for (int i = 0; i < THREADS; i++) {
                kill(workers[i].child, SIGKILL);
                child_wait(workers[i].child);
                for (int end = 0; end < 2; end++) {
                        fd_close(&workers[i].ask[end]);
                        fd_close(&workers[i].answer[end]);
                }
        }
        place_release(&p);
}

int main(void)
{
        static const struct watch_case cases[] = {
                {.backend = WATCH_FANOTIFY, .backing = ON_TMPFS},
                {.backend = WATCH_INOTIFY, .backing = ON_EXT4},
        };

        for (size_t i = 0; i < ARRAY_LEN(cases); i++)
                hammer(&cases[i]);
        return 0;
}
