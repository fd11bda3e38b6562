/*
 * The model stress, one operation at a time: playing sequences, and making those that fail short.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cache/base/thread.h"
#include "tests/stress/model_stage.h"

#define NS_PER_S 1000000000ULL
#define AGAIN 5 /* tries of a sequence that doesn't fail each time */
#define SHOWN 60

static void show(const struct ops *ops, size_t from)
{
        char line[256];

        for (size_t i = from; i < ops->count; i++) {
                op_print(&ops->at[i], line, sizeof(line));
                printf("%s\n", line);
        }
        fflush(stdout);
}

struct shrinking {
        struct stage **stage;
        const struct model_options *o;
        unsigned long long deadline;
        unsigned tries; /* per sequence */
        unsigned played;
        char *report;
};

/* Does it still fail? What it says is kept if so. */
static bool fails(struct shrinking *k, const struct ops *ops)
{
        static char report[REPORT_MAX];
        size_t nth;

        for (unsigned i = 0; i < k->tries && clock_now_ns() < k->deadline; i++) {
                bool ok;

                if (!stage_alive(*k->stage)) {
                        stage_free(*k->stage);
                        *k->stage = stage_new(k->o);
                }
                *report = '\0';
                k->played++;
                ok = stage_play(*k->stage, ops, &nth, report);
                if (!ok) {
                        strcpy(k->report, report);
                        return true;
                }
        }
        return false;
}

/* Without `count` operations from `from` on, if that fails as well. */
static bool cut(struct shrinking *k, struct ops *ops, size_t from, size_t count)
{
        struct ops less = {0};
        bool shorter;

        for (size_t i = 0; i < ops->count; i++)
                if (i < from || i >= from + count)
                        ops_add(&less, &ops->at[i]);
        shorter = fails(k, &less);
        if (shorter) {
                ops_release(ops);
                *ops = less;
        } else {
                ops_release(&less);
        }
        return shorter;
}

/* One change of an operation, if it fails as well. */
static bool change(struct shrinking *k, struct ops *ops, size_t i, struct op simpler)
{
        struct op was = ops->at[i];

        if (memcmp(&was, &simpler, sizeof(was)) == 0)
                return false;
        ops->at[i] = simpler;
        if (fails(k, ops))
                return true;
        ops->at[i] = was;
        return false;
}

static void simplify(struct shrinking *k, struct ops *ops)
{
        for (size_t i = 0; i < ops->count; i++) {
                struct op op = ops->at[i];

                op.look = false;
                (void)change(k, ops, i, op);
                op = ops->at[i];
                op.actor %= 2;
                (void)change(k, ops, i, op);
        }
}

bool model_shrink(struct stage **s, const struct model_options *o, struct ops *ops, char *report)
{
        struct shrinking k = {.stage = s, .o = o, .deadline = clock_now_ns() + o->shrink_s * NS_PER_S, .tries = AGAIN, .report = report};
        bool again = fails(&k, ops);

        if (!again)
                return false;
        /* Once is enough for what fails each time. */
        k.tries = fails(&k, ops) && k.played == 2 ? 1 : AGAIN;
        for (size_t size = (ops->count + 1) / 2; size > 0 && clock_now_ns() < k.deadline;) {
                bool shorter = false;

                for (size_t from = 0; from < ops->count && ops->count > 1;) {
                        if (cut(&k, ops, from, size))
                                shorter = true;
                        else
                                from += size;
                }
                if (!shorter || size > ops->count)
                        size /= 2;
        }
        simplify(&k, ops);
        printf("shrunk by %u plays\n", k.played);
        return true;
}

static void report_failure(struct stage **s, const struct model_options *o, struct ops *ops, const char *first)
{
        static char report[REPORT_MAX];
        size_t full = ops->count;

        printf("FAILED after %zu operations: %s\n", full, first);
        fflush(stdout);
        if (model_shrink(s, o, ops, report)) {
                printf("the shortest that still fails, %zu operations (model --replay takes them): %s\n", ops->count, report);
                show(ops, 0);
        } else {
                printf("it did not fail again; the last operations were:\n");
                show(ops, full > SHOWN ? full - SHOWN : 0);
        }
}

static bool read_ops(const char *path, struct ops *ret)
{
        CLEANUP_FREE char *line = NULL;
        FILE *in = fopen(path, "re");
        size_t cap = 0;
        unsigned nth = 0;

        must(in, "%s", path);
        while (getline(&line, &cap, in) > 0) {
                struct op op;

                nth++;
                if (line[strspn(line, " \t\n")] == '\0' || *line == '#')
                        continue;
                if (!op_parse(line, &op)) {
                        fprintf(stderr, "%s:%u: not an operation: %s", path, nth, line);
                        fclose(in);
                        return false;
                }
                ops_add(ret, &op);
        }
        fclose(in);
        return true;
}

static unsigned replay(const struct model_options *o)
{
        static char report[REPORT_MAX];
        struct ops ops = {0};
        struct stage *s;
        size_t nth;
        bool ok = false;

        if (!read_ops(o->replay, &ops))
                return 1;
        s = stage_new(o);
        for (unsigned i = 0; i < o->rounds; i++) {
                ok = stage_play(s, &ops, &nth, report);
                if (!ok)
                        break;
        }
        if (ok)
                printf("replayed %zu operations %u times: as the model has it\n", ops.count, o->rounds);
        else if (o->shrink_s)
                report_failure(&s, o, &ops, report);
        else
                printf("FAILED at operation %zu: %s\n", nth, report);
        stage_free(s);
        ops_release(&ops);
        return !ok;
}

unsigned model_exact(const struct model_options *o)
{
        static char report[REPORT_MAX];
        unsigned long long start = clock_now_ns(), total = 0;
        struct stage *s;
        struct ops ops = {0};
        unsigned round;
        bool ok = true;

        if (o->replay)
                return replay(o);
        s = stage_new(o);
        for (round = 0; ok && (o->seconds ? clock_now_ns() - start < o->seconds * NS_PER_S : round < o->rounds); round++) {
                ops_release(&ops);
                ok = stage_play_new(s, o->seed + round, o->ops, &ops, report);
                total += ops.count;
        }
        printf("exact: %u sequences, %llu operations, %llu ms\n", round, total, (clock_now_ns() - start) / 1000000);
        if (!ok) {
                printf("the sequence has --seed %llu --ops %u\n", o->seed + round - 1, o->ops);
                report_failure(&s, o, &ops, report);
        }
        fflush(stdout);
        ops_release(&ops);
        stage_free(s);
        return !ok;
}
