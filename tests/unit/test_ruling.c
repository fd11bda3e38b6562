/*
 * What becomes of a configuration in a source: the rules, above all those that follow from what git ignores. tests/stress/gitignored.c
 * compares them with git on trees by chance.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sync/agent/config.h"
#include "sync/agent/ruling.h"
#include "tests/lib/child.h"
#include "tests/lib/mount.h"

static char base[64], source[96];
static struct ruling ruling;

static void git(const char *dir, const char *what)
{
        char command[512];

        snprintf(command, sizeof(command), "cd '%s' && git %s", dir, what);
        cr_assert_eq(system(command), 0, "%s", command);
}

static void start(void)
{
        const char *tmp = getenv("TMPDIR");

        snprintf(base, sizeof(base), "%s/rul.XXXXXX", tmp ? tmp : "/tmp");
        cr_assert(mkdtemp(base));
        snprintf(source, sizeof(source), "%s/app", base);
        cr_assert_eq(mkdir(source, 0755), 0);
        cr_assert_eq(mkdir(at(base, "git"), 0755), 0);
        setenv("HOME", base, 1);
        setenv("XDG_CONFIG_HOME", base, 1);
        setenv("GIT_CONFIG_NOSYSTEM", "1", 1);
        git(source, "init -q");
}

static void stop(void)
{
        ruling_release(&ruling);
        remove_tree(base);
}

TestSuite(ruling, .init = start, .fini = stop);

static void put(const char *path, const char *text)
{
        char full[512];

        snprintf(full, sizeof(full), "%s/%s", source, path);
        for (char *slash = strchr(full + strlen(source) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
                *slash = '\0';
                cr_assert(mkdir(full, 0755) == 0 || errno == EEXIST);
                *slash = '/';
        }
        put_text(full, text);
}

static void make_for(const char *dir, const char *config)
{
        struct config *c;
        char *why = NULL;

        put_text(at(dir, "dsfs.yaml"), config);
        cr_assert_eq(config_load(dir, NULL, &c, &why), 0, "%s", why ? why : "?");
        cr_assert_eq(ruling_make(c, &ruling, &why), 0, "%s", why ? why : "?");
        config_free(c);
}

#define GITIGNORED "version: 1\ngitignored: true\n"

static const struct rule *rule_of(const char *path)
{
        const struct pattern_place *place = rules_root(ruling.rules);
        const struct rule *r = NULL;

        while (*path && !r) {
                size_t len = strcspn(path, "/");

                r = rules_find(ruling.rules, place, path, len, path[len] == '/');
                place = rules_enter(ruling.rules, place, path, len);
                path += len + (path[len] == '/');
        }
        return r;
}

static void expect_artifact(const char *path, const char *origin)
{
        const struct rule *r = rule_of(path);

        cr_assert(r && r->route == RULE_ARTIFACT, "%s is the source's", path);
        cr_assert_str_eq(r->origin, origin);
}

static void expect_source(const char *path)
{
        const struct rule *r = rule_of(path);

        cr_assert(!r || r->route != RULE_ARTIFACT, "%s is an artifact, by %s (%s)", path, r->pattern, r->origin);
}

Test(ruling, no_rules_are_none)
{
        make_for(source, "version: 1\n");
        cr_assert_null(ruling.rules);
}

Test(ruling, lists_of_all_kinds_count_the_nearest_most)
{
        put_text(at(base, "git/ignore"), "*.swq\n*.log\n");
        put(".git/info/exclude", "mine/\n");
        put(".gitignore", "*.o\n/dist\n!a.log\n");
        put("web/.gitignore", "!keep.o\n*.js\n");
        make_for(source, GITIGNORED);
        expect_artifact("x.swq", at(base, "git/ignore:1"));
        expect_artifact("deep/b.log", at(base, "git/ignore:2"));
        expect_source("a.log");
        expect_artifact("mine/", at(source, ".git/info/exclude:1"));
        expect_artifact("web/x.o", ".gitignore:1");
        expect_source("web/keep.o");
        expect_artifact("keep.o", ".gitignore:1");
        expect_artifact("web/deep/x.js", "web/.gitignore:2");
        expect_source("x.js");
        expect_artifact("dist", ".gitignore:2");
        expect_source("web/dist");
        expect_source(".git/");
}

Test(ruling, the_user_names_another_list)
{
        put_text(at(base, ".gitconfig"), "[core]\n\texcludesFile = ~/others\n");
        put_text(at(base, "others"), "*.tmp\n");
        make_for(source, GITIGNORED);
        expect_artifact("a.tmp", at(base, "others:1"));
}

Test(ruling, what_is_kept_or_named_by_hand_counts_more)
{
        put(".gitignore", "*\n!/.gitignore\n");
        make_for(source, GITIGNORED "keep: [\"*.conf\"]\nartifacts:\n  - {path: node_modules/, key: [package-lock.json]}\n"
                                    "  - {path: \"!vendor.js\"}\n  - {path: x.conf, route: hidden}\n");
        expect_source("a.conf");
        expect_source("vendor.js");
        expect_source(".git/");
        expect_artifact(".env", ".gitignore:1");
        expect_artifact("node_modules/", "dsfs.yaml:5");
        cr_assert_eq(rule_of("node_modules/")->key_count, 1);
        cr_assert_eq(rule_of("x.conf")->route, RULE_HIDDEN);
}

Test(ruling, by_default_secrets_and_editors_are_kept)
{
        put(".gitignore", ".env*\n*.local\n.idea/\n.vscode/\n*.swp\nbuild/\n");
        make_for(source, GITIGNORED);
        expect_source(".env");
        expect_source("web/.env.production");
        expect_source("settings.local");
        expect_source(".idea/");
        expect_source(".vscode/");
        expect_source(".a.swp");
        expect_artifact("build/", ".gitignore:6");
}

Test(ruling, what_git_tracks_stays_the_sources)
{
        put(".gitignore", "*.log\nbuild/\n");
        put("a.log", "x");
        put("b.log", "x");
        put("build/deep/odd [name]*", "x");
        put("build/deep/other", "x");
        put("build/x", "x");
        git(source, "add -f a.log build/deep/odd*");
        make_for(source, GITIGNORED);
        expect_source("a.log");
        expect_artifact("b.log", ".gitignore:1");
        expect_source("build/deep/odd [name]*");
        expect_artifact("build/deep/other", "beside what git tracks");
        expect_artifact("build/deep/odd n", "beside what git tracks");
        expect_artifact("build/x", "beside what git tracks");
        expect_artifact("sub/build/", ".gitignore:2");
}

Test(ruling, another_repository_is_none_of_this_ones_business)
{
        put(".gitignore", "*.o\nvendor/\n");
        put("lib/.gitignore", "never-read\n");
        put("lib/deep/x", "");
        put("vendor/lib/x", "");
        git(at(source, "lib"), "init -q");
        make_for(source, GITIGNORED);
        expect_artifact("x.o", ".gitignore:1");
        expect_source("lib/");
        expect_source("lib/x.o");
        expect_source("lib/deep/x.o");
        expect_source("never-read");
        expect_artifact("vendor/lib/x", ".gitignore:2");
}

Test(ruling, a_source_can_be_a_part_of_a_repository)
{
        put(".gitignore", "/web/dist\n*.o\nnode_modules/\n");
        put("web/.gitignore", "/out\n");
        put("web/src/.gitignore", "made\n");
        put("web/x.o", "");
        git(source, "add -f web/x.o");
        make_for(at(source, "web"), GITIGNORED "artifacts: [{path: /own, key: [a]}]\n");
        expect_artifact("dist", ".gitignore:1");
        expect_artifact("src/y.o", ".gitignore:2");
        expect_source("x.o");
        expect_artifact("out", "web/.gitignore:1");
        expect_source("src/out");
        expect_artifact("src/made", "web/src/.gitignore:1");
        expect_artifact("own", "dsfs.yaml:3");
        expect_source("src/own");
}

Test(ruling, a_source_that_git_ignores_as_a_whole_has_no_rules_of_gits)
{
        put(".gitignore", "/web\n*.o\n");
        put("web/x", "");
        make_for(at(source, "web"), GITIGNORED);
        expect_source("x.o");
        cr_assert(strstr(ruling.note, "ignores the source as a whole"), "%s", ruling.note);
}

Test(ruling, without_a_repository_the_lists_in_the_source_count)
{
        remove_tree(at(source, ".git"));
        put(".gitignore", "*.o\n");
        make_for(source, GITIGNORED);
        expect_artifact("x.o", ".gitignore:1");
}

Test(ruling, lists_that_lead_elsewhere_are_none)
{
        put_text(at(base, "elsewhere"), "*.o\n");
        cr_assert_eq(symlink("../elsewhere", at(source, ".gitignore")), 0);
        put("a/x", "");
        cr_assert_eq(mkfifo(at(source, "a/.gitignore"), 0644), 0);
        make_for(source, GITIGNORED);
        expect_source("x.o");
}

static char told[8192];

static void tell(void *arg, const char *line)
{
        (void)arg;
        strcat(strcat(told, line), "\n");
}

Test(ruling, what_the_source_has_there_is_listed)
{
        put(".gitignore", "*.o\ndist/\n.env\nnode_modules/\n");
        put(".env", "");
        put("dist/a", "");
        put("node_modules/a", "");
        put("web/x.o", "");
        put("odd[.o", "");
        make_for(source, GITIGNORED "artifacts: [{path: node_modules/}]\n");
        cr_assert_eq(ruling.shadowed_count, 3);
        ruling_tell_shadowed(&ruling, tell, NULL);
        cr_assert(strstr(told, "dist/ ") && strstr(told, "keep: ['/dist/']"), "%s", told);
        cr_assert(strstr(told, "web/x.o ") && strstr(told, "keep: ['/web/x.o']"), "%s", told);
        cr_assert(strstr(told, "odd[.o ") && strstr(told, "keep: ['/odd\\[.o']"), "%s", told);
        cr_assert_not(strstr(told, "more"));
}

Test(ruling, a_long_list_is_cut)
{
        put(".gitignore", "*.o\n");
        for (int i = 0; i < 25; i++)
                put(at("x", "%d.o", i), "");
        make_for(source, GITIGNORED);
        ruling_tell_shadowed(&ruling, tell, NULL);
        cr_assert(strstr(told, "and 15 more"), "%s", told);
}

Test(ruling, gits_refusal_is_passed_on)
{
        struct config *c;
        CLEANUP_FREE char *why = NULL;

        put(".git/HEAD", "nonsense");
        cr_assert_eq(unlink(at(source, ".git/config")), 0);
        put_text(at(source, "dsfs.yaml"), GITIGNORED);
        cr_assert_eq(config_load(source, NULL, &c, &why), 0);
        cr_assert_eq(ruling_make(c, &ruling, &why), -EPERM);
        cr_assert(strstr(why, "git won't look at") && strstr(why, "not a git repository"), "%s", why);
        config_free(c);
}

/* A checkout of somebody else's has its own settings, which must not make us run anything, above all as root. */
Test(ruling, a_checkouts_settings_start_nothing)
{
        const char *mark = keep(at(base, "ran"));
        char script[256];

        snprintf(script, sizeof(script), "#!/bin/sh\ntouch '%s'\n", mark);
        put(".gitignore", "*.o\n");
        put("x.o", "");
        git(source, "add -f x.o");
        put(".git/run", script);
        cr_assert_eq(chmod(at(source, ".git/run"), 0755), 0);
        git(source, "config core.fsmonitor .git/run");
        git(source, "config core.hooksPath .git");
        git(source, "config alias.ls-files '!touch /dev/null'");
        git(source, "config core.pager .git/run");
        make_for(source, GITIGNORED);
        expect_source("x.o");
        cr_assert_eq(access(mark, F_OK), -1, "a program of the checkout ran");
}

/* Git won't look at what isn't one's own: it runs as the owner. */
Test(ruling, roots_git_runs_as_the_sources_owner)
{
        if (geteuid() != 0)
                cr_assert_fail("run as root");
        put(".gitignore", "*.o\n");
        put("x.o", "");
        git(source, "add -f x.o");
        cr_assert_eq(chmod(base, 0755), 0);
        git(source, "--version >/dev/null && chown -R 65534:65534 .");
        make_for(source, GITIGNORED);
        expect_source("x.o");
        expect_artifact("y.o", ".gitignore:1");
}

Test(ruling, a_line_that_says_nothing_says_nothing_below_either)
{
        put(".gitignore", "dist/\n");
        put("web/.gitignore", "!\n!/\n/\n\\\n");
        make_for(source, GITIGNORED);
        expect_artifact("web/dist/", ".gitignore:1");
        expect_artifact("web/deep/dist/", ".gitignore:1");
        expect_source("web/x/");
}
