/*
 * bench-micro: what single operations cost, through a bind mount and through dsfs, in microseconds and requests.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/options.h"
#include "bench/place.h"
#include "bench/report.h"
#include "bench/round.h"
#include "cache/base/err.h"
#include "cache/base/fd.h"
#include "cache/base/thread.h"

enum {
        FILES = 1000, /* a round does one operation on each */
        PAGE = 4096,
        PATH_ROOM = 4096,
};

/* One operation on the `i`-th name, in a directory that each side has of its own; names made anew are never made twice, for where inodes
 * deleted lately are avoided, deleting between rounds would make creating slower and slower. What deletes comes last. */
typedef int operation(int dir, unsigned i);

static const char *numbered(char name[32], char kind, unsigned i)
{
        snprintf(name, 32, "%c%u", kind, i);
        return name;
}

static int op_stat(int dir, unsigned i)
{
        struct stat st;
        char name[32];

        return fstatat(dir, numbered(name, 'f', i % FILES), &st, 0);
}

static int op_open(int dir, unsigned i)
{
        CLEANUP_FD int fd = -1;
        char name[32];

        fd = openat(dir, numbered(name, 'f', i % FILES), O_RDONLY | O_CLOEXEC);
        return fd < 0 ? -1 : 0;
}

static int op_read(int dir, unsigned i)
{
        CLEANUP_FD int fd = -1;
        char name[32], buf[PAGE];
        struct stat st;

        fd = openat(dir, numbered(name, 'f', i % FILES), O_RDONLY | O_CLOEXEC);
        return fd < 0 || fstat(fd, &st) || read(fd, buf, sizeof buf) < 0 ? -1 : 0;
}

static int op_chmod(int dir, unsigned i)
{
        char name[32];

        return fchmodat(dir, numbered(name, 'f', i % FILES), i / FILES & 1 ? 0644 : 0600, 0);
}

static int op_append(int dir, unsigned i)
{
        static int fd = -1; /* one file, kept open over a round, as a log is */
        char buf[PAGE];
        int failed;

        memset(buf, 'a', sizeof buf);
        if (i % FILES == 0)
                fd = openat(dir, "log", O_WRONLY | O_APPEND | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        failed = write(fd, buf, sizeof buf) != PAGE;
        if (failed || i % FILES == FILES - 1)
                fd_close(&fd);
        return failed ? -1 : 0;
}

static int op_create(int dir, unsigned i)
{
        CLEANUP_FD int fd = -1;
        char name[32];

        fd = openat(dir, numbered(name, 'c', i), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        return fd < 0 ? -1 : 0;
}

static int op_make_named(int dir, unsigned i)
{
        char name[32];

        return mknodat(dir, numbered(name, 'n', i), S_IFREG | 0644, 0);
}

static int op_make_doomed(int dir, unsigned i)
{
        char name[32];

        return mknodat(dir, numbered(name, 'u', i), S_IFREG | 0644, 0);
}

static int op_rename(int dir, unsigned i)
{
        char from[32], to[32];

        return renameat(dir, numbered(from, 'n', i), dir, numbered(to, 'r', i));
}

static int op_unlink(int dir, unsigned i)
{
        char name[32];

        return unlinkat(dir, numbered(name, 'u', i), 0);
}

static int op_mkdir(int dir, unsigned i)
{
        char name[32];

        return mkdirat(dir, numbered(name, 'd', i), 0755);
}

static int side_dir(struct bench *b, struct side *s)
{
        char path[PATH_ROOM];
        int fd;

        snprintf(path, sizeof path, "%s/%td", s->root, s - b->sides);
        fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

static int repeat(struct bench *b, struct side *s, operation *op, unsigned round, const char *what)
{
        CLEANUP_FD int dir = side_dir(b, s);

        for (unsigned i = round * FILES; i < (round + 1) * FILES; i++)
                if (op(dir, i)) {
                        fprintf(stderr, "%s: %s %u on %s: %s\n", b->options->program, what, i, s->label, strerror(errno));
                        return errno ? -errno : -EIO;
                }
        return 0;
}

/* A workload of one operation. */
#define WORKLOAD(op)                                                                                                                       \
        static int run_##op(struct bench *b, struct side *s, unsigned round, size_t *ops)                                                  \
        {                                                                                                                                  \
                *ops = FILES;                                                                                                              \
                return repeat(b, s, op_##op, round, #op);                                                                                  \
        }
WORKLOAD(stat)
WORKLOAD(open)
WORKLOAD(read)
WORKLOAD(chmod)
WORKLOAD(append)
WORKLOAD(create)
WORKLOAD(rename)
WORKLOAD(unlink)
WORKLOAD(mkdir)

static int make_named(struct bench *b, struct side *s, unsigned round)
{
        return repeat(b, s, op_make_named, round, "mknod");
}

enum {
        UNLINK_ROUNDS = 15,
};

/* All that will be deleted is there before the first deletion. */
static int make_doomed(struct bench *b, struct side *s, unsigned round)
{
        int err = 0;

        for (unsigned i = 0; !err && round == 0 && i < UNLINK_ROUNDS; i++)
                err = repeat(b, s, op_make_doomed, i, "mknod");
        return err;
}

static const struct workload workloads[] = {
        {"stat", 0, 1, 5, 41, true, false, NULL, run_stat, NULL},
        {"open", 0, 1, 5, 41, true, false, NULL, run_open, NULL},
        {"read", 0, 1, 5, 41, true, false, NULL, run_read, NULL},
        {"chmod", 0, 1, 5, 41, true, true, NULL, run_chmod, NULL},
        {"append", 0, 1, 5, 41, true, true, NULL, run_append, NULL},
        {"create", 0, 1, 5, 21, false, true, NULL, run_create, NULL},
        {"rename", 0, 1, 5, 21, false, true, make_named, run_rename, NULL},
        {"mkdir", 0, 1, 5, 21, false, true, NULL, run_mkdir, NULL},
        {"unlink", 0, 1, 5, UNLINK_ROUNDS, false, true, make_doomed, run_unlink, NULL},
};

static int make_files(struct bench *b, const char *source)
{
        char path[PATH_ROOM], name[32];

        for (int side = 0; side < 2; side++) {
                CLEANUP_FD int dir = -1;

                snprintf(path, sizeof path, "%s/%d", source, side);
                if (mkdir(path, 0755) || (dir = open(path, O_PATH | O_CLOEXEC)) < 0)
                        return -errno;
                for (unsigned i = 0; i < FILES; i++) {
                        CLEANUP_FD int fd = openat(dir, numbered(name, 'f', i), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

                        if (fd < 0 || fd_write_full(fd, path, sizeof path / 2))
                                return -EIO;
                }
        }
        place_sync(b->place);
        return 0;
}

static bool compare_all(struct bench *b, json_t *entries)
{
        unsigned long long begin = clock_now_ns();
        bool failed = false;

        report_header();
        for (size_t i = 0; i < ARRAY_LEN(workloads); i++) {
                double left = b->options->budget_s - (double)(clock_now_ns() - begin) / 1e9;
                struct result r;

                if (!options_wants(b->options, workloads[i].name))
                        continue;
                round_compare(b, &workloads[i], left / (double)(ARRAY_LEN(workloads) - i), &r);
                report_line(b->options, &r);
                failed |= r.failed;
                json_array_append_new(entries, report_entry(b->options, &r));
                json_decref(r.requests);
        }
        return !failed;
}

static int job(const struct options *o, const struct place *place)
{
        struct bench b = {.options = o, .place = place};
        json_t *entries = json_array(), *status, *machine;
        unsigned long long begin = clock_now_ns();
        CLEANUP_FREE char *source = NULL;
        double seconds;
        bool ok;

        if (asprintf(&source, "%s/source", place->disk) < 0 || mkdir(source, 0755) || make_files(&b, source)) {
                fprintf(stderr, "%s: cannot make files below %s\n", o->program, place->disk);
                return 1;
        }
        if (side_init(&b.sides[0], o, place->top, "bind", "the bind mount", false) ||
            side_init(&b.sides[1], o, place->top, "dsfs", o->self ? "the other bind mount" : "dsfs", !o->self) ||
            side_open(&b.sides[0], source) || side_open(&b.sides[1], source) || side_prewarm(&b.sides[1], begin, &seconds))
                return 1;
        status = side_status(&b.sides[1]);
        machine = report_machine(o, place, json_string_value(json_object_get(status, "transport")));
        json_decref(status);
        report_conditions(o, machine, place);
        printf("a round is %d operations: a millisecond is a microsecond for each\n", FILES);
        ok = compare_all(&b, entries);
        side_close(&b.sides[0]);
        side_close(&b.sides[1]);
        return !report_write(o, machine, entries) || !ok;
}

int main(int argc, char **argv)
{
        struct options o = {
                .program = "bench-micro",
                .summary = "what single operations cost, through dsfs and through a bind mount",
                .json = "build/bench-micro.json",
                .budget_s = 40,
        };

        options_parse(&o, argc, argv);
        return place_run(&o, job);
}
