#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "cache/scope.h"

#define TEXT_MAX 4096

static void describe(const struct scope *s, char *text)
{
        for (; s; s = s->next) {
                strcat(text, s->name);
                if (s->whole)
                        strcat(text, "*");
                if (s->children) {
                        strcat(text, "(");
                        describe(s->children, text);
                        strcat(text, ")");
                }
                if (s->next)
                        strcat(text, " ");
        }
}

static void must_be(const char *const paths[], size_t count, const char *want)
{
        struct scope *s = scope_new(paths, count);
        char text[TEXT_MAX] = "";

        cr_assert(s);
        describe(s, text);
        cr_assert_str_eq(text, want);
        scope_free(s);
}
#define MUST_BE(want, ...) must_be((const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *), want)

Test(scope, names_are_in_order_of_their_bytes)
{
        MUST_BE("(a(x*) a-b* a.c(y*) b*)", "b", "a.c/y", "a-b", "a/x");
        MUST_BE("(a* \xff*)", "\xff", "a");
}

Test(scope, the_whole_of_a_directory_covers_what_is_below)
{
        MUST_BE("(a*)", "a/b/c", "a", "a/d");
        MUST_BE("*", "a/b/c", "", "d");
}

Test(scope, empty_names_do_not_matter)
{
        MUST_BE("(a(q*) z(q*))", "/z/q", "a//q/", "z//q", "/a/q");
        MUST_BE("(a(a* b*))", "a//b", "a/a");
        MUST_BE("*", "///");
}

Test(scope, no_path_leads_out)
{
        char longest[300];

        MUST_BE("*", "../x", "a");
        MUST_BE("(a*)", "a/../../etc");
        MUST_BE("*", "./a");
        MUST_BE("(..a* .a*)", ".a", "..a");
        memset(longest, 'n', sizeof(longest) - 1);
        longest[sizeof(longest) - 1] = '\0';
        MUST_BE("*", longest);
}

Test(scope, of_no_path_is_nothing)
{
        struct scope *s = scope_new(NULL, 0);

        cr_assert(s);
        cr_assert_not(s->whole);
        cr_assert_null(s->children);
        scope_free(s);
}
