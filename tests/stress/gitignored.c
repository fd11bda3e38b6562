/*
 * `gitignored` against git: trees with lists at every level, with negations, a repository's and a user's list, files that are tracked
 * though a pattern matches, and repositories inside; each path has to be the overlay's exactly when git ignores it. The source is the
 * working tree or a directory in it.
 *
 *     gitignored [TREES [SEED]]
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "sync/agent/config.h"
#include "sync/agent/ruling.h"
#include "tests/lib/child.h"
#include "tests/lib/mount.h"

#define TREES_DEFAULT 40UL
#define DEPTH 4
#define OUT_MAX (16 << 20)

static char top[256], tree[300];
static unsigned long long ignored_paths, source_paths, tracked_paths;

static void run(const char *fmt, ...) PRINTF_LIKE(1, 2);
static void run(const char *fmt, ...)
{
        char command[2048];
        va_list ap;

        va_start(ap, fmt);
        vsnprintf(command, sizeof(command), fmt, ap);
        va_end(ap);
        must(system(command) == 0, "%s", command);
}

static const char *draw_name(struct dice *d)
{
        static const char *const names[] = {"a",   "b",    "c",   "build", "x.o", "y.o", "a[b", "c*",
                                            "d d", "\xff", "e\\", ".env",  "#h",  "!i",  "n\nl"};

        return names[dice_roll(d, ARRAY_LEN(names))];
}

static void draw_list(struct dice *d, const char *path)
{
        static const char *const lines[] = {"a",        "b/",         "/c",     "*.o",  "!x.o", "build", "build/", "a/b",  "!a/b",
                                            "**/c",     "a/**",       "!b",     "/*",   "!/a",  "c/*",   "a\\[b",  "c\\*", "d\\ d",
                                            "d d   ",   "# no",       "\\#h",   "\\!i", "!!i",  "e\\\\", ".env*",  "/",    "//a",
                                            "[a-c]",    "[!a-c]/",    "?",      "",     "*",    "!*/",   "**",     "\xff", "a/*/b",
                                            "/build/a", "*/b/*",      "!/b/",   "b\r",  "!a/",  "/a/",   "!*.o",   "x.o",  "**/",
                                            "a/**/b",   "/b/**",      "!/a/**", "[",    "a\\",  "   ",   "!",      "!/",   "\ta",
                                            "!build",   "!build/x.o", "c/",     "!c",   "./a",  "a/.",   "*[o]",   "y.?"};
        FILE *f = fopen(path, "w");
        unsigned n = 1 + dice_roll(d, 6);

        must(f, "%s", path);
        if (dice_roll(d, 10) == 0)
                fputs("\xef\xbb\xbf", f);
        for (unsigned i = 0; i < n; i++)
                fprintf(f, "%s%s", lines[dice_roll(d, ARRAY_LEN(lines))], i + 1 < n || dice_roll(d, 4) ? "\n" : "");
        must(fclose(f) == 0, "%s", path);
}

static void draw_directory(struct dice *d, const char *path, int depth)
{
        unsigned n = 2 + dice_roll(d, 6);
        char sub[1024];

        if (dice_roll(d, 3) == 0) {
                snprintf(sub, sizeof(sub), "%s/.gitignore", path);
                draw_list(d, sub);
        }
        for (unsigned i = 0; i < n; i++) {
                snprintf(sub, sizeof(sub), "%s/%s", path, draw_name(d));
                if (faccessat(AT_FDCWD, sub, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
                        continue;
                if (depth < DEPTH && dice_roll(d, 2)) {
                        must(mkdir(sub, 0755) == 0, "%s", sub);
                        draw_directory(d, sub, depth + 1);
                        if (dice_roll(d, 20) == 0)
                                must(child_exec((const char *const[]){"git", "init", "-q", sub, NULL}, NULL, NULL, NULL, 0) == 0,
                                     "git init");
                } else if (dice_roll(d, 12) == 0) {
                        must(symlink("a", sub) == 0, "%s", sub);
                } else {
                        put_text(sub, "x");
                }
        }
}

/* All paths below, each with what is above it before. */
struct paths {
        char **list;
        bool *foreign; /* in another repository */
        size_t count;
};

static void list_paths(const char *root, const char *path, bool foreign, struct paths *p)
{
        char dir[2048];
        struct dirent **entries;
        int n;

        snprintf(dir, sizeof(dir), "%s/%s", root, path);
        n = scandir(dir, &entries, NULL, alphasort);
        must(n >= 0, "%s", dir);
        for (int i = 0; i < n; i++) {
                const char *name = entries[i]->d_name;
                char sub[4096], git[4200];
                bool is_dir = entries[i]->d_type == DT_DIR;

                if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && strcmp(name, ".git") != 0) {
                        snprintf(sub, sizeof(sub), "%s%s%s", path, *path ? "/" : "", name);
                        p->list = realloc(p->list, (p->count + 1) * sizeof(*p->list));
                        p->foreign = realloc(p->foreign, p->count + 1);
                        must(p->list && p->foreign, "memory");
                        p->list[p->count] = strdup(sub);
                        p->foreign[p->count++] = foreign;
                        snprintf(git, sizeof(git), "%s/%s/.git", root, sub);
                        if (is_dir)
                                list_paths(root, sub, foreign || access(git, F_OK) == 0, p);
                }
                free(entries[i]);
        }
        free(entries);
}

static bool is_listed(const char *text, size_t len, const char *path)
{
        for (const char *at = text; at < text + len; at += strlen(at) + 1) {
                if (strcmp(at, path) == 0)
                        return true;
        }
        return false;
}

/* It, or anything in it: what git ignores by a pattern it has all the same. (Without --no-index git would say so, but for names with stars
 * in them, which it takes for patterns there.) */
static bool is_tracked(const char *text, size_t len, const char *path)
{
        size_t n = strlen(path);

        for (const char *at = text; at < text + len; at += strlen(at) + 1) {
                if (strncmp(at, path, n) == 0 && (at[n] == '\0' || at[n] == '/'))
                        return true;
        }
        return false;
}

static const struct rule *rule_of(const struct rules *rules, const char *source, const char *path)
{
        const struct pattern_place *place = rules_root(rules);
        char full[4096];
        struct stat st;

        snprintf(full, sizeof(full), "%s/%s", source, path);
        must(lstat(full, &st) == 0, "%s", full);
        for (;;) {
                size_t len = strcspn(path, "/");
                const struct rule *r = rules_find(rules, place, path, len, path[len] == '/' || S_ISDIR(st.st_mode));

                if (r || !path[len])
                        return r;
                place = rules_enter(rules, place, path, len);
                must(place, "memory");
                path += len + 1;
        }
}

static unsigned compare(const char *source, const struct rules *rules)
{
        CLEANUP_FREE char *ignored = NULL;
        CLEANUP_FREE char *index = NULL;
        ssize_t ignored_len, index_len;
        struct paths p = {0};
        unsigned differ = 0;
        bool last = false;
        FILE *f = fopen(at(top, "paths"), "w");

        must(f, "paths");
        list_paths(source, "", false, &p);
        for (size_t i = 0; i < p.count; i++) {
                if (!p.foreign[i])
                        fwrite(p.list[i], 1, strlen(p.list[i]) + 1, f);
        }
        must(fclose(f) == 0, "paths");
        run("cd '%s' && git check-ignore --no-index -z --stdin <'%s/paths' >'%s/out'; test $? -le 1", source, top, top);
        run("cd '%s' && git ls-files -z >'%s/tracked'", source, top);
        ignored_len = fd_read_file(AT_FDCWD, at(top, "out"), OUT_MAX, &ignored);
        index_len = fd_read_file(AT_FDCWD, at(top, "tracked"), OUT_MAX, &index);
        must(ignored_len >= 0 && index_len >= 0, "git's answers");
        for (size_t i = 0; i < p.count; i++) {
                bool tracked = is_tracked(index, (size_t)index_len, p.list[i]);
                bool matched = is_listed(ignored, (size_t)ignored_len, p.list[i]), git = matched && !tracked;
                const struct rule *r = rule_of(rules, source, p.list[i]);

                tracked_paths += matched && tracked;
                ignored_paths += git;
                source_paths += !git;
                /* What is in another repository goes with what it lies in: the own one listed before it. */
                last = p.foreign[i] ? last : git;
                if (last == (r && r->route == RULE_ARTIFACT))
                        continue;
                if (differ++ == 0)
                        printf("%s: \"%s\": git %s it, we have %s (%s)\n", source, p.list[i], last ? "ignores" : "has",
                               r ? r->pattern : "no rule", r ? r->origin : "");
        }
        for (size_t i = 0; i < p.count; i++)
                free(p.list[i]);
        free(p.list);
        free(p.foreign);
        return differ;
}

/* Through the configuration, as a mount does it, with nothing kept. */
static unsigned check(const char *source)
{
        struct ruling ruling = {0};
        struct config *c = config_new(source);
        char *why = NULL;
        unsigned differ = 0;

        must(c, "memory");
        c->options.gitignored = true;
        rule_list_release(&c->keep);
        must(ruling_make(c, &ruling, &why) == 0, "%s", why);
        if (!ruling.note)
                differ = compare(source, ruling.rules);
        ruling_release(&ruling);
        config_free(c);
        return differ;
}

/* Have git track some of what there is, ignored or not. */
static void track_some(struct dice *d)
{
        CLEANUP_FREE char *all = NULL;
        ssize_t len;
        FILE *f = fopen(at(top, "chosen"), "w");

        run("cd '%s' && git ls-files -z -o >'%s/out'", tree, top);
        len = fd_read_file(AT_FDCWD, at(top, "out"), OUT_MAX, &all);
        must(f && len >= 0, "git's answer");
        for (const char *path = all; path < all + len; path += strlen(path) + 1) {
                if (dice_roll(d, 12) == 0)
                        fwrite(path, 1, strlen(path) + 1, f);
        }
        must(fclose(f) == 0, "chosen");
        run("cd '%s' && xargs -0 -r git add -f --ignore-errors -- <'%s/chosen' 2>'%s/log' || :", tree, top, top);
}

static unsigned check_tree(struct dice *d, const char *home)
{
        unsigned differ;
        char sub[400];

        run("rm -rf '%s' && git init -q '%s'", tree, tree);
        draw_list(d, at(home, "git/ignore"));
        draw_list(d, at(tree, ".git/info/exclude"));
        draw_directory(d, tree, 0);
        track_some(d);
        differ = check(tree);
        snprintf(sub, sizeof(sub), "%s/a", tree);
        if (access(sub, X_OK) == 0 && access(at(sub, ".git"), F_OK) != 0 && access(at(sub, "."), F_OK) == 0)
                differ += check(sub);
        return differ;
}

int main(int argc, char **argv)
{
        unsigned long trees = argc > 1 ? strtoul(argv[1], NULL, 0) : TREES_DEFAULT;
        unsigned long long seed = argc > 2 ? strtoull(argv[2], NULL, 0) : (unsigned long long)time(NULL);
        const char *base = getenv("TMPDIR");
        struct dice dice = {seed};
        char home[300];
        unsigned differ = 0;

        printf("seed %llu, %lu trees\n", seed, trees);
        snprintf(top, sizeof(top), "%s/gitignored.XXXXXX", base ? base : "/tmp");
        must(mkdtemp(top), "%s", top);
        snprintf(tree, sizeof(tree), "%s/tree", top);
        snprintf(home, sizeof(home), "%s/home", top);
        must(mkdir(home, 0755) == 0 && mkdir(at(home, "git"), 0755) == 0, "%s", home);
        setenv("HOME", home, 1);
        setenv("XDG_CONFIG_HOME", home, 1);
        setenv("GIT_CONFIG_NOSYSTEM", "1", 1);
        for (unsigned long i = 0; i < trees && !differ; i++)
                differ += check_tree(&dice, home);
        if (!differ)
                remove_tree(top);
        printf("%u differences; %llu paths ignored, %llu not, %llu tracked though ignored\n", differ, ignored_paths, source_paths,
               tracked_paths);
        return differ != 0 || ignored_paths < trees || source_paths < trees || tracked_paths < trees / 10;
}
