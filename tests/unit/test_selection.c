/*
 * Which changes `dsfs run` runs its command for, and the list of them.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "cache/base/err.h"
#include "sync/run/selection.h"

static struct selection *made(const char *const *on, size_t on_count, const char *const *ignore, size_t ignore_count, bool host_only)
{
        struct selection_rules r = {.on = on, .on_count = on_count, .ignore = ignore, .ignore_count = ignore_count, .host_only = host_only};
        struct selection *s = NULL;
        const char *pattern = NULL;

        cr_assert_eq(selection_new(&r, &s, &pattern), 0, "%s", pattern);
        return s;
}

static bool file(struct selection *s, const char *path)
{
        return selection_of(s, path, false, false, false) == SELECTED_YES;
}

Test(selection, patterns_are_those_of_gitignore)
{
        static const char *const on[] = {"*.py", "/docs/*.md", "assets/", "!test_*.py"};
        static const char *const ignore[] = {"build/", "*.tmp.py"};
        struct selection *s = made(on, ARRAY_LEN(on), ignore, ARRAY_LEN(ignore), false);

        cr_assert(file(s, "a.py"));
        cr_assert(file(s, "src/deep/a.py"));
        cr_assert_not(file(s, "src/test_a.py"));
        cr_assert(file(s, "docs/a.md"));
        cr_assert_not(file(s, "docs/deep/a.md"));
        cr_assert_not(file(s, "src/docs/a.md"));
        cr_assert(file(s, "web/assets/deep/logo.svg"));
        cr_assert_not(file(s, "assets"), "a file is no directory");
        cr_assert_not(file(s, "build/a.py"));
        cr_assert_not(file(s, "src/build/lib/a.py"));
        cr_assert_not(file(s, "a.tmp.py"));
        selection_free(s);
}

Test(selection, without_patterns_everything_counts)
{
        struct selection *s = made(NULL, 0, NULL, 0, false);

        cr_assert(file(s, "a"));
        cr_assert(file(s, "deep/a\nb"));
        selection_free(s);
}

Test(selection, a_directory_counts_when_it_is_gone_for_what_may_have_been_in_it)
{
        static const char *const by_name[] = {"*.py"};
        static const char *const by_path[] = {"/src/**/*.py", "web/*.js"};
        static const char *const ignore[] = {"build/"};
        struct selection *s = made(by_name, 1, ignore, 1, false);

        cr_assert_eq(selection_of(s, "lib", true, false, false), SELECTED_NO, "one that was made has nothing in it that isn't told");
        cr_assert_eq(selection_of(s, "lib", true, true, false), SELECTED_YES);
        cr_assert_eq(selection_of(s, "lib/build", true, true, false), SELECTED_NO);
        selection_free(s);
        s = made(by_path, 2, NULL, 0, false);
        cr_assert_eq(selection_of(s, "src/deep", true, true, false), SELECTED_YES);
        cr_assert_eq(selection_of(s, "web", true, true, false), SELECTED_YES);
        cr_assert_eq(selection_of(s, "web/deep", true, true, false), SELECTED_NO);
        cr_assert_eq(selection_of(s, "docs", true, true, false), SELECTED_NO);
        selection_free(s);
}

Test(selection, what_came_through_a_mount_counts_if_it_is_to)
{
        static const char *const on[] = {"*.py"};
        struct selection *s = made(on, 1, NULL, 0, true);

        cr_assert_eq(selection_of(s, "a.py", false, false, true), SELECTED_BUT_ORIGIN);
        cr_assert_eq(selection_of(s, "a.js", false, false, true), SELECTED_NO);
        cr_assert_eq(selection_of(s, "a.py", false, false, false), SELECTED_YES);
        selection_free(s);
        s = made(on, 1, NULL, 0, false);
        cr_assert_eq(selection_of(s, "a.py", false, false, true), SELECTED_YES);
        selection_free(s);
}

Test(selection, a_pattern_that_nothing_can_match_is_refused)
{
        static const char *const bad[] = {"*.py", "[a"};
        static const char *const empty[] = {""};
        struct selection_rules r = {.on = bad, .on_count = 2};
        struct selection *s = NULL;
        const char *pattern = NULL;

        cr_assert_eq(selection_new(&r, &s, &pattern), -EINVAL);
        cr_assert_str_eq(pattern, "[a");
        r = (struct selection_rules){.ignore = empty, .ignore_count = 1};
        cr_assert_eq(selection_new(&r, &s, &pattern), -EINVAL);
        cr_assert_null(s);
}

Test(selection, gathered_paths_are_in_order_and_each_once)
{
        struct gathered g = {0};

        for (int i = 0; i < 3; i++) {
                cr_assert_eq(gathered_add(&g, "b\nc"), 0);
                cr_assert_eq(gathered_add(&g, "a"), 0);
                cr_assert_eq(gathered_add(&g, "b"), 0);
        }
        cr_assert_eq(gathered_finish(&g), 3);
        cr_assert_eq(g.len, 8);
        cr_assert_eq(memcmp(g.bytes, "a\0b\0b\nc\0", 8), 0);
        cr_assert_eq(gathered_add(&g, "z"), 0);
        cr_assert_eq(gathered_finish(&g), 4);
        gathered_clear(&g);
        cr_assert_eq(gathered_finish(&g), 0);
}

Test(selection, too_many_paths_are_anything)
{
        struct gathered g = {0};
        char path[4096];

        memset(path, 'x', sizeof(path) - 1);
        path[sizeof(path) - 1] = '\0';
        for (size_t i = 0; i < GATHERED_BYTES_MAX / sizeof(path) + 1; i++) {
                cr_assert_leq(g.size, 3 * GATHERED_BYTES_MAX);
                cr_assert_eq(gathered_add(&g, path), 0);
        }
        cr_assert(g.anything);
        cr_assert_eq(g.len, 0);
        gathered_clear(&g);
        cr_assert_not(g.anything);
}
