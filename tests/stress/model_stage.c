#include "tests/stress/model_stage.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/lib/oracle.h"
#include "tests/stress/model_side.h"

#define PATIENCE_MS 120000

/* What an actor is told. */
struct order {
        enum {
                DO,
                BEGIN,              /* in the directories of this attempt */
                SETTLE_AFTER_MOUNT, /* somebody removed something */
                SETTLE_AFTER_SOURCE,
        } what;
        bool dirs_only; /* of SETTLE */
        unsigned attempt;
        struct op op;
};

struct reply {
        struct answer have, want;
};

struct actor {
        struct stage *stage;
        unsigned id;
        int ends[2]; /* ours, the actor's */
        pid_t pid;
};

struct stage {
        const struct model_options *o;
        struct fixture *f;
        struct actor actors[OP_ACTORS];
        bool inotify;
        bool crowd;
        unsigned attempt;
        struct op_scene scene; /* what the next operation is drawn from */
        /* An actor's mount may not have been told everything yet. */
        bool behind[OP_ACTORS];
};

/*
 * Actors
 */

static void begin(struct actor *a, struct side *side, struct side *model, unsigned attempt)
{
        struct fixture *f = a->stage->f;
        const char *root = model_view(f, a->stage->o, a->id);

        side_release(side);
        side_release(model);
        snprintf(side->root, sizeof(side->root), "%s/r%u", root, attempt);
        snprintf(model->root, sizeof(model->root), "%s/r%u", f->plain, attempt);
        snprintf(side->crowd, sizeof(side->crowd), "%s/crowd", root);
        snprintf(model->crowd, sizeof(model->crowd), "%s/crowd", f->plain);
}

/* Files with one name are renamed whatever the rules say. */
static bool is_plain(const struct stat *st)
{
        return (S_ISREG(st->st_mode) || S_ISLNK(st->st_mode)) && st->st_nlink == 1;
}

/* With rules, some directories can't be renamed and some things not exchanged, nor moved by copying: nothing happens then. */
static bool is_left_alone(const struct model_options *o, const struct side *model, const struct op *op, const struct answer *have)
{
        bool passed = strcmp(o->profile, "data") == 0 || (o->second && strcmp(o->second, "data") == 0);
        struct stat st;

        /* What is open and passed through can't be copied either. */
        return o->rules && op_kind(op)->act == act_rename && strncmp(have->text, " rename=EXDEV", 13) == 0 &&
               ((op->flags & RENAME_EXCHANGE) || (o->apart && passed) || (lstat(side_path(model, op->path), &st) == 0 && !is_plain(&st)));
}

static int actor_run(void *arg)
{
        struct actor *a = arg;
        struct side side, model;
        struct order order;
        /* With inotify what is done to a file without a name is told to nobody, and the only mount needs not be told what it does itself.
         */
        bool mute = a->stage->inotify && !a->stage->o->rules && (a->id % 2 == 0 || a->stage->o->second);

        close(a->ends[0]);
        umask(0);
        side_init(&side, a->id % 2 || a->stage->o->rules, mute);
        side_init(&model, a->id % 2 || a->stage->o->rules, mute);
        side.vague = model.vague = a->stage->o->rules;
        side.overheard = (a->id % 2 == 0 && !a->stage->o->rules) || a->stage->o->second;
        while (recv(a->ends[1], &order, sizeof(order), 0) == sizeof(order)) {
                static struct reply reply;

                memset(&reply, 0, sizeof(reply));
                if (order.what == BEGIN) {
                        begin(a, &side, &model, order.attempt);
                } else if (order.what == DO) {
                        side_act(&side, &order.op, &reply.have);
                        if (is_left_alone(a->stage->o, &model, &order.op, &reply.have))
                                reply.want = reply.have;
                        else
                                side_act(&model, &order.op, &reply.want);
                } else {
                        side_settle(&side, &model, order.what == SETTLE_AFTER_MOUNT, order.dirs_only);
                }
                if (send(a->ends[1], &reply, sizeof(reply), MSG_NOSIGNAL) != sizeof(reply))
                        break;
        }
        side_release(&side);
        side_release(&model);
        return 0;
}

/* False: it died, or doesn't answer. */
static bool actor_ask(struct actor *a, const struct order *order, struct reply *ret)
{
        struct pollfd p = {.fd = a->ends[0], .events = POLLIN};

        return send(a->ends[0], order, sizeof(*order), MSG_NOSIGNAL) == sizeof(*order) && poll(&p, 1, PATIENCE_MS) == 1 &&
               recv(a->ends[0], ret, sizeof(*ret), 0) == sizeof(*ret);
}

static void start_actors(struct stage *s)
{
        for (unsigned i = 0; i < OP_ACTORS; i++) {
                struct actor *a = &s->actors[i];

                *a = (struct actor){.stage = s, .id = i};
                must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, a->ends) == 0, "socketpair");
                a->pid = child_start(NULL, actor_run, a);
                close(a->ends[1]);
        }
}

/*
 * A stage
 */

struct stage *stage_new(const struct model_options *o)
{
        struct stage *s = calloc(1, sizeof(*s));

        must(s, "memory");
        s->o = o;
        s->inotify = o->watch == WATCH_BY_INOTIFY;
        s->crowd = o->nofile;
        s->f = model_fixture(o);
        if (s->crowd)
                model_crowd(s->f);
        model_mount(s->f, o);
        start_actors(s);
        return s;
}

void stage_free(struct stage *s)
{
        if (!s)
                return;
        for (unsigned i = 0; i < OP_ACTORS; i++)
                close(s->actors[i].ends[0]);
        for (unsigned i = 0; i < OP_ACTORS; i++)
                (void)child_wait(s->actors[i].pid);
        fixture_free(s->f);
        free(s);
}

struct fixture *stage_fixture(struct stage *s)
{
        return s->f;
}

bool stage_alive(struct stage *s)
{
        struct order order = {.what = BEGIN, .attempt = s->attempt};
        struct reply reply;
        struct stat st;

        for (unsigned i = 0; i < OP_ACTORS; i++)
                if (!actor_ask(&s->actors[i], &order, &reply))
                        return false;
        return stat(s->f->mnt, &st) == 0;
}

/*
 * Playing
 */

/* Do both see the source by the same mount, or as itself? */
static bool same_view(const struct stage *s, unsigned a, unsigned b)
{
        return strcmp(model_view(s->f, s->o, a), model_view(s->f, s->o, b)) == 0;
}

static unsigned first_in_mount(const struct stage *s)
{
        return s->o->rules ? 0 : 1;
}

/* After what `actor` did; the source has it already. */
static void fall_behind(struct stage *s, unsigned actor)
{
        for (unsigned i = first_in_mount(s); i < OP_ACTORS; i += s->o->rules ? 1 : 2)
                if (!same_view(s, i, actor))
                        s->behind[i] = true;
}

static bool stage_begin(struct stage *s, char *report)
{
        struct order order = {.what = BEGIN, .attempt = ++s->attempt};
        struct reply reply;

        must(mkdir(at(s->f->src, "r%u", s->attempt), 0755) == 0, "mkdir");
        must(mkdir(at(s->f->plain, "r%u", s->attempt), 0755) == 0, "mkdir");
        fall_behind(s, 0);
        for (unsigned i = 0; i < OP_ACTORS; i++)
                if (!actor_ask(&s->actors[i], &order, &reply)) {
                        snprintf(report, REPORT_MAX, "actor %u is dead", i);
                        return false;
                }
        return true;
}

/* What is there goes away; what is taken away through the mount is gone from the source. */
static bool stage_end(struct stage *s, char *report)
{
        struct order order = {.what = BEGIN, .attempt = s->attempt};
        struct reply reply;
        unsigned by = s->attempt % OP_ACTORS;
        struct stat st;

        for (unsigned i = 0; i < OP_ACTORS; i++)
                if (!actor_ask(&s->actors[i], &order, &reply))
                        return false;
        remove_tree(at(s->f->plain, "r%u", s->attempt));
        remove_tree(at(model_view(s->f, s->o, by), "r%u", s->attempt));
        model_wait(s->f);
        for (unsigned i = 0; i < OP_ACTORS; i++) {
                if (lstat(at(model_view(s->f, s->o, i), "r%u", s->attempt), &st) < 0)
                        continue;
                snprintf(report, REPORT_MAX, "a directory that was removed where actor %u is is still there for actor %u", by, i);
                return false;
        }
        return true;
}

static struct trace *describe(const char *root, unsigned attempt, enum tree_what what)
{
        struct trace *t = trace_new();

        tree_describe(t, at(root, "r%u", attempt), what);
        return t;
}

/* False, and what differs. */
static bool same_tree(struct stage *s, const char *want_root, const char *have_root, enum tree_what what, const char *claim, char *report)
{
        struct trace *want = describe(want_root, s->attempt, what), *have = describe(have_root, s->attempt, what);
        char text[REPORT_MAX / 2];
        bool differs = trace_difference(want, have, text, sizeof(text));

        if (differs)
                snprintf(report, REPORT_MAX, "%s:%s", claim, text);
        trace_free(want);
        trace_free(have);
        return !differs;
}

static bool compare(struct stage *s, char *report)
{
        if (s->o->rules)
                return same_tree(s, s->f->plain, s->f->mnt, TREE_CONTENT, "the mount is not the model", report) &&
                       (!s->o->second ||
                        same_tree(s, s->f->plain, model_view(s->f, s->o, 3), TREE_CONTENT, "the second mount is not the model", report));
        return same_tree(s, s->f->src, s->f->mnt, TREE_INODES, "the mount is not its source", report) &&
               (!s->o->second ||
                same_tree(s, s->f->src, model_view(s->f, s->o, 3), TREE_INODES, "the second mount is not its source", report)) &&
               same_tree(s, s->f->plain, s->f->src, TREE_CONTENT, "the source is not the model", report);
}

/* Reading a directory fails, by where its end is in another way: with rules positions are our own. */
static bool is_read_of_directory(const struct reply *r)
{
        return strncmp(r->want.text, " n=EINVAL", 9) == 0 && strncmp(r->have.text, " n=EISDIR", 9) == 0;
}

/* Who has a file open for writing makes it busy, in the model and where he is. Passed through, all who have a file open share one backing
 * file, which may be open for writing. */
static bool is_same(const struct stage *s, const struct op *op, const struct reply *r)
{
        if (strcmp(r->have.text, r->want.text) == 0)
                return true;
        if (s->o->rules && is_read_of_directory(r))
                return true;
        if (op_kind(op)->act != act_exec)
                return false;
        return strstr(r->want.text, ANSWER_BUSY) || (s->f->variant.profile == PROFILE_DATA && strstr(r->have.text, ANSWER_BUSY));
}

/* A failure shows with the next operation. */
static void settle(struct stage *s, const struct op *op)
{
        struct reply reply;

        if (!(op_kind(op)->fields & OP_REMOVES))
                return;
        for (unsigned i = first_in_mount(s); i < OP_ACTORS; i += s->o->rules ? 1 : 2) {
                struct order order = {.what = same_view(s, i, op->actor) ? SETTLE_AFTER_MOUNT : SETTLE_AFTER_SOURCE};

                /* With passthrough, which files are open is known. */
                order.dirs_only = s->f->variant.profile == PROFILE_DATA && !s->o->second;
                (void)actor_ask(&s->actors[i], &order, &reply);
        }
}

static void mark(uint8_t *masks, const struct op *op, bool on)
{
        uint8_t bit = (uint8_t)(1u << op->h);

        masks[op->actor] = on ? masks[op->actor] | bit : masks[op->actor] & (uint8_t)~bit;
}

/* Who has what in his hands now? */
static void note(struct stage *s, const struct op *op, const struct answer *want)
{
        const struct op_kind *k = op_kind(op);

        if (k->act == act_open)
                mark(s->scene.open, op, strncmp(want->text, " open=0", 7) == 0);
        else if (k->act == act_tmpfile)
                mark(s->scene.open, op, strncmp(want->text, " tmpfile=0", 10) == 0);
        else if (k->act == act_close)
                mark(s->scene.open, op, false);
        else if (k->act == act_map)
                mark(s->scene.mapped, op, strstr(want->text, " mmap=0"));
        else if (k->act == act_unmap)
                mark(s->scene.mapped, op, false);
}

/* Do one operation. False and *report if it went wrong. */
static bool stage_do(struct stage *s, const struct op *op, char *report)
{
        struct order order = {.op = *op};
        struct reply reply;
        char line[256];

        if (s->behind[op->actor] || (op_kind(op)->fields & OP_AFTER_ALL)) {
                model_wait(s->f);
                memset(s->behind, 0, sizeof(s->behind));
        }
        if (op_kind(op)->act == act_compare)
                return compare(s, report);
        op_print(op, line, sizeof(line));
        if (!actor_ask(&s->actors[op->actor], &order, &reply)) {
                snprintf(report, REPORT_MAX, "%s: its actor died, or waits for ever", line);
                return false;
        }
        fall_behind(s, op->actor);
        if (reply.have.doubt)
                memset(s->behind, true, sizeof(s->behind));
        note(s, op, &reply.want);
        settle(s, op);
        if (is_same(s, op, &reply))
                return true;
        snprintf(report, REPORT_MAX, "%s\n  want:%s\n  have:%s", line, reply.want.text, reply.have.text);
        return false;
}

/* At the end every open file and all names. */
static bool stage_look_back(struct stage *s, char *report)
{
        struct op op = {.kind = op_named("hands")};

        for (op.actor = 0; op.actor < OP_ACTORS; op.actor++)
                if (!stage_do(s, &op, report))
                        return false;
        op = (struct op){.kind = op_named("compare")};
        return stage_do(s, &op, report);
}

bool stage_play(struct stage *s, const struct ops *ops, size_t *nth, char *report)
{
        *nth = 0;
        if (!stage_begin(s, report))
                return false;
        for (; *nth < ops->count; ++*nth)
                if (!stage_do(s, &ops->at[*nth], report))
                        return false;
        return stage_look_back(s, report) && stage_end(s, report);
}

bool stage_play_new(struct stage *s, unsigned long long seed, unsigned count, struct ops *ops, char *report)
{
        struct dice dice = {seed};
        char root[160];

        if (!stage_begin(s, report))
                return false;
        snprintf(root, sizeof(root), "%s/r%u", s->f->plain, s->attempt);
        s->scene = (struct op_scene){.root = root, .links = !s->inotify && !s->o->rules, .crowd = s->crowd, .mounts = s->o->rules};
        for (unsigned i = 0; i < count; i++) {
                struct op op;

                op_draw(&dice, &s->scene, i, &op);
                ops_add(ops, &op);
                if (!stage_do(s, &op, report))
                        return false;
        }
        return stage_look_back(s, report) && stage_end(s, report);
}

void ops_add(struct ops *s, const struct op *op)
{
        if (s->count % 256 == 0)
                s->at = realloc(s->at, (s->count + 256) * sizeof(*s->at));
        must(s->at, "memory");
        s->at[s->count++] = *op;
}

void ops_release(struct ops *s)
{
        free(s->at);
        *s = (struct ops){0};
}
