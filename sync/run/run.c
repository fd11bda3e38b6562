#include "sync/run/run.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/log.h"
#include "cache/base/thread.h"
#include "sync/run/changed.h"
#include "sync/run/keeper.h"
#include "sync/run/terminal.h"
#include "sync/serve/why.h"

#define NS_PER_MS 1000000ULL
#define SHOWN_MAX 256
#define EXIT_WRONG 1
#define EXIT_NO_SENSE 2
#define CLEAR_SCREEN "\033[H\033[2J\033[3J"

struct run {
        const struct run_task *task;
        struct decide decide;
        struct selection *selection; /* owned */
        struct feed *feed;           /* owned */
        struct gathered batch;       /* of a batch that hasn't settled */
        struct gathered ready;       /* for the next run */
        struct keeper keeper;
        struct terminal terminal;
        struct changed changed;
        sigset_t mask; /* as we were given it */
        int signals;   /* a signalfd */
        char *dir;     /* owned: the working directory, by its name */
        bool stopped;  /* the command is, and we were with it */
        bool origin_said;
        bool over;
        int code;
};

/* What we hear, and what that means: it ends us, or is only passed on. */
static const struct {
        int number;
        bool ends;
} heard[] = {
        {SIGINT, true},   {SIGTERM, true},   {SIGHUP, true},   {SIGQUIT, true},  {SIGTSTP, false},
        {SIGCONT, false}, {SIGWINCH, false}, {SIGUSR1, false}, {SIGUSR2, false}, {SIGCHLD, false},
};

static int64_t now_ms(void)
{
        return (int64_t)(clock_now_ns() / NS_PER_MS);
}

/*
 * What is to be done
 */

/* Names are bytes, and may hold what a terminal would take for orders. */
static void shown(const char *name, char ret[SHOWN_MAX])
{
        size_t n = 0;

        for (; *name && n + sizeof("\\x00...") < SHOWN_MAX; name++) {
                if ((unsigned char)*name < ' ' || *name == 0x7f || *name == '\\')
                        n += (size_t)sprintf(ret + n, "\\x%02x", (unsigned char)*name);
                else
                        ret[n++] = *name;
        }
        strcpy(ret + n, *name ? "..." : "");
}

static void announce(const struct run *r, enum changed_why why, size_t count)
{
        char name[SHOWN_MAX];

        shown(why == CHANGED_PATHS ? r->ready.bytes : "", name);
        if (why == CHANGED_ANYTHING)
                log_info("anything may have changed: %s", r->task->argv[0]);
        else if (why == CHANGED_PATHS && count > 1)
                log_info("%s and %zu more changed: %s", name, count - 1, r->task->argv[0]);
        else if (why == CHANGED_PATHS)
                log_info("%s changed: %s", name, r->task->argv[0]);
}

static void start(struct run *r)
{
        bool lend = terminal_is_ours(&r->terminal);
        size_t count = gathered_finish(&r->ready);
        enum changed_why why = r->ready.anything ? CHANGED_ANYTHING : count ? CHANGED_PATHS : CHANGED_NOTHING;
        const struct keeper_task task = {
                .argv = r->task->argv,
                .dir = r->dir ? r->dir : ".",
                .signal = r->task->rules.busy == BUSY_SIGNAL ? SIGTERM : r->task->rules.signal,
                .grace_ms = (int)r->task->rules.grace_ms,
                .changed = r->changed.named ? r->changed.path : NULL,
                .mask = &r->mask,
                .lend = lend ? &r->terminal : NULL,
                .ours = {r->signals, feed_fd(r->feed), feed_catching_fd(r->feed), r->changed.fd},
        };
        int rc;

        if (r->task->clear && isatty(STDOUT_FILENO))
                (void)fd_write_full(STDOUT_FILENO, CLEAR_SCREEN, strlen(CLEAR_SCREEN));
        announce(r, why, count);
        changed_tell(&r->changed, why, &r->ready, r->task->root);
        gathered_clear(&r->ready);
        rc = keeper_start(&task, &r->keeper);
        r->terminal.lent = rc == 0 && lend;
        if (rc == 0)
                return;
        log_error("no process can be started for %s: %s", r->task->argv[0], strerror(-rc));
        decide_tell(&r->decide, TOLD_REFUSED, RUN_CANNOT_EXEC, now_ms());
}

static void act(struct run *r)
{
        struct decide_action a;

        while (!r->over && decide_take(&r->decide, &a)) {
                switch (a.what) {
                case DO_START:
                        start(r);
                        break;
                case DO_SIGNAL:
                        keeper_signal(&r->keeper, a.arg);
                        break;
                case DO_KILL:
                        keeper_signal(&r->keeper, SIGKILL);
                        break;
                case DO_FORGET:
                        gathered_clear(&r->ready);
                        break;
                case DO_CATCH_UP:
                        feed_catch_up(r->feed);
                        break;
                case DO_SAY_SLOW:
                        log_warn("%s was run %u times in %d seconds; if it changes what it is run for, leave that out (--ignore). Next "
                                 "in %.1f s",
                                 r->task->argv[0], DECIDE_BRAKE_RUNS, DECIDE_BRAKE_WINDOW_MS / 1000, a.arg / 1000.0);
                        break;
                case DO_END:
                        r->code = a.arg;
                        r->over = true;
                        break;
                }
        }
}

static void tell(struct run *r, enum decide_event event, int arg)
{
        decide_tell(&r->decide, event, arg, now_ms());
        act(r);
}

/*
 * What happens
 */

static void hear_change(struct run *r, const struct feed_news *n)
{
        char name[SHOWN_MAX];

        switch (selection_of(r->selection, n->path, n->is_dir, n->deleted, n->from_mount)) {
        case SELECTED_YES:
                (void)gathered_add(&r->batch, n->path);
                break;
        case SELECTED_BUT_ORIGIN:
                if (r->origin_said)
                        break;
                shown(n->path, name);
                log_info("%s was changed through the mount, and only the host's changes count (--origin any: all do)", name);
                r->origin_said = true;
                break;
        case SELECTED_NO:
                break;
        }
}

static void hear_settled(struct run *r)
{
        if (!r->batch.anything && r->batch.len == 0)
                return;
        if (r->batch.anything)
                gathered_anything(&r->ready);
        for (size_t at = 0; at < r->batch.len; at += strlen(r->batch.bytes + at) + 1)
                (void)gathered_add(&r->ready, r->batch.bytes + at);
        gathered_clear(&r->batch);
        tell(r, TOLD_CHANGED, 0);
}

static void hear_feed(struct run *r)
{
        struct feed_news n;

        while (!r->over && feed_next(r->feed, now_ms(), &n)) {
                switch (n.kind) {
                case FEED_CHANGE:
                        hear_change(r, &n);
                        break;
                case FEED_ANYTHING:
                        gathered_anything(&r->batch);
                        hear_settled(r);
                        break;
                case FEED_SETTLED:
                        hear_settled(r);
                        break;
                case FEED_CAUGHT_UP:
                        /* Of a batch that hasn't settled, the same. */
                        gathered_clear(&r->batch);
                        tell(r, TOLD_CAUGHT_UP, 0);
                        break;
                case FEED_AWAY:
                        log_warn("%s; %s goes on, and changes are followed again when there is an agent", n.text, r->task->argv[0]);
                        break;
                case FEED_BACK:
                        log_info("changes are followed again");
                        break;
                case FEED_OVER:
                        log_error("there is nothing to follow any more: %s", n.text);
                        tell(r, TOLD_OVER, RUN_NO_MOUNT);
                        break;
                case FEED_REFUSED:
                        log_error("%s", n.text);
                        tell(r, TOLD_OVER, EXIT_WRONG);
                        break;
                }
        }
}

/* Ctrl-Z, or a read of the keyboard from the background: we stop with it, so that the shell above us sees it, and go on with it. */
static void hear_stopped(struct run *r, int signal)
{
        if (r->terminal.fd < 0 || signal == SIGSTOP)
                return;
        terminal_take_back(&r->terminal, false);
        terminal_stop_us();
        if (terminal_is_ours(&r->terminal) && r->keeper.group)
                terminal_lend(&r->terminal, r->keeper.group);
        keeper_signal(&r->keeper, SIGCONT);
}

static void hear_exit(struct run *r, const struct keeper_report *said)
{
        terminal_take_back(&r->terminal, true);
        tell(r, said->typed ? TOLD_TYPED_OUT : TOLD_EXITED, said->arg);
        if (!r->over && r->decide.state == STATE_REMAINS && !r->task->rules.once)
                log_info("%s ended with %d; changes are waited for", r->task->argv[0], said->arg);
}

static void hear_keeper(struct run *r)
{
        struct keeper_report said;

        while (!r->over && r->keeper.fd >= 0 && keeper_report(&r->keeper, &said) == 0) {
                switch (said.said) {
                case KEEPER_STARTED:
                        break;
                case KEEPER_STOPPED:
                        hear_stopped(r, said.arg);
                        break;
                case KEEPER_EXITED:
                        hear_exit(r, &said);
                        break;
                case KEEPER_REFUSED:
                        terminal_take_back(&r->terminal, false);
                        log_error("%s can't be executed: %s", r->task->argv[0], strerror(said.arg));
                        keeper_release(&r->keeper);
                        tell(r, TOLD_REFUSED, said.arg == ENOENT ? RUN_NOT_FOUND : RUN_CANNOT_EXEC);
                        break;
                case KEEPER_GONE:
                        keeper_release(&r->keeper);
                        tell(r, TOLD_GONE, 0);
                        break;
                }
        }
}

static void hear_signal(struct run *r, int number)
{
        int status;
        pid_t pid;

        if (number == SIGCHLD) {
                /* In a container we may be the one who waits for everybody's children. */
                while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
                        (void)keeper_reaped(&r->keeper, pid);
                return;
        }
        for (size_t i = 0; i < ARRAY_LEN(heard); i++) {
                if (heard[i].number != number)
                        continue;
                if (heard[i].ends)
                        tell(r, TOLD_ASKED, number);
                else if (r->keeper.fd >= 0)
                        keeper_signal(&r->keeper, number);
                else if (number == SIGTSTP)
                        terminal_stop_us();
        }
}

static void hear_signals(struct run *r)
{
        struct signalfd_siginfo s;

        while (!r->over && read(r->signals, &s, sizeof(s)) == (ssize_t)sizeof(s))
                hear_signal(r, (int)s.ssi_signo);
}

static int until(const struct run *r)
{
        int64_t a = decide_deadline(&r->decide), b = feed_deadline(r->feed);
        int64_t at = a < 0 || (b >= 0 && b < a) ? b : a;
        int64_t left = at - now_ms();

        if (at < 0)
                return -1;
        return left < 0 ? 0 : left > INT32_MAX ? INT32_MAX : (int)left;
}

static void follow(struct run *r)
{
        tell(r, TOLD_BEGIN, 0);
        while (!r->over) {
                struct pollfd p[] = {
                        {.fd = r->signals, .events = POLLIN},
                        {.fd = r->keeper.fd, .events = POLLIN},
                        {.fd = feed_fd(r->feed), .events = POLLIN},
                        {.fd = feed_catching_fd(r->feed), .events = POLLIN},
                };

                if (poll(p, ARRAY_LEN(p), until(r)) < 0 && errno != EINTR) {
                        log_error("waiting failed: %s", strerror(errno));
                        return;
                }
                hear_signals(r);
                hear_keeper(r);
                hear_feed(r);
                if (!r->over)
                        tell(r, TOLD_TICK, 0);
        }
}

/* Nothing is missed between this and the first wait. */
static int hear_from_now(struct run *r)
{
        sigset_t set;

        (void)sigemptyset(&set);
        for (size_t i = 0; i < ARRAY_LEN(heard); i++)
                (void)sigaddset(&set, heard[i].number);
        /* Who takes the terminal from behind is not stopped for it. */
        (void)sigaddset(&set, SIGTTOU);
        if (sigprocmask(SIG_BLOCK, &set, &r->mask) < 0)
                return -errno;
        (void)sigdelset(&set, SIGTTOU);
        r->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        return r->signals < 0 ? -errno : 0;
}

static int prepare(struct run *r, char **why)
{
        const char *pattern = "";
        int rc = selection_new(&r->task->select, &r->selection, &pattern);

        if (rc == -EINVAL) {
                r->code = EXIT_NO_SENSE;
                return why_set(why, rc, "nothing can match the pattern \"%s\"", pattern);
        }
        if (rc == 0)
                rc = hear_from_now(r);
        if (rc)
                return why_set(why, rc, "%s", strerror(-rc));
        rc = feed_new(&r->task->place, &r->feed, why);
        if (rc)
                r->code = RUN_NO_MOUNT;
        return rc;
}

int run_follow(const struct run_task *task)
{
        struct run r = {.task = task, .keeper = {.fd = -1}, .signals = -1, .changed = {.fd = -1}, .code = EXIT_WRONG};
        CLEANUP_FREE char *why = NULL;

        log_set_program("dsfs run");
        if (task->quiet)
                log_set_level(LOG_WARN);
        decide_init(&r.decide, &task->rules);
        if (prepare(&r, &why)) {
                log_error("%s", why_text(why));
        } else {
                (void)signal(SIGPIPE, SIG_IGN);
                (void)signal(SIGCHLD, SIG_DFL);
                r.dir = getcwd(NULL, 0);
                if (changed_new(&r.changed))
                        log_warn("there is no room for a file: the command doesn't learn what has changed");
                terminal_init(&r.terminal);
                follow(&r);
                terminal_take_back(&r.terminal, true);
                terminal_release(&r.terminal);
                changed_release(&r.changed);
        }
        feed_free(r.feed);
        selection_free(r.selection);
        gathered_clear(&r.batch);
        gathered_clear(&r.ready);
        fd_close(&r.signals);
        free(r.dir);
        return r.code;
}
