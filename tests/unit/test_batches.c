/*
 * What the journal says of edits and of git at work on a watched directory, mounted nowhere: which changes, in which order, in how many
 * batches, and what they say git did.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "sync/engine.h"
#include "sync/hashing.h"
#include "sync/journal.h"
#include "tests/lib/area.h"
#include "tests/lib/git_env.h"
#include "tests/lib/mount.h"

#define SECONDS 60
#define TEXT_MAX 4096
#define STORM_FILES 3000

struct place {
        enum watch_backend backend;
        char base[64], src[96], memory[96];
        struct hashing *hashing;
        struct journal *journal;
        struct engine *engine;
        uint64_t seq; /* read up to here */
        unsigned ends;
};

/* A batch as a text: "+new *modified -gone ~touched", directories with a slash behind, symlinks with an @, programs with a !; then, if git
 * did something, "| operation was is". */
struct batch {
        char text[TEXT_MAX];
        size_t len, changes;
        bool settled;
        unsigned origins; /* 1 << enum change_origin */
        struct content root;
        uint64_t number;
};

static void failed(const char *message)
{
        cr_assert_fail("%s", message);
}

static void begin(struct place *p)
{
        char *why = NULL;

        must(journal_new(0, &p->journal) == 0, "journal_new");
        must(hashing_new(p->src, p->memory, &p->hashing) == 0, "hashing_new");
        hashing_tell(p->hashing, p->journal);
        must(engine_new(p->src, ENGINE_COHERENCE_EVENTS, p->backend, p->hashing, &p->engine, &why) == 0, "engine_new: %s", why ? why : "");
        must(hashing_wait(p->hashing, SECONDS * 1000) == 0, "hashing_wait");
        p->seq = 0;
}

static void end(struct place *p)
{
        engine_shutdown(p->engine);
        hashing_shutdown(p->hashing);
        engine_free(p->engine);
        hashing_free(p->hashing);
        journal_free(p->journal);
}

static void prepare(struct place *p, enum watch_backend backend)
{
        test_on_fail(failed);
        memset(p, 0, sizeof(*p));
        p->backend = backend;
        area_new_base(p->base, sizeof(p->base));
        snprintf(p->src, sizeof(p->src), "%s/src", p->base);
        snprintf(p->memory, sizeof(p->memory), "%s/memory", p->base);
        must(mkdir(p->src, 0755) == 0, "mkdir");
}

static void finish(struct place *p)
{
        end(p);
        remove_tree(p->base);
}

static void sh(struct place *p, const char *command)
{
        CLEANUP_FREE char *line = NULL;
        int rc;

        must(asprintf(&line, "cd '%s' && exec >/dev/null 2>&1 && %s", p->src, command) > 0, "memory");
        rc = child_exec((const char *const[]){"sh", "-euc", line, NULL}, git_env, NULL, NULL, 0);
        errno = 0;
        must(rc == 0, "%s: %d", command, rc);
}

/*
 * Reading the journal
 */

static void put(struct batch *b, const char *text)
{
        int n = snprintf(b->text + b->len, sizeof(b->text) - b->len, "%s%s", b->len ? " " : "", text);

        if (n > 0 && b->len + (size_t)n < sizeof(b->text))
                b->len += (size_t)n;
}

static void take(void *arg, const struct journal_record *r)
{
        static const char marks[] = {[CHANGE_CREATED] = '+', [CHANGE_MODIFIED] = '*', [CHANGE_DELETED] = '-', [CHANGE_TOUCHED] = '~'};
        struct batch *b = arg;
        char one[512];

        b->number = r->batch;
        if (r->is_settled) {
                const struct settled *s = &r->settled;

                b->settled = true;
                b->root = s->root;
                b->changes = s->changes;
                snprintf(one, sizeof(one), "| %s%s%s%s%s", s->operation ? s->operation : "", s->head_was ? " " : "",
                         s->head_was ? s->head_was : "", s->head_is ? " " : "", s->head_is ? s->head_is : "");
                if (s->operation)
                        put(b, one);
                return;
        }
        b->origins |= 1U << r->change.origin;
        snprintf(one, sizeof(one), "%c%s%s", marks[r->change.kind], r->change.path,
                 r->change.type == CONTENT_DIRECTORY ? "/"
                 : r->change.type == CONTENT_SYMLINK ? "@"
                 : r->change.type == CONTENT_PROGRAM ? "!"
                                                     : "");
        put(b, one);
}

struct reading {
        struct place *place;
        struct batch *batch;
        int rc;
};

static bool read_on(void *arg)
{
        struct reading *r = arg;

        while (!r->batch->settled && (r->rc = journal_next(r->place->journal, r->place->seq, take, r->batch)) == 0)
                r->place->seq++;
        return r->batch->settled || r->rc == -ESTALE;
}

static struct batch next_batch(struct place *p)
{
        struct batch b = {0};
        struct reading r = {p, &b, 0};
        bool came = wait_until(read_on, &r, SECONDS);

        errno = -r.rc;
        must(came && b.settled, "no batch has settled: %s", b.text);
        return b;
}

/* The batch that comes of a command; must() be the only one. */
static struct batch do_sh(struct place *p, const char *command)
{
        CLEANUP_FREE char *name = NULL;
        struct batch b, last;

        sh(p, command);
        b = next_batch(p);
        must(asprintf(&name, "+end-%u", p->ends++) > 0, "memory");
        put_text(at(p->src, "%s", name + 1), "");
        last = next_batch(p);
        errno = 0;
        must(strcmp(last.text, name) == 0, "%s: after \"%s\" there is \"%s\", not only \"%s\"", command, b.text, last.text, name);
        return b;
}

static struct batch check(struct place *p, const char *command, struct batch b, const char *text)
{
        unsigned origin = 1U << (p->backend == WATCH_FANOTIFY ? ORIGIN_HOST : ORIGIN_UNKNOWN);
        struct content root;

        errno = 0;
        must(strcmp(b.text, text) == 0, "%s: \"%s\", not \"%s\"", command, b.text, text);
        must(b.origins == origin || !b.origins, "%s: origins %x, not %x", command, b.origins, origin);
        must(unlink(at(p->src, "end-%u", p->ends - 1)) == 0, "unlink");
        (void)next_batch(p);
        must(content_of_tree(p->src, &root) == 0, "content_of_tree");
        must(content_equal(&root, &b.root), "%s: the batch's root hash is another", command);
        return b;
}

static struct batch expect(struct place *p, const char *command, const char *text)
{
        return check(p, command, do_sh(p, command), text);
}

/* Where HEAD is. */
static char *head(struct place *p)
{
        CLEANUP_FREE char *line = NULL;
        char text[64];

        must(asprintf(&line, "cd '%s' && git rev-parse HEAD", p->src) > 0, "memory");
        must(child_exec((const char *const[]){"sh", "-euc", line, NULL}, git_env, NULL, text, sizeof(text)) == 0, "git rev-parse");
        text[strcspn(text, "\n")] = '\0';
        return keep(text);
}

/* The same, when git moves HEAD from one commit to another; `change` may be "". */
static struct batch expect_move(struct place *p, const char *command, const char *change, const char *operation)
{
        const char *was = head(p);
        struct batch b = do_sh(p, command);
        char text[TEXT_MAX];

        snprintf(text, sizeof(text), "%s%s| %s %s %s", change, *change ? " " : "", operation, was, head(p));
        return check(p, command, b, text);
}

#define BATCH_TEST(name)                                                                                                                   \
        static void name##_body(struct place *p);                                                                                          \
        ParameterizedTestParameters(batches, name)                                                                                         \
        {                                                                                                                                  \
                static enum watch_backend backends[] = {WATCH_FANOTIFY, WATCH_INOTIFY};                                                    \
                                                                                                                                           \
                return cr_make_param_array(enum watch_backend, backends, 2);                                                               \
        }                                                                                                                                  \
        ParameterizedTest(enum watch_backend *backend, batches, name, .timeout = 2 * SECONDS)                                              \
        {                                                                                                                                  \
                static struct place p;                                                                                                     \
                                                                                                                                           \
                prepare(&p, *backend);                                                                                                     \
                name##_body(&p);                                                                                                           \
                finish(&p);                                                                                                                \
        }                                                                                                                                  \
        static void name##_body(struct place *p)

/*
 * Edits
 */

/* Several steps, which nobody looks in between of, however loaded the machine: as if git were at it. */
#define HELD(steps) ": > .git/index.lock; " steps "; rm .git/index.lock"

BATCH_TEST(each_edit_is_one)
{
        struct batch b;

        sh(p, "mkdir -p d/e .git; echo 1 > a; echo 1 > d/e/f; echo 1 > prog; ln -s a link");
        begin(p);
        expect(p, "echo 2 > a", "*a");
        expect(p, "echo 3 >> a", "*a");
        expect(p, "echo new > b", "+b");
        expect(p, "rm b", "-b");
        expect(p, "touch a", "~a");
        b = expect(p, "chmod 600 a", "~a");
        cr_assert_eq(b.changes, 0, "a touch is no change");
        expect(p, "chmod +x prog", "*prog!");
        expect(p, HELD("echo 4 > .a.swp; mv .a.swp a"), "*a");
        expect(p, HELD("sed -i s/4/5/ a"), "*a");
        expect(p, HELD("mkdir -p x/y/z; echo 1 > x/y/z/f"), "+x/ +x/y/ +x/y/z/ +x/y/z/f");
        expect(p, "mv x w", "+w/ +w/y/ +w/y/z/ +w/y/z/f -x/");
        expect(p, HELD("rm -rf w"), "-w/");
        expect(p, HELD("ln -sf d link"), "*link@");
        expect(p, HELD("rm link; mkdir link; echo 1 > link/f"), "-link@ +link/ +link/f");
        expect(p, HELD("rm -r link; echo 1 > link"), "-link/ +link");
        expect(p, "mv d/e/f d/e/g", "-d/e/f +d/e/g");
        expect(p, "mv d/e ../out", "-d/e/");
        expect(p, "mv ../out d/e", "+d/e/ +d/e/g");
        expect(p, HELD("ln a a2; echo 6 >> a2"), "*a +a2");
        expect(p, HELD("rm d/e/g; mkfifo fifo; echo x > .git/x"), "-d/e/g");
}

BATCH_TEST(one_after_the_other_are_two)
{
        begin(p);
        for (int i = 0; i < 5; i++) {
                char command[64], text[16];

                snprintf(command, sizeof(command), "echo %d > f%d", i, i);
                snprintf(text, sizeof(text), "+f%d", i);
                must(expect(p, command, text).number > 0, "it has a number");
        }
}

/* More at once than is kept apart: it is one batch nevertheless, and one side alone was at it. */
BATCH_TEST(a_storm_is_one)
{
        struct batch b;

        sh(p, "mkdir .git");
        begin(p);
        sh(p, HELD("mkdir d; i=0; while [ $i -lt 3000 ]; do echo $i > d/$i; i=$((i+1)); done"));
        b = next_batch(p);
        cr_assert_eq(b.changes, STORM_FILES + 1);
        cr_assert_eq(b.origins, 1U << (p->backend == WATCH_FANOTIFY ? ORIGIN_HOST : ORIGIN_UNKNOWN));
        sh(p, HELD("rm -r d"));
        b = next_batch(p);
        /* Something in it may have been found gone before all of it was. */
        cr_assert(b.len >= 3 && strcmp(b.text + b.len - 3, "-d/") == 0, "%s", b.text);
}

/*
 * git
 */

#define TWO_BRANCHES                                                                                                                       \
        "git init -q -b one . && mkdir d && echo 1 > a && echo 1 > d/f && git add -A && git commit -qm 1 && git checkout -qb two && "      \
        "echo 2 > a && git rm -q d/f && mkdir x && echo 2 > x/y && git add -A && git commit -qm 2"

BATCH_TEST(git_says_what_it_did)
{
        sh(p, TWO_BRANCHES);
        begin(p);
        expect(p, "git checkout -q one", "*a +d/ +d/f -x/ | checkout two one");
        expect(p, "git checkout -q -", "*a -d/ +x/ +x/y | checkout one two");
        expect(p, "git switch -q --detach one", "*a +d/ +d/f -x/ | checkout two one");
        expect(p, "git switch -q one", at("", "| checkout %s one", head(p)) + 1);
        expect(p, "git switch -q two", "*a -d/ +x/ +x/y | checkout one two");
        expect_move(p, "git reset -q --hard one", "*a +d/ +d/f -x/", "reset");
        expect_move(p, "git reset -q --hard two@{1}", "*a -d/ +x/ +x/y", "reset");
        expect(p, "echo 3 > a", "*a");
        expect_move(p, "git commit -qam 3", "", "commit");
        expect_move(p, "git commit -q --amend -m 4", "", "commit");
        expect(p, "echo 5 > a; git reset -q --hard", "~a | reset");
        expect(p, "echo 6 > a; echo 6 > x/y", "*a *x/y");
        expect(p, "git stash -q", "*a *x/y | stash");
        expect(p, "git stash pop -q", "*a *x/y | stash");
        expect(p, "git checkout -q .", "*a *x/y");
        expect(p, "git status; git branch three; git gc -q; echo 7 > a", "*a");
}

BATCH_TEST(git_puts_commits_together)
{
        sh(p, TWO_BRANCHES
           "&& git checkout -q one && echo 8 > z && git add z && git commit -qm z1 && echo 9 > z && git commit -qam z2 && git tag zs");
        begin(p);
        expect_move(p, "git merge -q two", "*a -d/ +x/ +x/y", "merge");
        expect_move(p, "git reset -q --hard HEAD^", "*a +d/ +d/f -x/", "reset");
        expect_move(p, "git rebase -q two", "*a -d/ +x/ +x/y ~z", "rebase");
        expect_move(p, "git reset -q --hard HEAD~2", "-z", "reset");
        expect_move(p, "git cherry-pick zs^ zs", "+z", "cherry-pick");
}

/* What a user has to mend, or an editor keeps waiting, holds up nobody else. */
BATCH_TEST(git_that_waits_for_its_user_holds_up_nothing)
{
        sh(p, TWO_BRANCHES "&& git checkout -q one && echo 3 > a && git commit -qam 3");
        begin(p);
        expect(p, "! git merge -q two", "*a -d/ +x/ +x/y");
        expect(p, "echo mine > a", "*a");
        expect_move(p, "git commit -qam merged", "", "commit");
        expect_move(p, "git reset -q --hard HEAD^", "*a +d/ +d/f -x/", "reset");
        expect_move(p, "! git rebase -q two", "*a -d/ +x/ +x/y", "rebase");
        expect(p, "echo mine > a", "*a");
        expect_move(p, "git add a; git rebase --continue", "", "rebase");
        /* A git that was killed. */
        sh(p, "touch .git/index.lock");
        expect(p, "echo 5 > a", "*a");
        expect(p, "echo 6 > a", "*a");
        sh(p, "rm .git/index.lock");
        expect(p, "git checkout -q .", "*a");
}

BATCH_TEST(git_in_a_worktree)
{
        sh(p, "git init -q -b one ../main && cd ../main && echo 1 > a && git add a && git commit -qm 1 && git branch two && echo 2 > a && "
              "git commit -qam 2 && git worktree add -q ../src/tree two");
        sh(p, "mv tree/a tree/.git .");
        sh(p, "git -C ../main worktree repair \"$PWD\"");
        begin(p);
        expect_move(p, "git merge -q one", "*a", "merge");
        expect(p, "echo 3 > a", "*a");
        expect(p, "git stash -q", "*a | stash");
}

static void rest(void)
{
        struct timespec step = {.tv_nsec = 20 * 1000 * 1000};

        nanosleep(&step, NULL);
}

/* A git of our own making: a lock, and changes slower than anybody would wait for. */
BATCH_TEST(is_one_as_long_as_git_works)
{
        struct batch b;

        sh(p, "mkdir .git; echo 1 > a");
        begin(p);
        put_text(at(p->src, ".git/index.lock"), "");
        for (int i = 0; i < 40; i++) {
                put_text(at(p->src, "f%02d", i), "x");
                rest();
        }
        /* Who asks has the hash and the changes, but the batch stays open. */
        must(engine_barrier(p->engine, SECONDS * 1000) == 0 && hashing_wait(p->hashing, SECONDS * 1000) == 0, "wait");
        for (int i = 40; i < 80; i++) {
                put_text(at(p->src, "f%02d", i), "x");
                rest();
        }
        must(unlink(at(p->src, ".git/index.lock")) == 0, "unlink");
        b = next_batch(p);
        cr_assert_eq(b.changes, 80, "%s", b.text);
}

BATCH_TEST(who_waits_for_the_hash_has_the_changes)
{
        begin(p);
        for (int i = 0; i < 20; i++) {
                struct batch b = {0};
                char text[16];

                snprintf(text, sizeof(text), "+f%d", i);
                put_text(at(p->src, "%s", text + 1), "");
                must(engine_barrier(p->engine, SECONDS * 1000) == 0 && hashing_wait(p->hashing, SECONDS * 1000) == 0, "wait");
                must(journal_next(p->journal, p->seq, take, &b) == 0, "the change is not there");
                cr_assert_str_eq(b.text, text);
                p->seq++;
                (void)next_batch(p);
        }
}

/*
 * The beginning
 */

BATCH_TEST(what_changed_while_nobody_looked_comes_first)
{
        struct batch b;

        sh(p, "echo 1 > a; echo 1 > b");
        begin(p);
        cr_assert_eq(journal_next(p->journal, 0, take, &b), -EAGAIN, "there was nothing to differ from");
        end(p);
        sh(p, "echo 2 > a; rm b; echo 1 > c");
        begin(p);
        b = next_batch(p);
        cr_assert_str_eq(b.text, "*a -b +c");
        cr_assert_eq(b.origins, 1U << ORIGIN_UNKNOWN);
        expect(p, "echo 3 > a", "*a");
}

/* Somebody may follow the journal before anything was hashed: what he missed, he is told of. */
BATCH_TEST(what_changes_before_the_first_look_is_not_missed)
{
        char *why = NULL;
        struct batch b;

        sh(p, "echo 1 > a");
        must(journal_new(0, &p->journal) == 0 && hashing_new(p->src, p->memory, &p->hashing) == 0, "new");
        hashing_tell(p->hashing, p->journal);
        must(engine_new(p->src, ENGINE_COHERENCE_EVENTS, p->backend, p->hashing, &p->engine, &why) == 0, "engine_new");
        sh(p, "echo 2 > a");
        must(engine_barrier(p->engine, SECONDS * 1000) == 0, "barrier");
        must(hashing_wait(p->hashing, SECONDS * 1000) == 0, "wait");
        cr_assert_eq(journal_next(p->journal, 0, take, &b), -ESTALE, "everything has to be looked at");
}
