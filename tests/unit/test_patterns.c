/*
 * Patterns one behaviour at a time; tests/stress/ignore.c compares them with git by the million.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "fs/patterns.h"

/* The last of the patterns (until NULL) that matches the path itself, from 1; 0 if none does. A slash at the end: it is a directory. */
static int find(const char *path, const char *const texts[])
{
        const struct pattern_place *place;
        struct patterns *p;
        size_t count = 0;
        int found;

        while (texts[count])
                count++;
        cr_assert_eq(patterns_new(texts, count, &p), 0);
        place = patterns_root(p);
        for (;;) {
                size_t len = strcspn(path, "/");

                if (!path[len] || !path[len + 1]) {
                        found = patterns_find(p, place, path, len, path[len] == '/');
                        patterns_free(p);
                        return found + 1;
                }
                place = patterns_enter(p, place, path, len);
                cr_assert(place);
                path += len + 1;
        }
}

#define FIND(path, ...) find(path, (const char *const[]){__VA_ARGS__, NULL})

Test(patterns, the_last_match_wins)
{
        cr_assert_eq(FIND("a.o", "*.o", "a.*"), 2);
        cr_assert_eq(FIND("a.o", "a.*", "b"), 1);
        cr_assert_eq(FIND("c", "a", "b"), 0);
}

Test(patterns, a_name_without_a_slash_matches_at_any_depth)
{
        cr_assert_eq(FIND("x/y/node_modules/", "node_modules"), 1);
        cr_assert_eq(FIND("node_modules", "node_modules"), 1);
        cr_assert_eq(FIND("x/my_node_modules", "node_modules"), 0);
}

Test(patterns, a_slash_inside_or_in_front_anchors)
{
        cr_assert_eq(FIND("a/b", "a/b"), 1);
        cr_assert_eq(FIND("x/a/b", "a/b"), 0);
        cr_assert_eq(FIND("a", "/a"), 1);
        cr_assert_eq(FIND("x/a", "/a"), 0);
}

Test(patterns, a_slash_at_the_end_means_directories)
{
        cr_assert_eq(FIND("build/", "build/"), 1);
        cr_assert_eq(FIND("build", "build/"), 0);
        cr_assert_eq(FIND("x/build/", "build/"), 1);
}

Test(patterns, two_stars_stand_for_any_number_of_directories)
{
        cr_assert_eq(FIND("a/b", "a/**/b"), 1);
        cr_assert_eq(FIND("a/x/y/b", "a/**/b"), 1);
        cr_assert_eq(FIND("css/x", "**/css/x"), 1);
        cr_assert_eq(FIND("lms/static/css/x", "**/css/x"), 1);
        cr_assert_eq(FIND("a/x/y", "a/**"), 1);
        cr_assert_eq(FIND("a/", "a/**"), 0);
}

Test(patterns, wildcards_stay_within_a_component)
{
        cr_assert_eq(FIND("lms/x/main.css", "lms/*.css"), 0);
        cr_assert_eq(FIND("lms/main.css", "lms/*.css"), 1);
        cr_assert_eq(FIND("a.pyc", "*.py[co]"), 1);
        cr_assert_eq(FIND("a.pyx", "*.py[co]"), 0);
        cr_assert_eq(FIND("a\xff"
                          "b",
                          "a?b"),
                     1);
}

Test(patterns, backslashes_take_the_meaning_away)
{
        cr_assert_eq(FIND("*", "\\*"), 1);
        cr_assert_eq(FIND("a", "\\*"), 0);
        cr_assert_eq(FIND("!a", "\\!a"), 1);
}

Test(patterns, what_can_not_match_stands_for_nothing)
{
        cr_assert_eq(FIND("[a", "[a", "a\\", "a//b", "/", "[[:nonsense:]]"), 0);
}

Test(patterns, negation_is_told)
{
        const char *const texts[] = {"*.css", "!vendor.css"};
        struct patterns *p;
        int found;

        cr_assert_eq(patterns_new(texts, 2, &p), 0);
        found = patterns_find(p, patterns_root(p), "vendor.css", 10, false);
        cr_assert_eq(found, 1);
        cr_assert(patterns_negated(p, 1));
        cr_assert_not(patterns_negated(p, 0));
        patterns_free(p);
}

Test(patterns, directories_that_no_pattern_tells_apart_share_a_place)
{
        const char *const texts[] = {"lms/static/*.css", "*.o"};
        const struct pattern_place *root, *lms, *other;
        struct patterns *p;

        cr_assert_eq(patterns_new(texts, 2, &p), 0);
        root = patterns_root(p);
        lms = patterns_enter(p, root, "lms", 3);
        other = patterns_enter(p, root, "cms", 3);
        cr_assert_neq(lms, other);
        cr_assert_eq(other, patterns_enter(p, lms, "x", 1));
        cr_assert_eq(patterns_enter(p, lms, "static", 6), patterns_enter(p, lms, "static", 6));
        patterns_free(p);
}
