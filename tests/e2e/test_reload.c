/*
 * Programs that reload when a file changes, unmodified and without polling, in containers; the file is edited on the host, and then by the
 * container itself. Each reloads once for each edit, as it does on a bind mount. Ends with a table of how long the host's edits take.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache/base/err.h"
#include "tests/e2e/reloader.h"
#include "tests/e2e/tool.h"

/* The one with less to do first, for it may have to make the image. */
static const struct variant variants[] = {
        {.backing = ON_EXT4, .transport = BY_DEV, .watch = WATCH_BY_FANOTIFY, .options = "replay=on"},
        {.backing = ON_EXT4, .transport = BY_URING, .watch = WATCH_BY_FANOTIFY, .options = "replay=on"},
};

/* node --watch loses a file that is replaced, on a bind mount as well (20.20). */
static const struct reloader reloaders[] = {
        {"inotifywait",
         "inotifywait -m -e close_write,moved_to --format %f . | while read f; do [ $f != app.txt ] || echo heard $(cat $f); done",
         .ready = "Watches established", .answer = "heard", .file = "app.txt", .brief = true},
        {"tail", "tail -n +1 -f app.txt", .ready = "line 0", .answer = "line", .file = "app.txt", .edits = APPENDED, .slow = true},
        {"entr", "echo app.sh | entr -n -r sh app.sh", .ready = "running 0", .answer = "running", .file = "app.sh"},
        {"watchdog", "python3 look.py", .ready = "ready", .answer = "heard", .file = "app.txt", .brief = true},
        {"watchmedo", "watchmedo auto-restart --pattern '*.py' python3 app.py", .ready = "running 0", .answer = "running", .file = "app.py",
         .restless = true},
        {"chokidar", "node look.js", .ready = "ready", .answer = "heard", .file = "app.txt", .brief = true},
        {"parcel", "node look.js", .ready = "ready", .answer = "heard", .file = "app.txt"},
        {"node", "node --watch app.js", .ready = "running 0", .answer = "running", .file = "app.js", .edits = IN_PLACE},
        {"nodemon", "nodemon app.js", .ready = "running 0", .answer = "running", .file = "app.js"},
        {"webpack", "webpack --watch", .ready = "built 0", .answer = "built", .file = "app.js"},
        {"rspack", "node look.js", .ready = "built 0", .answer = "built", .file = "app.js"},
        {"vite", "vite --host 127.0.0.1 --port $PORT --strictPort", .ready = "  VITE", .answer = "page", .file = "app.js", .page = true},
        {"django", "python3 manage.py runserver 127.0.0.1:$PORT", .ready = "running 0", .answer = "running", .file = "views.py",
         .slow = true},
};

static int by_time(const void *a, const void *b)
{
        uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

        return (x > y) - (x < y);
}

/* Of the host's edits, median and worst, in milliseconds; sorts. */
static const char *times(uint64_t ns[RELOADER_ALL])
{
        qsort(ns, RELOADER_EDITS, sizeof(ns[0]), by_time);
        return format("%7.1f | %7.1f", (double)ns[RELOADER_EDITS / 2] / 1e6, (double)ns[RELOADER_EDITS - 1] / 1e6);
}

/* Each edit is answered, and none twice; but what a program does on a bind mount, too, is its own doing. */
static bool is_right(const struct reloader *r, const struct reloads *got)
{
        unsigned most = got->count[1] > RELOADER_ALL ? got->count[1] : RELOADER_ALL;

        for (int i = 0; i < RELOADER_ALL; i++)
                if (!got->ns[0][i])
                        return false;
        return r->restless || got->count[0] <= most;
}

/* A line of the table (tests/run shows what begins like one). */
static unsigned finish(const struct reloader *r, struct running *n)
{
        struct reloads got;
        bool right;

        reloader_end(n, &got);
        right = is_right(r, &got);
        fprintf(stderr, "| %-11s | %s | %4u | %s | %4u |\n", r->name, times(got.ns[0]), got.count[0], times(got.ns[1]), got.count[1]);
        for (int i = 0; i < 2 && !right; i++)
                fprintf(stderr, "%s on the %smount said:\n%s", r->name, i ? "bind " : "", got.said[i]);
        return right ? 0 : 1;
}

/* DSFS_RELOADERS names those to try; all by default. With one transport all, with the other some. */
static bool is_wanted(const struct fixture *f, const struct reloader *r)
{
        const char *wanted = getenv("DSFS_RELOADERS");

        if (wanted && *wanted)
                return strstr(wanted, r->name);
        return f->variant.transport == BY_URING || r->brief;
}

/* How many are wrong. */
static int try_all(struct fixture *f, bool slow)
{
        const struct reloader *last = NULL;
        struct running *running = NULL;
        unsigned wrong = 0;

        for (size_t i = 0; i < ARRAY_LEN(reloaders); i++) {
                const struct reloader *r = &reloaders[i];
                struct running *next;

                if (r->slow != slow || !is_wanted(f, r))
                        continue;
                next = reloader_start(f, r);
                /* Only now: what is heard twice has had its time. */
                wrong += running ? finish(last, running) : 0;
                running = next;
                last = r;
                reloader_edit(running);
        }
        return (int)(wrong + (running ? finish(last, running) : 0));
}

static int try_slow(void *f)
{
        return try_all(f, true);
}

CASE_WITH(reload, once_for_each_edit_on_the_host, variants)
{
        struct containers *c = containers_start(f);
        int wrong;
        pid_t slow;

        containers_image(f, "tools");
        fprintf(stderr, "| %d edits    | ms: p50 |     max | said | bind: p50 |   max | said |\n", RELOADER_EDITS);
        slow = child_start(NULL, try_slow, f);
        wrong = try_all(f, false);
        wrong += child_wait(slow);
        must(wrong == 0, "%d reloaders miss edits, or answer some more than once", wrong);
        containers_end(c);
}
