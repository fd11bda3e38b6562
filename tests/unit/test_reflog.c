/*
 * What lines of HEAD's log say that git did.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "sync/reflog.h"

#define ZERO "0000000000000000000000000000000000000000"
#define A "9a914313a7c20d968b58481dcd3fdf68c442db92"
#define B "3df165b953840e99e86f93f78d16c17eceb78fe5"
#define WHO "A U Thor <a@example> 1700000000 +0100\t"

/* The lines end with a newline each; `says` is "OPERATION WAS IS", or "" if they say nothing. */
static const struct {
        const char *lines, *says;
} logs[] = {
        {A " " B " " WHO "commit: text", "commit " A " " B},
        {A " " B " " WHO "commit (amend): text", "commit " A " " B},
        {ZERO " " B " " WHO "commit (initial): text", "commit  " B},
        {A " " B " " WHO "checkout: moving from one to two", "checkout one two"},
        {A " " A " " WHO "checkout: moving from one to " B, "checkout one " B},
        {A " " B " " WHO "checkout: moving from a/b to c/d\n" B " " A " " WHO "checkout: moving from c/d to e", "checkout a/b e"},
        {A " " B " " WHO "checkout: moving from one to two\n" B " " A " " WHO "commit: text", "commit one " A},
        {A " " B " " WHO "checkout: moving", "checkout " A " " B},
        {A " " B " " WHO "rebase (start): checkout two\n" B " " B " " WHO "rebase (finish): returning to refs/heads/one",
         "rebase " A " " B},
        {A " " B " " WHO "pull --rebase origin main (start): checkout " B, "pull " A " " B},
        {A " " B " " WHO "merge two: Fast-forward", "merge " A " " B},
        {A " " A " " WHO "reset: moving to HEAD", "reset " A " " A},
        {A " " B " " WHO "cherry-pick: text", "cherry-pick " A " " B},
        {A " " B " " WHO "Branch: renamed refs/heads/a to refs/heads/b", "branch " A " " B},
        {A B " " B " " WHO "commit: text", ""},
        {A " " B " " WHO, ""},
        {A " " B " " WHO "(nothing)", ""},
        {A " " B " " WHO "averyveryverylongnameforanoperation: text", ""},
        {A " " B " A U Thor <a@example> 1700000000 +0100 commit: text", ""},
        {A " " B, ""},
        {A, ""},
        {"", ""},
};

Test(reflog, says_what_git_did)
{
        for (size_t i = 0; i < sizeof(logs) / sizeof(logs[0]); i++) {
                struct reflog_move m = {0};
                char says[3 * REFLOG_TEXT] = "";

                for (const char *line = logs[i].lines; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
                        (void)reflog_take(&m, line, strcspn(line, "\n"));
                if (*m.operation)
                        snprintf(says, sizeof(says), "%s %s %s", m.operation, m.was, m.is);
                cr_assert_str_eq(says, logs[i].says, "%s: %s, not %s", logs[i].lines, says, logs[i].says);
                cr_assert_eq(m.moved, strcmp(m.was, m.is) != 0);
        }
}
