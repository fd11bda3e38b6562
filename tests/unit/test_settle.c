/*
 * By what git is known to be at work, and until when that is believed; and what a checkout's users may lay in its way.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "sync/journal.h"
#include "sync/settle.h"
#include "tests/lib/area.h"
#include "tests/lib/mount.h"

#define A "9a914313a7c20d968b58481dcd3fdf68c442db92"
#define B "3df165b953840e99e86f93f78d16c17eceb78fe5"
#define LINE A " " B " A <a@example> 1700000000 +0100\tcommit: text\n"

static char base[64], src[96];
static int root;
static struct settle settle;

static void failed(const char *message)
{
        cr_assert_fail("%s", message);
}

static void setup(void)
{
        test_on_fail(failed);
        area_new_base(base, sizeof(base));
        snprintf(src, sizeof(src), "%s/src", base);
        must(mkdir(src, 0755) == 0 && mkdir(at(src, ".git"), 0755) == 0 && mkdir(at(src, ".git/logs"), 0755) == 0, "mkdir");
        root = open(src, O_PATH | O_DIRECTORY | O_CLOEXEC);
        must(root >= 0, "open %s", src);
        settle_init(&settle, root);
}

static void teardown(void)
{
        fd_close(&root);
        remove_tree(base);
}

TestSuite(settle, .init = setup, .fini = teardown, .timeout = 60);

static void append(const char *path, const char *text)
{
        CLEANUP_FD int fd = open(at(src, "%s", path), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

        must(fd >= 0 && fd_write_full(fd, text, strlen(text)) == 0, "%s", path);
}

static bool did(const char *operation)
{
        struct settled s = {0};
        bool something = settle_git_did(&settle, &s);

        if (!operation)
                return !something && !s.operation;
        return something && strcmp(s.operation, operation) == 0;
}

Test(settle, git_is_busy_while_its_signs_are_there)
{
        static const char *const signs[] = {"index.lock", "HEAD.lock"};
        static const char *const states[] = {"rebase-merge", "rebase-apply", "sequencer"};

        cr_assert(!settle_git_is_busy(&settle, 0));
        for (size_t i = 0; i < ARRAY_LEN(signs); i++) {
                append(at("", ".git/%s", signs[i]) + 1, "");
                cr_assert(settle_git_is_busy(&settle, 0), "%s", signs[i]);
                must(unlink(at(src, ".git/%s", signs[i])) == 0, "unlink");
                cr_assert(!settle_git_is_busy(&settle, 0), "%s", signs[i]);
        }
        for (size_t i = 0; i < ARRAY_LEN(states); i++) {
                must(mkdir(at(src, ".git/%s", states[i]), 0755) == 0, "mkdir");
                cr_assert(settle_git_is_busy(&settle, 0), "%s", states[i]);
                must(rmdir(at(src, ".git/%s", states[i])) == 0, "rmdir");
                cr_assert(!settle_git_is_busy(&settle, 0), "%s", states[i]);
        }
}

Test(settle, a_rebase_that_stopped_is_not_busy)
{
        must(mkdir(at(src, ".git/rebase-merge"), 0755) == 0, "mkdir");
        append(".git/rebase-merge/stopped-sha", A);
        cr_assert(!settle_git_is_busy(&settle, 0));
}

Test(settle, what_is_left_over_counts_no_more_until_it_changes)
{
        append(".git/index.lock", "");
        cr_assert(settle_git_is_busy(&settle, SETTLE_STALE_MS - 1));
        cr_assert(!settle_git_is_busy(&settle, SETTLE_STALE_MS));
        cr_assert(!settle_git_is_busy(&settle, 0), "nobody is behind it");
        append(".git/index.lock", "x");
        cr_assert(settle_git_is_busy(&settle, 0), "somebody is");
}

Test(settle, reads_a_log_from_where_it_was)
{
        append(".git/logs/HEAD", LINE LINE);
        cr_assert(did("commit"));
        cr_assert(did(NULL));
        append(".git/logs/HEAD", A " " B " A <a@example> 1700000000 +0100\tche");
        cr_assert(did(NULL), "the line isn't whole");
        append(".git/logs/HEAD", "ckout: moving from one to two\n");
        cr_assert(did("checkout"));
        /* git tidies up. */
        put_text(at(src, ".git/logs/new"), LINE);
        must(rename(at(src, ".git/logs/new"), keep(at(src, ".git/logs/HEAD"))) == 0, "rename");
        cr_assert(did(NULL));
        append(".git/logs/HEAD", LINE);
        cr_assert(did("commit"));
        /* More than is read, and its beginning is no line's. */
        for (int i = 0; i < 2000; i++)
                append(".git/logs/HEAD", LINE);
        cr_assert(did("commit"));
        remove_tree(at(src, ".git"));
        cr_assert(did(NULL));
}

Test(settle, without_a_log_says_what_head_says)
{
        put_text(at(src, ".git/HEAD"), "ref: refs/heads/one\n");
        cr_assert(did(NULL));
        put_text(at(src, ".git/HEAD"), "ref: refs/heads/two\n");
        cr_assert(did("checkout"));
        cr_assert_str_eq(settle.move.was, "one");
        cr_assert_str_eq(settle.move.is, "two");
}

/* It would wait for ever, or read what is none of the checkout's. */
Test(settle, opens_nothing_but_files)
{
        append("secret", LINE);
        must(symlink("../../secret", at(src, ".git/logs/HEAD")) == 0, "symlink");
        cr_assert(did(NULL));
        must(unlink(at(src, ".git/logs/HEAD")) == 0 && mkfifo(at(src, ".git/logs/HEAD"), 0644) == 0, "mkfifo");
        cr_assert(did(NULL));
        must(mkfifo(at(src, ".git/HEAD"), 0644) == 0 && mkfifo(at(src, ".git/commondir"), 0644) == 0, "mkfifo");
        cr_assert(did(NULL));
        remove_tree(at(src, ".git"));
        must(mkfifo(at(src, ".git"), 0644) == 0, "mkfifo");
        cr_assert(did(NULL));
        cr_assert(!settle_git_is_busy(&settle, 0));
}
