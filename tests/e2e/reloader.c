#include "tests/e2e/reloader.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/thread.h"
#include "tests/e2e/tool.h"
#include "tests/lib/proc.h"

#define TEXT_MAX 65536
#define PATIENCE_NS 30000000000ull
/* Until an edit is made again at the start, when it isn't sure yet that the program watches. */
#define AGAIN_NS 3000000000ull
/* Nobody saves more often; and what is heard twice is told in that time. */
#define PACE_MS 100
/* Django compares what it finds once a second with what it found the second before, and doesn't begin at once. */
#define SLOW_PACE_MS 1500

struct side {
        const struct reloader *r;
        const char *dir; /* where the host edits */
        const char *log; /* what the program says, or the page */
        const char *out; /* /out in the container */
        const char *id;
        pid_t page;
        int heard; /* inotify, on the log */
        unsigned before, count;
        uint64_t ns[RELOADER_ALL];
};

struct running {
        struct side sides[2];
};

static const char *read_log(const struct side *s)
{
        static char text[TEXT_MAX];
        CLEANUP_FD int fd = open(s->log, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

        must(n >= 0 && n < (ssize_t)sizeof(text) - 1, "%s is too long", s->log);
        text[n] = '\0';
        return text;
}

/* The lines that begin with `text`, and a number if one is wanted (-1: any). */
static unsigned lines(const struct side *s, const char *text, bool numbered, int number)
{
        size_t len = strlen(text);
        unsigned count = 0;

        for (const char *line = read_log(s); line && *line; line = strchr(line, '\n'), line += line ? 1 : 0) {
                /* A line that isn't finished isn't one yet. */
                if (!strchr(line, '\n') || strncmp(line, text, len) != 0)
                        continue;
                if (!numbered ||
                    (line[len] == ' ' && isdigit((unsigned char)line[len + 1]) && (number < 0 || atoi(line + len + 1) == number)))
                        count++;
        }
        return count;
}

/* Wait until it says `text` (and the number); false if it didn't by `deadline`. */
static bool await(struct side *s, const char *text, bool numbered, int number, uint64_t deadline)
{
        char events[4096];

        while (!lines(s, text, numbered, number)) {
                uint64_t now = clock_now_ns();
                struct pollfd p = {.fd = s->heard, .events = POLLIN};

                if (now >= deadline)
                        return false;
                if (poll(&p, 1, (int)((deadline - now) / 1000000) + 1) > 0)
                        must(read(s->heard, events, sizeof(events)) > 0, "inotify");
        }
        return true;
}

static _Noreturn void give_up(const struct side *s, const char *what)
{
        test_fail(__FILE__, __LINE__, "%s on %s: waited in vain for %s; it said:\n%s", s->r->name, s->dir, what, read_log(s));
}

/* The content of the file for edit `number`, which stays. */
static const char *content(const struct side *s, unsigned number)
{
        char text[TEXT_MAX], *out = text, from[4096];
        const char *template = tool_path(format("reload/%s/%s", s->r->name, s->r->file)), *in, *word;
        CLEANUP_FD int fd = open(template, O_RDONLY | O_CLOEXEC);
        ssize_t n = read(fd, from, sizeof(from) - 1);

        must(n > 0, "%s", template);
        from[n] = '\0';
        for (in = from; (word = strstr(in, "EDIT")); in = word + 4)
                out += sprintf(out, "%.*s%u", (int)(word - in), in, number);
        sprintf(out, "%s", in);
        return keep(text);
}

static void write_over(const char *path, int flags, const char *text)
{
        CLEANUP_FD int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0644);
        ssize_t len = (ssize_t)strlen(text);

        must(fd >= 0 && write(fd, text, (size_t)len) == len, "%s", path);
        must(flags & O_APPEND || ftruncate(fd, len) == 0, "%s", path);
}

/* When it was made. */
static uint64_t edit(const struct side *s, unsigned number)
{
        const char *path = format("%s/%s", s->dir, s->r->file), *fresh = format("%s/.%s.new", s->dir, s->r->file),
                   *text = content(s, number);
        unsigned kinds = s->r->edits;
        uint64_t began;

        if (kinds == REPLACED || (!kinds && number % 2)) {
                write_over(fresh, 0, text);
                began = clock_now_ns();
                must(rename(fresh, path) == 0, "rename %s", path);
        } else {
                began = clock_now_ns();
                write_over(path, kinds & APPENDED ? O_APPEND : 0, text);
        }
        return began;
}

/* The same by a process in the container: of this, too, there is to be heard once. */
static uint64_t edit_inside(const struct side *s, unsigned number)
{
        uint64_t began = clock_now_ns();

        put_text(format("%s/edit", s->out), content(s, number));
        docker_text((const char *const[]){"exec", s->id, "sh", "-c",
                                          format("cat /out/edit %s%s", s->r->edits & APPENDED ? ">>" : "1<>", s->r->file), NULL});
        return began;
}

/* Take note of the first time at which it has answered. */
static bool has_answered(struct side *s, unsigned number, uint64_t began)
{
        uint64_t *ns = &s->ns[number - 1];

        if (!*ns && lines(s, s->r->answer, true, (int)number))
                *ns = clock_now_ns() - began;
        return *ns;
}

/* Wait until all of these sides have answered the edit. */
static bool await_edit(struct side *sides, int count, unsigned number, const uint64_t began[])
{
        char events[4096];
        struct pollfd p[2];

        for (;;) {
                bool done = true;

                for (int i = 0; i < count; i++)
                        done &= has_answered(&sides[i], number, began[i]);
                if (done)
                        return true;
                for (int i = 0; i < count; i++)
                        p[i] = (struct pollfd){.fd = sides[i].heard, .events = POLLIN};
                if (clock_now_ns() > began[0] + PATIENCE_NS || poll(p, (nfds_t)count, PATIENCE_NS / 1000000) <= 0)
                        return false;
                for (int i = 0; i < count; i++)
                        must(!p[i].revents || read(p[i].fd, events, sizeof(events)) > 0, "inotify");
        }
}

static unsigned free_port(void)
{
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
        socklen_t len = sizeof(a);
        CLEANUP_FD int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        must(fd >= 0 && bind(fd, (struct sockaddr *)&a, len) == 0 && getsockname(fd, (struct sockaddr *)&a, &len) == 0, "no port");
        return ntohs(a.sin_port);
}

static void listen_to(struct side *s, const char *log)
{
        s->log = log;
        fd_close(&s->heard);
        s->heard = inotify_init1(IN_CLOEXEC);
        put_text(log, "");
        must(s->heard >= 0 && inotify_add_watch(s->heard, log, IN_MODIFY) >= 0, "inotify %s", log);
}

static void start_side(struct side *s, const struct fixture *f, const char *host_dir, const char *container_dir, const char *side)
{
        const struct reloader *r = s->r;
        unsigned port = free_port();

        s->out = format("%s/out.%s.%s", f->base, r->name, side);
        must(mkdir(s->out, 0755) == 0, "mkdir %s", s->out);
        s->dir = format("%s/%s", host_dir, r->name);
        edit(s, 0);
        listen_to(s, format("%s/log", s->out));
        s->id = container_start((const char *const[]){"-v", format("%s:/app", container_dir), "-v", format("%s:/out", s->out), "-w",
                                                      format("/app/%s", r->name), "-e", format("PORT=%u", port), "dsfs-e2e:tools", "sh",
                                                      "-c", format("{ %s; } >/out/log 2>&1", r->command), NULL});
        if (!await(s, r->ready, false, 0, clock_now_ns() + PATIENCE_NS))
                give_up(s, r->ready);
        if (r->page) {
                listen_to(s, format("%s/page", s->out));
                s->page = proc_start((const char *const[]){"node", tool_path("reload/page.js"), format("http://127.0.0.1:%u/", port), NULL},
                                     0, s->log);
        }
}

/* The first edit may be made before it watches. */
static void warm(struct side *s)
{
        uint64_t end = clock_now_ns() + PATIENCE_NS;
        unsigned number = 1000;

        if (s->r->page && !await(s, s->r->answer, true, 0, end))
                give_up(s, "the page");
        do {
                if (clock_now_ns() >= end)
                        give_up(s, "the first edit");
                edit(s, ++number);
        } while (!await(s, s->r->answer, true, (int)number, clock_now_ns() + AGAIN_NS));
}

struct running *reloader_start(struct fixture *f, const struct reloader *r)
{
        struct running *n = calloc(1, sizeof(*n));

        must(n, "memory");
        for (int i = 0; i < 2; i++) {
                n->sides[i] = (struct side){.r = r, .heard = -1};
                must(child_exec((const char *const[]){"cp", "-r", tool_path(format("reload/%s", r->name)), i ? f->plain : f->src, NULL},
                                NULL, NULL, NULL, 0) == 0,
                     "cp");
        }
        fixture_wait(f);
        start_side(&n->sides[0], f, f->src, f->mnt, "mount");
        start_side(&n->sides[1], f, f->plain, f->plain, "bind");
        for (int i = 0; i < 2; i++)
                warm(&n->sides[i]);
        return n;
}

/* Both sides at once, for what takes its time. */
static void edit_together(struct side *sides)
{
        bool fine = true;

        for (unsigned number = 1; fine && number <= RELOADER_EDITS; number++) {
                uint64_t began[2];

                poll(NULL, 0, SLOW_PACE_MS);
                for (int i = 0; i < 2; i++)
                        began[i] = edit(&sides[i], number);
                fine = await_edit(sides, 2, number, began);
        }
}

static void edit_by_turns(struct side *sides)
{
        bool fine[2] = {true, true};

        for (unsigned number = 1; number <= RELOADER_EDITS; number++) {
                for (int i = 0; i < 2; i++) {
                        uint64_t began;

                        if (!fine[i])
                                continue;
                        poll(NULL, 0, PACE_MS);
                        began = edit(&sides[i], number);
                        fine[i] = await_edit(&sides[i], 1, number, &began);
                }
        }
}

void reloader_edit(struct running *n)
{
        poll(NULL, 0, PACE_MS);
        for (int i = 0; i < 2; i++)
                n->sides[i].before = lines(&n->sides[i], n->sides[i].r->answer, true, -1);
        (n->sides[0].r->slow ? edit_together : edit_by_turns)(n->sides);
        for (int i = 0; i < 2; i++) {
                uint64_t began;

                poll(NULL, 0, n->sides[i].r->slow ? SLOW_PACE_MS : PACE_MS);
                began = edit_inside(&n->sides[i], RELOADER_ALL);
                await_edit(&n->sides[i], 1, RELOADER_ALL, &began);
        }
}

void reloader_end(struct running *n, struct reloads *ret)
{
        for (int i = 0; i < 2; i++) {
                struct side *s = &n->sides[i];

                ret->said[i] = keep(read_log(s));
                ret->count[i] = lines(s, s->r->answer, true, -1) - s->before;
                memcpy(ret->ns[i], s->ns, sizeof(s->ns));
                if (s->page)
                        must(kill(s->page, SIGTERM) == 0 && proc_wait(s->page) >= 0, "the browser does not end");
                container_remove(s->id);
                fd_close(&s->heard);
        }
        free(n);
}
