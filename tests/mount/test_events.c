/*
 * What a watcher of the mount hears of the host's edits, beside what a watcher of a bind mount hears of the same: genuine inotify events,
 * for each step the same ones in the same order. Opening and reading are left out, and what only its own watcher hears of an object.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/mount/case.h"

#define HEARD (IN_CREATE | IN_DELETE | IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | IN_MOVED_FROM | IN_MOVED_TO)
#define CHECKOUT_FILES 500

static const struct {
        const char *command;
        const char *differs; /* why the mount's watcher hears something else */
} steps[] = {
        {"printf more >> file", NULL},
        {"printf new > made", NULL},
        {"mkdir sub/made", NULL},
        {"chmod 600 file", NULL},
        {"chmod 711 sub", NULL},
        {"mv file file2", NULL},
        {"mv file2 sub/file3", NULL},
        {"mv sub/file3 file", NULL},
        {"rm made", NULL},
        {"rmdir sub/made", NULL},
        {"ln -s target link", NULL},
        {"rm link", NULL},
        {"ln file hard", NULL},
        {"rm hard", NULL},
        {"mkfifo fifo", NULL},
        {"rm fifo", NULL},
        {"mv sub renamed && mv renamed sub", NULL},
        {"truncate -s 1 file", NULL},
        {"printf tmp > sub/moving && mv sub/moving file", NULL},
        {"mv other away && printf new > other", "of what is written while it is looked at, more than one MODIFY may be one"},
        {"printf x | dd of=file conv=notrunc status=none", NULL},
        {"rm -r full", NULL},
        {"mv ../beside inside", NULL},
        {"mv inside ../beside", NULL},
        {"mv ../../outside inside", "what comes from outside the source is created"},
        {"mv inside ../../outside", "what goes outside the source is deleted"},
};

struct ear {
        int fd;
        int top, sub;
};

static struct ear listen_at(const char *dir)
{
        struct ear e = {.fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC)};

        must(e.fd >= 0, "inotify");
        e.top = inotify_add_watch(e.fd, dir, HEARD);
        e.sub = inotify_add_watch(e.fd, at(dir, "sub"), HEARD);
        must(e.top >= 0 && e.sub >= 0, "watch %s", dir);
        return e;
}

static const char *name_of(uint32_t mask)
{
        static const struct {
                uint32_t bit;
                const char *name;
        } names[] = {{IN_CREATE, "CREATE"}, {IN_DELETE, "DELETE"},         {IN_MODIFY, "MODIFY"},    {IN_CLOSE_WRITE, "CLOSE_WRITE"},
                     {IN_ATTRIB, "ATTRIB"}, {IN_MOVED_FROM, "MOVED_FROM"}, {IN_MOVED_TO, "MOVED_TO"}};

        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                if (mask & names[i].bit)
                        return names[i].name;
        }
        return "?";
}

/* Everything that is queued, a line each. Both halves of a rename name it alike. */
static char *hear(const struct ear *e)
{
        _Alignas(struct inotify_event) char buf[65536];
        static char text[1 << 17];
        uint32_t cookies[64] = {0};
        size_t used = 0, seen = 0;
        ssize_t n;

        text[0] = '\0';
        while ((n = read(e->fd, buf, sizeof(buf))) > 0) {
                for (char *p = buf; p < buf + n;) {
                        const struct inotify_event *ev = (const void *)p;
                        size_t pair = 0;

                        p += sizeof(*ev) + ev->len;
                        if (!ev->len || !(ev->mask & HEARD))
                                continue;
                        while (ev->cookie && pair < seen && cookies[pair] != ev->cookie)
                                pair++;
                        if (ev->cookie && pair == seen && seen < ARRAY_LEN(cookies))
                                cookies[seen++] = ev->cookie;
                        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s %s%s", name_of(ev->mask),
                                                 ev->mask & IN_ISDIR ? " (directory)" : "", ev->wd == e->sub ? "sub/" : "", ev->name);
                        if (ev->cookie)
                                used += (size_t)snprintf(text + used, sizeof(text) - used, " #%zu", pair);
                        used += (size_t)snprintf(text + used, sizeof(text) - used, "\n");
                        must(used < sizeof(text) - 512, "too many events");
                }
        }
        return keep(text);
}

static void run_in(const char *dir, const char *command)
{
        pid_t pid = fork();
        int status;

        must(pid >= 0, "fork");
        if (pid == 0) {
                if (chdir(dir) == 0)
                        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
                _exit(127);
        }
        must(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s", command);
}

static void furnish(struct fixture *f)
{
        must(mkdir(at(f->src, "p"), 0755) == 0 && mkdir(at(f->src, "p/sub"), 0755) == 0 && mkdir(at(f->src, "p/full"), 0755) == 0, "mkdir");
        put_text(at(f->src, "p/file"), "file");
        put_text(at(f->src, "p/other"), "other");
        put_text(at(f->src, "p/full/x"), "x");
        put_text(at(f->src, "beside"), "beside");
        put_text(at(f->area, "outside"), "outside");
}

static const struct variant watching[] = {
        {.backing = ON_EXT4, .transport = BY_URING, .watch = WATCH_BY_FANOTIFY, .options = "replay=on"},
        {.backing = ON_TMPFS, .transport = BY_DEV, .watch = WATCH_BY_FANOTIFY, .options = "replay=on"},
};

static void compare_steps(struct fixture *f, const char *bind)
{
        struct ear mine = listen_at(at(f->mnt, "p")), theirs = listen_at(bind);

        for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
                char *want, *have;

                run_in(at(f->src, "p"), steps[i].command);
                fixture_wait(f);
                want = hear(&theirs);
                have = hear(&mine);
                must(*have, "%s: nothing was heard", steps[i].command);
                if (!steps[i].differs)
                        must(strcmp(want, have) == 0, "%s:\nbind mount:\n%smount:\n%s", steps[i].command, want, have);
        }
        close(mine.fd);
        close(theirs.fd);
}

CASE_UNMOUNTED(events, are_those_of_a_bind_mount, watching)
{
        char *bind = keep(at(f->base, "bind"));

        furnish(f);
        fixture_mount(f);
        must(mkdir(bind, 0755) == 0 && mount(at(f->src, "p"), bind, NULL, MS_BIND, NULL) == 0, "bind");
        compare_steps(f, bind);
        must(umount(bind) == 0, "umount");
}

/* Whoever is woken reads what was written, never what was there before. */
CASE_UNMOUNTED(events, come_after_what_they_are_about, watching)
{
        struct ear e;
        int heard = 0;

        furnish(f);
        fixture_mount(f);
        e = listen_at(at(f->mnt, "p"));
        for (int i = 0; i < 200; i++) {
                char want[32], have[32] = "";
                CLEANUP_FD int fd = -1;

                snprintf(want, sizeof(want), "version %d", i);
                put_text(at(f->src, "p/file"), want);
                fixture_wait(f);
                heard += strstr(hear(&e), "MODIFY file") != NULL;
                fd = open(at(f->mnt, "p/file"), O_RDONLY | O_CLOEXEC);
                must(fd >= 0 && read(fd, have, sizeof(have) - 1) > 0 && strcmp(want, have) == 0, "it says %s", have);
        }
        must(heard == 200, "heard of %d of 200 edits", heard);
        close(e.fd);
}

/* The data profile opens what is replayed in a way of its own, which has to bear with all that have the file open. */
CASE_UNMOUNTED(events, come_to_what_is_open, watching)
{
        CLEANUP_FD int reader = -1, writer = -1;
        char text[16] = "";
        struct ear e;

        furnish(f);
        fixture_mount(f);
        e = listen_at(at(f->mnt, "p"));
        reader = open(at(f->mnt, "p/file"), O_RDONLY | O_CLOEXEC);
        must(reader >= 0, "open");
        run_in(at(f->src, "p"), "printf ' more' >> file");
        fixture_wait(f);
        must(strstr(hear(&e), "MODIFY file"), "heard nothing");
        must(pread(reader, text, sizeof(text) - 1, 0) == 9 && strcmp(text, "file more") == 0, "it says %s", text);
        writer = open(at(f->mnt, "p/file"), O_WRONLY | O_CLOEXEC);
        must(writer >= 0 && pwrite(writer, "FILE", 4, 0) == 4, "write");
        run_in(at(f->src, "p"), "test \"$(cat file)\" = 'FILE more'");
        close(e.fd);
}

/* Doing the same on both sides at once: what a container does has its effect, and what the host did isn't done twice. */
CASE_UNMOUNTED(events, do_not_swallow_what_others_do, watching)
{
        pid_t host;
        int status;

        furnish(f);
        fixture_mount(f);
        host = fork();
        must(host >= 0, "fork");
        if (host == 0) {
                for (int i = 0; i < CHECKOUT_FILES; i++) {
                        put_text(at(f->src, "p/sub/host%d", i), "host");
                        if (i % 2)
                                (void)unlink(at(f->src, "p/sub/host%d", i));
                }
                _exit(0);
        }
        for (int i = 0; i < CHECKOUT_FILES; i++) {
                put_text(at(f->mnt, "p/sub/mine%d", i), "mine");
                if (i % 2)
                        must(unlink(at(f->mnt, "p/sub/mine%d", i)) == 0, "unlink");
        }
        must(waitpid(host, &status, 0) == host && status == 0, "the host");
        fixture_wait(f);
        for (int i = 0; i < CHECKOUT_FILES; i++) {
                static const char *const whose[] = {"host", "mine"};

                for (size_t w = 0; w < ARRAY_LEN(whose); w++) {
                        must((access(at(f->src, "p/sub/%s%d", whose[w], i), F_OK) == 0) == (i % 2 == 0), "source: %s%d", whose[w], i);
                        must((access(at(f->mnt, "p/sub/%s%d", whose[w], i), F_OK) == 0) == (i % 2 == 0), "mount: %s%d", whose[w], i);
                }
        }
}

static const struct variant turned_off[] = {
        {.backing = ON_EXT4, .transport = BY_URING, .watch = WATCH_BY_FANOTIFY, .options = "replay=off"},
};

/* So it is the replay that is heard in the others. */
CASE_UNMOUNTED(events, are_none_without_replay, turned_off)
{
        struct ear e;

        furnish(f);
        fixture_mount(f);
        e = listen_at(at(f->mnt, "p"));
        put_text(at(f->src, "p/file"), "changed");
        fixture_wait(f);
        must(!*hear(&e), "heard: %s", hear(&e));
        close(e.fd);
}
