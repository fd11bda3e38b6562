/*
 * Patterns against git: random lists of patterns and random paths, asked of `git check-ignore` and of fs/patterns.c; both have to name the
 * same line.
 *
 *     ignore [CASES [SEED]]
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "fs/patterns.h"
#include "tests/lib/child.h"
#include "tests/lib/mount.h"

#define LINES_MAX 12U
#define LINE_BYTES 40U
#define PATHS 2000U
#define PATH_BYTES 64U
#define CASES_DEFAULT 40000U

struct lists {
        char lines[LINES_MAX][LINE_BYTES];
        unsigned count;
        char paths[PATHS][PATH_BYTES];
};

/* Runs of stars beside other bytes of a component are left out: git treats some as `**`, against its documentation (differences.md). */
static bool has_odd_stars(const char *line)
{
        for (const char *at = strstr(line, "**"); at; at = strstr(at, "**")) {
                const char *from = at, *to = at + strspn(at, "*");

                if ((from > line && from[-1] != '/' && !(from == line + 1 && *line == '!')) || (*to && *to != '/'))
                        return true;
                at = to;
        }
        return false;
}

static void draw_line(struct dice *d, char *line)
{
        static const char *const parts[] = {"a",    "b",           "c",          "ab", "*",    "?",     "/",       "/",   "**",   "**/",
                                            "/**",  "*.b",         "a*",         "[a", "[!a",  "[a-c]", "[^b]",    "]",   "\\",   "\\*",
                                            ".",    " a",          "-",          "!",  "\xff", "[",     "\\!",     "\\#", "[]a]", "[a\\]b]",
                                            "[a-]", "[[:alpha:]]", "[[:digit:]", "b/", "a/b",  "/a",    "\xc3\xa4"};

        do {
                unsigned n = 1 + dice_roll(d, 5);

                *line = '\0';
                if (dice_roll(d, 6) == 0)
                        strcat(line, "!");
                for (unsigned i = 0; i < n && strlen(line) < LINE_BYTES - 16; i++)
                        strcat(line, parts[dice_roll(d, ARRAY_LEN(parts))]);
        } while (*line == '#' || line[strlen(line) - 1] == ' ' || has_odd_stars(line));
}

static void draw_path(struct dice *d, char *path)
{
        static const char *const parts[] = {"a", "b",  "c",    "ab",       "a.b", "]", "*",  "-", "!",
                                            "#", " a", "\xff", "\xc3\xa4", "1",   "[", "\\", "[a"};
        unsigned depth = 1 + dice_roll(d, 4);

        *path = '\0';
        for (unsigned i = 0; i < depth; i++) {
                unsigned n = 1 + dice_roll(d, 2);

                if (i)
                        strcat(path, "/");
                for (unsigned k = 0; k < n; k++)
                        strcat(path, parts[dice_roll(d, ARRAY_LEN(parts))]);
        }
}

/* The line that decides about the path, from 1; 0 if none does. A directory that is excluded decides for all below it. */
static int ask_us(struct patterns *p, const char *path)
{
        const struct pattern_place *place = patterns_root(p);

        for (;;) {
                size_t len = strcspn(path, "/");
                bool is_dir = path[len] == '/';
                int found = patterns_find(p, place, path, len, is_dir);

                if (!is_dir || (found >= 0 && !patterns_negated(p, found)))
                        return found + 1;
                place = patterns_enter(p, place, path, len);
                must(place, "no memory");
                path += len + 1;
        }
}

static void write_lists(const struct lists *l, const char *dir)
{
        FILE *ignore = fopen(at(dir, ".gitignore"), "w"), *paths = fopen(at(dir, "../paths"), "w");

        must(ignore && paths, "files");
        for (unsigned i = 0; i < l->count; i++)
                fprintf(ignore, "%s\n", l->lines[i]);
        for (unsigned i = 0; i < PATHS; i++)
                fwrite(l->paths[i], 1, strlen(l->paths[i]) + 1, paths);
        must(fclose(ignore) == 0 && fclose(paths) == 0, "files");
}

static char *ask_git(const char *dir, size_t *len)
{
        char command[512];
        char *text = NULL;
        int n;

        snprintf(command, sizeof(command),
                 "cd '%s' && GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null git check-ignore --no-index -z -v -n --stdin <../paths "
                 ">../out; test $? -le 1",
                 dir);
        must(system(command) == 0, "git check-ignore");
        n = (int)fd_read_file(AT_FDCWD, at(dir, "../out"), 8 << 20, &text);
        must(n >= 0, "git's answer");
        *len = (size_t)n;
        return text;
}

/* How many paths some line decided about: a comparison of nothing would always succeed. */
static unsigned long decided;

static unsigned compare(const struct lists *l, const char *dir)
{
        const char *texts[LINES_MAX];
        struct patterns *p;
        unsigned differ = 0;
        size_t len;
        CLEANUP_FREE char *answer = NULL;
        const char *field;

        for (unsigned i = 0; i < l->count; i++)
                texts[i] = l->lines[i];
        must(patterns_new(texts, l->count, &p) == 0, "patterns_new");
        write_lists(l, dir);
        field = answer = ask_git(dir, &len);
        for (unsigned i = 0; i < PATHS; i++) {
                const char *line, *path;
                int ours, gits;

                must(field < answer + len, "git answered %u of %u paths", i, PATHS);
                line = field + strlen(field) + 1;
                path = line + strlen(line) + 1;
                path += strlen(path) + 1;
                field = path + strlen(path) + 1;
                must(strcmp(path, l->paths[i]) == 0, "git answered about another path");
                gits = atoi(line);
                ours = ask_us(p, l->paths[i]);
                decided += gits != 0;
                if (gits == ours)
                        continue;
                if (differ++ == 0)
                        printf("path \"%s\": git says line %d \"%s\", we say %d \"%s\"\n", l->paths[i], gits,
                               gits ? l->lines[gits - 1] : "", ours, ours ? l->lines[ours - 1] : "");
        }
        patterns_free(p);
        return differ;
}

int main(int argc, char **argv)
{
        unsigned long cases = argc > 1 ? strtoul(argv[1], NULL, 0) : CASES_DEFAULT;
        unsigned long long seed = argc > 2 ? strtoull(argv[2], NULL, 0) : (unsigned long long)time(NULL);
        const char *base = getenv("TMPDIR");
        struct dice dice = {seed};
        char top[256], dir[300], command[400];
        struct lists *l = malloc(sizeof(*l));
        unsigned differ = 0;

        printf("seed %llu, %lu cases\n", seed, cases);
        snprintf(top, sizeof(top), "%s/ignore.XXXXXX", base ? base : "/tmp");
        must(l && mkdtemp(top), "%s", top);
        snprintf(dir, sizeof(dir), "%s/tree", top);
        snprintf(command, sizeof(command), "git init -q '%s'", dir);
        must(system(command) == 0, "git init");
        for (unsigned long done = 0; done < cases; done += PATHS) {
                l->count = 1 + dice_roll(&dice, LINES_MAX);
                for (unsigned i = 0; i < l->count; i++)
                        draw_line(&dice, l->lines[i]);
                for (unsigned i = 0; i < PATHS; i++)
                        draw_path(&dice, l->paths[i]);
                differ += compare(l, dir);
        }
        free(l);
        remove_tree(top);
        printf("%u differences, %lu paths matched\n", differ, decided);
        return differ != 0 || decided < cases / 10;
}
