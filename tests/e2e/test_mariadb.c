/*
 * MariaDB in the mount, killed in the middle of its load: after each recovery the sum is what it was, no acknowledged transaction is
 * lost, none is there by half, and the tables are sound; in the end on the host, too. And as a user of its own, in an artifact that was
 * given to him.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/e2e/tool.h"

#define CLIENTS 3
#define KILLS 3
#define START_SECONDS 120
#define LOAD_SECONDS 120
#define ACKS_MAX (1 << 20)
#define OWNER 4242
#define DATABASE 3306 /* whom the artifact is given to */

struct server {
        const char *data; /* where its files are */
        const char *flush_method;
        const char *socket, *log;
        const struct who *who; /* it runs as; NULL: root */
        pid_t pid;
};

struct command {
        const char *argv[10];
};

static int run_command(void *arg)
{
        const struct command *c = arg;

        execvp(c->argv[0], (char *const *)c->argv);
        return 127;
}

/* A function of mariadb.sh in a process that ends with the test. */
static pid_t start(const struct who *who, const char *what, const char *a, const char *b, const char *c, const char *d, const char *e)
{
        struct command command = {{"bash", tool_path("mariadb.sh"), what, a, b, c, d, e, NULL}};

        return child_start(who, run_command, &command);
}

static void run(const struct server *s, const char *what, const char *arg)
{
        must(child_wait(start(s->who, what, arg, NULL, NULL, NULL, NULL)) == 0, "mariadb.sh %s %s", what, arg);
}

/* The first line of a statement's result, in a static buffer; NULL if that is allowed and the server doesn't answer. */
static const char *ask(const struct server *s, bool may_fail, const char *sql)
{
        static char out[65536];
        int rc = child_exec((const char *const[]){"sh", "-c", may_fail ? "exec \"$@\" 2>/dev/null" : "exec \"$@\"", "sh", "mariadb",
                                                  "--no-defaults", "-uroot", "-BN", "-S", s->socket, "-e", sql, NULL},
                            NULL, NULL, out, sizeof(out));

        errno = 0;
        must(rc == 0 || may_fail, "%s: %d", sql, rc);
        out[strcspn(out, "\n")] = '\0';
        return rc == 0 ? out : NULL;
}

static void must_answer(const struct server *s, const char *sql, const char *want)
{
        const char *have = ask(s, false, sql);

        must(strcmp(have, want) == 0, "%s: %s instead of %s", sql, have, want);
}

static bool answers(void *arg)
{
        const struct server *s = arg;

        if (ask(s, true, "SELECT 1"))
                return true;
        usleep(50000); /* each try is a process */
        return false;
}

static void server_start(struct server *s)
{
        char variables[128];

        s->pid = start(s->who, "serve", s->data, s->socket, s->log, s->flush_method, NULL);
        must(wait_until(answers, s, START_SECONDS), "mariadbd doesn't answer; see %s", s->log);
        snprintf(variables, sizeof(variables), "%s\t1\t1\t1", s->flush_method);
        must_answer(s, "SELECT @@innodb_flush_method, @@innodb_use_native_aio, @@innodb_doublewrite, @@innodb_flush_log_at_trx_commit",
                    variables);
}

static void server_stop(struct server *s)
{
        ask(s, false, "SHUTDOWN");
        must(child_wait(s->pid) == 0, "mariadbd's end");
}

/* The last transfer that a client was told to be committed. */
static long acknowledged(const char *path)
{
        CLEANUP_FREE char *text = NULL;
        char *end;

        if (fd_read_file(AT_FDCWD, path, ACKS_MAX, &text) <= 0)
                return 0;
        end = strrchr(text, '\n');
        if (!end)
                return 0;
        *end = '\0';
        end = strrchr(text, '\n');
        return strtol(end ? end + 1 : text, NULL, 10);
}

struct goal {
        const char *const *files;
        long count;
};

static bool came_on(void *arg)
{
        const struct goal *g = arg;

        usleep(1000);
        for (int i = 0; i < CLIENTS; i++)
                if (acknowledged(g->files[i]) < g->count)
                        return false;
        return true;
}

/* Each client was told of its transfers in order, so all up to the last are there, and at most one more. */
static void must_have_all(const struct server *s, int round, const char *const files[CLIENTS])
{
        for (int i = 0; i < CLIENTS; i++) {
                long told = acknowledged(files[i]), count, last;
                char sql[160];

                snprintf(sql, sizeof(sql), "SELECT count(*), coalesce(max(seq), 0) FROM bank.log WHERE client = %d AND round = %d", i,
                         round);
                must(sscanf(ask(s, false, sql), "%ld %ld", &count, &last) == 2, "no answer to %s", sql);
                must(count == last && (last == told || last == told + 1), "client %d in round %d: %ld transfers up to %ld, was told %ld", i,
                     round, count, last, told);
        }
}

static void must_be_sound(const struct server *s)
{
        must_answer(s, "SELECT sum(balance) FROM bank.account", "100000");
        must_answer(
                s,
                "SELECT count(*) FROM bank.account a WHERE balance <> 1000 - (SELECT coalesce(sum(amount), 0) FROM bank.log WHERE src = "
                "a.id) + (SELECT coalesce(sum(amount), 0) FROM bank.log WHERE dst = a.id)",
                "0");
        must_answer(s, "CHECK TABLE bank.account EXTENDED", "bank.account\tcheck\tstatus\tOK");
        must_answer(s, "CHECK TABLE bank.log EXTENDED", "bank.log\tcheck\tstatus\tOK");
}

static void load_and_kill(struct fixture *f, struct server *s, int round, struct dice *dice)
{
        const char *files[CLIENTS];
        pid_t clients[CLIENTS];
        struct goal goal = {files, 150 + (long)dice_roll(dice, 200)};

        for (int i = 0; i < CLIENTS; i++) {
                char number[16], in_round[16], seed[16];

                snprintf(number, sizeof(number), "%d", i);
                snprintf(in_round, sizeof(in_round), "%d", round);
                snprintf(seed, sizeof(seed), "%u", dice_roll(dice, 1000000));
                files[i] = keep(at(f->base, "told.%d.%d", i, round));
                clients[i] = start(NULL, "client", s->socket, files[i], number, in_round, seed);
        }
        must(wait_until(came_on, &goal, LOAD_SECONDS), "the clients don't come on");
        usleep(dice_roll(dice, 20000)); /* anywhere in a transaction: that is the point */
        must(kill(s->pid, SIGKILL) == 0 && child_wait(s->pid) == 128 + SIGKILL, "mariadbd had ended by itself; see %s", s->log);
        for (int i = 0; i < CLIENTS; i++)
                must(child_wait(clients[i]) == 0, "client %d didn't end with the server", i);
        server_start(s);
        for (int i = 0; i < CLIENTS; i++)
                must(acknowledged(files[i]) >= goal.count, "client %d", i);
        must_have_all(s, round, files);
        must_be_sound(s);
}

static void install_load_and_kill(struct fixture *f, struct server *s)
{
        struct dice dice = {tool_seed()};

        run(s, "install", s->data);
        server_start(s);
        run(s, "prepare", s->socket);
        for (int round = 0; round < KILLS; round++)
                load_and_kill(f, s, round, &dice);
        server_stop(s);
}

static void killed_under_load(struct fixture *f, const char *flush_method)
{
        struct server s = {
                .data = keep(at(f->mnt, "data")),
                .flush_method = flush_method,
                .socket = keep(at(f->base, "m.sock")),
                .log = keep(at(f->base, "m.log")),
        };

        must(mkdir(s.data, 0700) == 0, "mkdir %s", s.data);
        install_load_and_kill(f, &s);
        fixture_wait(f);
        must_mirror(f);
        s.data = keep(at(f->src, "data"));
        server_start(&s);
        must_be_sound(&s);
        server_stop(&s);
        fixture_wait(f);
        must_mirror(f);
}

CASE_WITH(mariadb, recovers_with_o_direct, tool_variants)
{
        killed_under_load(f, "O_DIRECT");
}

CASE_WITH(mariadb, recovers_with_fsync, tool_variants)
{
        killed_under_load(f, "fsync");
}

static const struct variant given_away[] = {
        {.backing = ON_EXT4, .transport = BY_URING, .watch = WATCH_BY_FANOTIFY, .owner = OWNER},
        {.backing = ON_EXT4, .transport = BY_DEV, .watch = WATCH_BY_FANOTIFY, .profile = PROFILE_DATA, .owner = OWNER},
};

/* All below is his, and there is something. */
static void must_all_be_his(const char *dir)
{
        static char out[65536];
        int rc = child_exec((const char *const[]){"sh", "-euc", "[ -f \"$1/ibdata1\" ]; find \"$1\" ! \\( -uid \"$2\" -gid \"$2\" \\)",
                                                  "sh", dir, "3306", NULL},
                            NULL, NULL, out, sizeof(out));

        errno = 0;
        must(rc == 0 && !*out, "not the database's, or nothing, in %s:\n%s", dir, out);
}

CASE_UNMOUNTED(mariadb, recovers_in_an_artifact_of_its_own_user, given_away)
{
        struct who database = {.uid = DATABASE, .gid = DATABASE};
        struct server s = {
                .data = keep(at(f->mnt, ".dev/db")),
                .flush_method = "O_DIRECT",
                .socket = keep(at(f->base, "own/m.sock")),
                .log = keep(at(f->base, "own/m.log")),
                .who = &database,
        };

        if (f->bind)
                return;
        put_text(at(f->src, "dsfs.yaml"), "version: 1\nartifacts:\n  - path: .dev/\n");
        fixture_mount(f);
        must(mkdir(at(f->base, "own"), 0755) == 0 && chown(at(f->base, "own"), DATABASE, DATABASE) == 0, "mkdir own");
        must(mkdir(at(f->mnt, ".dev"), 0755) == 0 && mkdir(s.data, 0700) == 0, "mkdir %s", s.data);
        must(chown(s.data, DATABASE, DATABASE) == 0, "chown %s", s.data);
        install_load_and_kill(f, &s);
        must_all_be_his(s.data);
        must(access(at(f->src, ".dev"), F_OK) < 0, ".dev is in the source");
        fixture_umount(f);
        fixture_mount(f);
        server_start(&s);
        must_be_sound(&s);
        server_stop(&s);
}
