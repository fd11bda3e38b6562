#include "sync/agent/status_watch.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/thread.h"
#include "sync/agent/status_gather.h"
#include "sync/agent/status_show.h"

#define EVERY_MS 1000
#define NS_PER_MS 1000000ULL
/* Looking for who has the mounts means looking at every process. */
#define USERS_EVERY 10
#define HISTORIES_MAX 64
#define NAME_TEXT 256

#define ENTER "\033[?1049h\033[?25l\033[2J"
#define LEAVE "\033[?25h\033[?1049l"

/* What a mount did, by its name and agent. */
struct history {
        char name[NAME_TEXT];
        json_int_t pid;
        json_int_t events, samples;
        double sum_ms;
        struct spark spark;
};

struct frame {
        char *text; /* owned */
        size_t len;
};

struct watching {
        struct term *term;
        struct frame drawn;
        struct history *histories; /* owned; HISTORIES_MAX, in the order of the mounts */
        json_t *users;             /* by name, from the last look */
        unsigned turn;
};

static void push(double *list, size_t count, double value)
{
        if (count == SPARK_SAMPLES) {
                memmove(list, list + 1, (SPARK_SAMPLES - 1) * sizeof(*list));
                count--;
        }
        list[count] = value;
}

static void sample(struct history *h, const json_t *m)
{
        const json_t *staleness = json_object_get(m, "staleness_ms");
        const char *name = json_string_value(json_object_get(m, "name"));
        json_int_t pid = json_integer_value(json_object_get(m, "pid"));
        json_int_t events = json_integer_value(json_object_get(m, "watch_events"));
        json_int_t samples = json_integer_value(json_object_get(staleness, "samples"));
        double sum = json_number_value(json_object_get(staleness, "sum"));

        if (pid == h->pid && name && strncmp(name, h->name, NAME_TEXT - 1) == 0) {
                push(h->spark.changes, h->spark.count, (double)(events - h->events));
                push(h->spark.latency_ms, h->spark.count, samples > h->samples ? (sum - h->sum_ms) / (double)(samples - h->samples) : -1);
                h->spark.count += h->spark.count < SPARK_SAMPLES;
        } else {
                memset(h, 0, sizeof(*h));
                h->pid = pid;
                snprintf(h->name, sizeof(h->name), "%s", name ? name : "");
        }
        h->events = events;
        h->samples = samples;
        h->sum_ms = sum;
}

/* The line that begins at *at, which moves behind it; its length. None is left: NULL. */
static const char *next_line(const struct frame *f, size_t *at, size_t *len)
{
        const char *line = f->text + *at;
        const char *end;

        if (*at >= f->len)
                return NULL;
        end = memchr(line, '\n', f->len - *at);
        *len = end ? (size_t)(end - line) : f->len - *at;
        *at += *len + 1;
        return line;
}

/* Write the lines that differ from what is on the screen. Takes the frame. */
static int draw(struct watching *w, struct frame fresh)
{
        struct frame out = {0};
        FILE *to = open_memstream(&out.text, &out.len);
        size_t at = 0, drawn_at = 0, len = 0, drawn_len = 0, row = 1;
        const char *line, *was;
        int rc;

        if (!to)
                return -ENOMEM;
        while (row < w->term->rows) {
                line = next_line(&fresh, &at, &len);
                was = next_line(&w->drawn, &drawn_at, &drawn_len);
                if (!line && !was)
                        break;
                if (!line)
                        fprintf(to, "\033[%zu;1H\033[K", row);
                else if (!was || len != drawn_len || memcmp(line, was, len) != 0)
                        fprintf(to, "\033[%zu;1H%.*s\033[0m\033[K", row, (int)term_fit(line, len, w->term->columns), line);
                row++;
        }
        fclose(to);
        rc = fd_write_full(STDOUT_FILENO, out.text, out.len);
        free(out.text);
        free(w->drawn.text);
        w->drawn = fresh;
        return rc;
}

/* Who has the mounts is looked at now and then, and shown always. */
static void keep_users(struct watching *w, const json_t *mounts, bool looked)
{
        size_t i;
        json_t *m;

        if (looked)
                json_object_clear(w->users);
        json_array_foreach(mounts, i, m)
        {
                const char *name = json_string_value(json_object_get(m, "name"));

                if (name && looked)
                        json_object_set(w->users, name, json_object_get(m, "used_by"));
                else if (name && json_object_get(w->users, name))
                        json_object_set(m, "used_by", json_object_get(w->users, name));
        }
}

static int turn(struct watching *w, const char *run, const char *arg)
{
        bool look = w->turn++ % USERS_EVERY == 0;
        json_t *status = status_gather(run, arg, look);
        const json_t *mounts = json_object_get(status, "mounts");
        struct spark sparks[HISTORIES_MAX];
        struct frame fresh = {0};
        FILE *to;
        size_t count = json_array_size(mounts);

        if (!status)
                return -EIO;
        keep_users(w, mounts, look);
        for (size_t i = 0; i < count && i < HISTORIES_MAX; i++) {
                sample(&w->histories[i], json_array_get(mounts, i));
                sparks[i] = w->histories[i].spark;
        }
        to = open_memstream(&fresh.text, &fresh.len);
        if (!to) {
                json_decref(status);
                return -ENOMEM;
        }
        status_show(to, w->term, status, count <= HISTORIES_MAX ? sparks : NULL);
        fclose(to);
        json_decref(status);
        return draw(w, fresh);
}

/* Sleep until it is time, or something happens. False when it is to end. */
static bool pause_until(struct watching *w, int signals, unsigned long long deadline)
{
        for (;;) {
                unsigned long long now = clock_now_ns();
                struct pollfd p[] = {{.fd = signals, .events = POLLIN}, {.fd = STDOUT_FILENO, .events = 0}};
                struct signalfd_siginfo got;

                if (now >= deadline)
                        return true;
                if (poll(p, ARRAY_LEN(p), (int)((deadline - now) / NS_PER_MS) + 1) < 0 && errno != EINTR)
                        return false;
                if (p[1].revents & (POLLERR | POLLHUP))
                        return false;
                if (!(p[0].revents & POLLIN) || read(signals, &got, sizeof(got)) != sizeof(got))
                        continue;
                if (got.ssi_signo != SIGWINCH && got.ssi_signo != SIGCONT)
                        return false;
                /* All of it anew. */
                term_measure(w->term);
                free(steal_ptr(&w->drawn.text));
                w->drawn.len = 0;
                (void)fd_write_full(STDOUT_FILENO, ENTER, strlen(ENTER));
                return true;
        }
}

enum exit_code status_watch(const char *run, const char *arg, struct term *t)
{
        struct watching w = {.term = t, .histories = calloc(HISTORIES_MAX, sizeof(struct history)), .users = json_object()};
        CLEANUP_FD int signals = -1;
        sigset_t set;
        int rc = w.histories ? 0 : -ENOMEM;

        sigemptyset(&set);
        sigaddset(&set, SIGINT);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGHUP);
        sigaddset(&set, SIGWINCH);
        sigaddset(&set, SIGCONT);
        (void)sigprocmask(SIG_BLOCK, &set, NULL);
        signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        if (rc == 0)
                rc = fd_write_full(STDOUT_FILENO, ENTER, strlen(ENTER));
        while (rc == 0) {
                unsigned long long deadline = clock_now_ns() + EVERY_MS * NS_PER_MS;

                rc = turn(&w, run, arg);
                if (rc == 0 && !pause_until(&w, signals, deadline))
                        break;
        }
        (void)fd_write_full(STDOUT_FILENO, LEAVE, strlen(LEAVE));
        json_decref(w.users);
        free(w.histories);
        free(w.drawn.text);
        return rc ? EXIT_FAILED : EXIT_OK;
}
