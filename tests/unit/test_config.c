/*
 * Configuration files: what they set, whose word counts, and where an error is said to be.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sync/agent/config.h"
#include "sync/agent/config_doc.h"
#include "sync/agent/config_keys.h"
#include "sync/agent/presets.h"
#include "tests/lib/mount.h"

static char base[64], source[96], users[96];

static void start(void)
{
        const char *tmp = getenv("TMPDIR");
        char dir[96];

        snprintf(base, sizeof(base), "%s/cfg.XXXXXX", tmp ? tmp : "/tmp");
        cr_assert(mkdtemp(base));
        snprintf(source, sizeof(source), "%s/app", base);
        snprintf(users, sizeof(users), "%s/dsfs/config.yaml", base);
        snprintf(dir, sizeof(dir), "%s/dsfs", base);
        cr_assert(mkdir(source, 0755) == 0 && mkdir(dir, 0755) == 0);
        setenv("XDG_CONFIG_HOME", base, 1);
        unsetenv("DSFS_CFG_PATH");
}

static void stop(void)
{
        remove_tree(base);
}

TestSuite(config, .init = start, .fini = stop);

static struct config *loaded(const char *command)
{
        struct config *c = NULL;
        CLEANUP_FREE char *why = NULL;

        cr_assert_eq(config_load(source, command, &c, &why), 0, "%s", why ? why : "?");
        return c;
}

static void in_source(const char *text)
{
        put_text(at(source, "dsfs.yaml"), text);
}

static const struct rule *rule_at(const struct config *c, size_t i)
{
        cr_assert_lt(i, c->artifacts.count);
        return &c->artifacts.rules[i];
}

Test(config, nothing_is_the_defaults)
{
        struct config *c = loaded(NULL);

        cr_assert(c->options.profile == FS_PROFILE_SOURCE && c->options.squash && !c->options.gitignored);
        cr_assert_eq(c->options.overlay_budget, 20ULL << 30);
        cr_assert_eq(c->options.view_uid, FS_VIEW_AS_IS);
        cr_assert_eq(c->artifacts.count, 0);
        cr_assert_str_eq(c->keep.rules[0].pattern, "!.env*");
        cr_assert_str_eq(config_origin(c, "profile"), "default");
        config_free(c);
}

Test(config, an_entry_has_all_that_is_written)
{
        struct config *c;

        in_source("version: 1\nartifacts:\n"
                  "  - path: node_modules/\n    key: [package-lock.json, yarn.lock]\n    on_new: copy\n    salt: amd64\n    seed: true\n"
                  "  - path: \"*.secret\"\n    route: hidden\n");
        c = loaded(NULL);
        cr_assert_eq(c->artifacts.count, 2);
        cr_assert_str_eq(rule_at(c, 0)->pattern, "node_modules/");
        cr_assert_eq(rule_at(c, 0)->key_count, 2);
        cr_assert_str_eq(rule_at(c, 0)->keys[1], "yarn.lock");
        cr_assert(rule_at(c, 0)->on_new == RULE_COPY && rule_at(c, 0)->seed && rule_at(c, 0)->route == RULE_ARTIFACT);
        cr_assert_str_eq(rule_at(c, 0)->salt, "amd64");
        cr_assert_str_eq(rule_at(c, 0)->origin, "dsfs.yaml:3");
        cr_assert_eq(rule_at(c, 1)->route, RULE_HIDDEN);
        cr_assert_eq(rule_at(c, 1)->on_new, RULE_EMPTY);
        config_free(c);
}

Test(config, later_wins_and_artifacts_add_up)
{
        struct config *c;

        in_source("version: 1\nartifacts: [{path: a}]\ngitignored: on\nkeep: [x]\ncoherence: strict\n");
        put_text(users, "version: 1\nartifacts: [{path: b}]\ncoherence: events\nkeep: [y, z]\nprofile: data\noverlay_budget: 3MiB\n"
                        "view_uid: 1000\n");
        c = loaded("profile=source,ro");
        cr_assert_str_eq(rule_at(c, 0)->pattern, "a");
        cr_assert_str_eq(rule_at(c, 1)->pattern, "b");
        cr_assert(c->options.gitignored);
        cr_assert_eq(c->options.coherence, ENGINE_COHERENCE_EVENTS);
        cr_assert_eq(c->options.profile, FS_PROFILE_SOURCE);
        cr_assert_eq(c->options.overlay_budget, 3U << 20);
        cr_assert_eq(c->options.view_uid, 1000);
        cr_assert_eq(c->keep.count, 2);
        cr_assert_str_eq(c->keep.rules[1].pattern, "!z");
        cr_assert_str_eq(config_origin(c, "gitignored"), "dsfs.yaml:3");
        cr_assert_str_eq(config_origin(c, "profile"), "-o");
        cr_assert_str_eq(config_origin(c, "readonly"), "-o");
        cr_assert_str_eq(config_origin(c, "overlay_budget"), at(base, "dsfs/config.yaml:6"));
        config_free(c);
}

Test(config, what_files_say_can_be_said_as_options)
{
        struct config *c;
        CLEANUP_FREE char *all = NULL;
        CLEANUP_FREE char *own = NULL;

        in_source("version: 1\ngitignored: true\n");
        put_text(users, "version: 1\nowner: keep\nview_gid: 7\noverlay_budget: 2048\n");
        c = loaded(NULL);
        all = config_options_text(c, true);
        own = config_options_text(c, false);
        cr_assert_str_eq(all, "gitignored=on,owner=keep,overlay_budget=2KiB,view_gid=7");
        cr_assert_str_eq(own, "owner=keep,view_gid=7");
        config_free(c);
}

Test(config, a_named_file_stands_in_for_the_users)
{
        struct config *c = NULL;
        CLEANUP_FREE char *why = NULL;

        put_text(users, "version: 1\nprofile: data\n");
        put_text(at(base, "mine.yaml"), "version: 1\nowner: keep\n");
        setenv("DSFS_CFG_PATH", at(base, "mine.yaml"), 1);
        c = loaded(NULL);
        cr_assert_eq(c->options.profile, FS_PROFILE_SOURCE);
        cr_assert_not(c->options.squash);
        config_free(c);
        setenv("DSFS_CFG_PATH", at(base, "none.yaml"), 1);
        cr_assert_eq(config_load(source, NULL, &c, &why), -ENOENT);
        cr_assert(strstr(why, "none.yaml") && strstr(why, "DSFS_CFG_PATH"), "%s", why);
}

Test(config, a_checkout_can_not_lead_elsewhere)
{
        struct config *c = NULL;
        CLEANUP_FREE char *why = NULL;

        put_text(at(base, "other"), "version: 1\n");
        cr_assert_eq(symlink("../other", at(source, "dsfs.yaml")), 0);
        cr_assert_eq(config_load(source, NULL, &c, &why), -ELOOP);
        cr_assert(strstr(why, "is no file"), "%s", why);
        free(steal_ptr(&why));
        cr_assert_eq(unlink(at(source, "dsfs.yaml")), 0);
        cr_assert_eq(mkfifo(at(source, "dsfs.yaml"), 0644), 0);
        cr_assert_eq(config_load(source, NULL, &c, &why), -EINVAL);
}

/* What is wrong where, and what would be right. */
static const struct {
        const char *text, *where, *said, *expected;
} wrong[] = {
        {"", "1:1", "nothing here", "version: 1"},
        {"# only a comment\n", "2:1", "nothing here", "version: 1"},
        {"text\n", "1:1", "is a text", "version: 1"},
        {"- version: 1\n", "1:1", "is a list", "version: 1"},
        {"gitignored: on\n", "1:1", "version is missing", "version: 1"},
        {"version: 2\n", "1:10", "version is \"2\"", "expected is 1"},
        {"version: [1]\n", "1:10", "version is a list", "expected is 1"},
        {"version: 1\nspeed: 3\n", "2:1", "no key speed", "artifacts, gitignored, keep, coherence"},
        {"version: 1\nversion: 1\n", "2:1", "version is given again", "first is in line 1"},
        {"version: 1\nprofile: data\n", "2:1", "profile is not a checkout's", "artifacts, gitignored, keep, coherence; put it into"},
        {"version: 1\noverlay_budget: 1\n", "2:1", "overlay_budget is not a checkout's", "-o overlay_budget"},
        {"version: 1\nname: x\n", "2:1", "name is only for the command line", "-o name"},
        {"version: 1\ngitignored: maybe\n", "2:13", "gitignored is \"maybe\"", "on, off"},
        {"version: 1\ngitignored:\n", "2:12", "gitignored is \"\"", "on, off"},
        {"version: 1\ncoherence: {a: b}\n", "2:12", "coherence is a map", "auto, events, strict"},
        {"version: 1\nkeep: .env\n", "2:7", "keep is .env", "a list of patterns"},
        {"version: 1\nkeep: [\"!a\"]\n", "2:8", "keep is !a", "without !"},
        {"version: 1\nkeep: [[a]]\n", "2:8", "keep is a list", "a pattern"},
        {"version: 1\nartifacts: node\n", "2:12", "artifacts is node", "a list of rules"},
        {"version: 1\nartifacts: [node]\n", "2:13", "an entry of artifacts is node", "a map with path or preset"},
        {"version: 1\nartifacts:\n  - key: [a]\n", "3:5", "neither path nor preset", "exactly one"},
        {"version: 1\nartifacts:\n  - {path: a, preset: node}\n", "3:5", "path and preset", "exactly one"},
        {"version: 1\nartifacts:\n  - path: a\n    rout: source\n", "4:5", "no key rout", "on_new, salt, seed, route"},
        {"version: 1\nartifacts:\n  - path: a\n    route: hide\n", "4:12", "route is hide", "artifact, source, hidden, readonly"},
        {"version: 1\nartifacts:\n  - path: a\n    on_new: full\n", "4:13", "on_new is full", "empty, copy"},
        {"version: 1\nartifacts:\n  - path: a\n    seed: 1\n", "4:11", "seed is 1", "on, off"},
        {"version: 1\nartifacts:\n  - path: a\n    path: b\n", "4:5", "path is given again", "line 3"},
        {"version: 1\nartifacts:\n  - path: \"[a\"\n", "3:11", "path is [a", "open brackets"},
        {"version: 1\nartifacts:\n  - path: ./a\n", "3:11", "path is ./a", "without . and .."},
        {"version: 1\nartifacts:\n  - path: a/../b\n", "3:11", "path is a/../b", "without . and .."},
        {"version: 1\nartifacts:\n  - path: /\n", "3:11", "path is /", "match something"},
        {"version: 1\nartifacts:\n  - path: \"\"\n", "3:11", "path is nothing", "as in .gitignore"},
        {"version: 1\nartifacts:\n  - path: a\n    key: b\n", "4:10", "key is b", "a list of paths"},
        {"version: 1\nartifacts:\n  - path: a\n    key: []\n", "4:10", "key is a list", "a list of paths"},
        {"version: 1\nartifacts:\n  - path: a\n    key: [../b]\n", "4:11", "key is ../b", "without . and .."},
        {"version: 1\nartifacts:\n  - path: a\n    key: [/b]\n", "4:11", "key is /b", "relative"},
        {"version: 1\nartifacts:\n  - {path: a, key: [b], route: hidden}\n", "3:15", "only artifacts", "route: artifact"},
        {"version: 1\nartifacts:\n  - {preset: node, key: [b]}\n", "3:20", "a preset has keys", "beside path"},
        {"version: 1\nartifacts:\n  - preset: perl\n", "3:13", "preset is perl", "python, node, sass, ruby, rust, java, webpack"},
        {"version: 1\nkeep: [a\n", "3:1", "no YAML", "flow sequence"},
        {"version: 1\n\tkeep: [a]\n", "2:1", "no YAML", "tab character"},
        {"version: 1\nkeep: &x [a]\n", "2:7", "anchors", "no meaning"},
        {"version: 1\nkeep: [*x]\n", "2:8", "alias", "the text itself"},
        {"version: 1\nkeep: !!seq [a]\n", "2:7", "tags", "quotes"},
        {"version: 1\nkeep: [\"a\\0b\"]\n", "2:8", "NUL", "NUL"},
        {"version: 1\n[a]: 1\n", "2:1", "no key", "a name and a colon"},
        {"version: 1\n---\nversion: 1\n", "2:1", "second document", "one"},
        {"version: 1\nkeep: [\xff]\n", "2:8", "no text", "UTF-8"},
        {"version: 1\nkeep: [[[[[[[[[[a]]]]]]]]]]\n", "2:14", "nested too deep", "8 levels"},
};

Test(config, errors_say_where_and_what_was_expected)
{
        for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
                CLEANUP_FREE char *why = NULL;
                struct config *c = NULL;

                in_source(wrong[i].text);
                cr_assert_eq(config_load(source, NULL, &c, &why), -EINVAL, "taken: %s", wrong[i].text);
                cr_assert(strstr(why, at(source, "dsfs.yaml:%s: ", wrong[i].where)), "not at %s: %s\n%s", wrong[i].where, why,
                          wrong[i].text);
                cr_assert(strstr(why, wrong[i].said) && strstr(why, wrong[i].expected), "%s\n%s", why, wrong[i].text);
        }
}

Test(config, what_is_too_large_is_refused)
{
        static char text[DOC_BYTES_MAX + 64];
        CLEANUP_FREE char *why = NULL;
        CLEANUP_FREE char *many = NULL;
        struct config *c = NULL;

        memset(text, '#', sizeof(text) - 1);
        in_source(text);
        cr_assert_eq(config_load(source, NULL, &c, &why), -EINVAL);
        cr_assert(strstr(why, "dsfs.yaml:1:1: ") && strstr(why, "too large"), "%s", why);
        strcpy(text, "version: 1\nkeep: [");
        for (size_t i = 0; i <= DOC_NODES_MAX; i++)
                strcat(text + 18 + 2 * i, "a,");
        strcat(text, "]\n");
        in_source(text);
        cr_assert_eq(config_load(source, NULL, &c, &many), -EINVAL);
        cr_assert(strstr(many, "too many values"), "%s", many);
}

Test(config, presets_expand_with_their_keys)
{
        struct config *c;
        size_t i = 0;

        in_source("version: 1\nartifacts:\n  - preset: node\n    salt: arm64\n  - path: \"!node_modules/\"\n");
        c = loaded(NULL);
        while (strcmp(rule_at(c, i)->pattern, "node_modules/") != 0)
                i++;
        cr_assert_str_eq(rule_at(c, i)->keys[0], "package-lock.json");
        cr_assert_str_eq(rule_at(c, i)->salt, "arm64");
        cr_assert_str_eq(rule_at(c, i)->origin, "preset node, dsfs.yaml:3");
        cr_assert_str_eq(rule_at(c, c->artifacts.count - 1)->pattern, "!node_modules/");
        config_free(c);
}

/* The route of a path ("dir/" for a directory) by one preset alone: true for an artifact, or within one. */
static bool makes_artifact(const char *preset, const char *path)
{
        struct rule_list l = {0};
        const struct rule_list *lists[] = {&l};
        const struct pattern_place *place;
        struct rules *rules;
        bool found = false;

        cr_assert_eq(preset_add(preset_find(preset), &(struct rule){.on_new = RULE_EMPTY}, "test", &l), 0);
        cr_assert_eq(rule_list_compile(lists, 1, &rules), 0);
        place = rules_root(rules);
        while (*path && !found) {
                size_t len = strcspn(path, "/");
                const struct rule *r = rules_find(rules, place, path, len, path[len] == '/');

                found = r && r->route == RULE_ARTIFACT;
                place = rules_enter(rules, place, path, len);
                path += len + (path[len] == '/');
        }
        rules_free(rules);
        rule_list_release(&l);
        return found;
}

Test(config, presets_leave_alone_what_people_write)
{
        static const struct {
                const char *preset, *path;
                bool artifact;
        } cases[] = {
                {"python", "a/__pycache__/x.pyc", true},
                {"python", "a/b.pyo", true},
                {"python", "x.egg-info/PKG-INFO", true},
                {"python", ".coverage", true},
                {"python", ".coverage.host.1", true},
                {"python", ".coveragerc", false},
                {"python", "build/lib/x.py", false},
                {"python", "dist/x", false},
                {"python", "setup.py", false},
                {"node", "a/node_modules/b/", true},
                {"node", "x.tsbuildinfo", true},
                {"node", "dist/x.js", false},
                {"node", "package.json", false},
                {"node", "web/.angular/cache/x", true},
                {"node", ".npmrc", false},
                {"sass", "a/b.css.map", true},
                {"sass", "a/b.css", false},
                {"ruby", "vendor/bundle/x", true},
                {"ruby", "vendor/cache/x.gem", false},
                {"ruby", "api/log/test.log", true},
                {"rust", "target/debug/x", true},
                {"rust", "crates/a/target/", true},
                {"rust", "src/target/mod.rs", false},
                {"rust", "a/src/b/target/mod.rs", false},
                {"java", "m/target/classes/A", true},
                {"java", "m/src/main/java/target/A.java", false},
                {"java", "build/libs/x.jar", true},
                {"java", "build/build.sh", false},
                {"java", "A.class", true},
                {"webpack", "webpack-worker-stats.json", true},
                {"webpack", "webpack.config.js", false},
                {"webpack", "a/b.hot-update.js", true},
                {"webpack", "dist/x.js", false},
        };

        for (size_t i = 0; i < ARRAY_LEN(cases); i++)
                cr_assert_eq(makes_artifact(cases[i].preset, cases[i].path), cases[i].artifact, "%s: %s", cases[i].preset, cases[i].path);
}

Test(config, every_pattern_of_a_preset_can_match)
{
        size_t count;
        const struct preset *all = presets(&count);

        for (size_t i = 0; i < count; i++) {
                struct rule_list l = {0};
                const struct rule_list *lists[] = {&l};
                struct rules *rules;

                cr_assert_eq(preset_add(&all[i], &(struct rule){.on_new = RULE_EMPTY}, "test", &l), 0);
                cr_assert_eq(rule_list_compile(lists, 1, &rules), 0);
                for (size_t k = 0; k < l.count; k++)
                        cr_assert(rules_can_match(rules, k), "%s", l.rules[k].pattern);
                rules_free(rules);
                rule_list_release(&l);
        }
}

/* Each key takes its own default, and says what it is. */
Test(config, the_table_is_whole)
{
        size_t count;
        const struct config_key *keys = config_keys(&count);

        cr_assert_leq(count, CONFIG_KEYS_MAX);
        for (size_t i = 0; i < count; i++) {
                struct mount_options o;
                CLEANUP_FREE char *text = NULL;

                mount_options_init(&o);
                cr_assert(keys[i].allowed && (keys[i].about || i > 0));
                cr_assert_eq(config_key_find(keys, count, keys[i].name), &keys[i], "%s twice", keys[i].name);
                text = config_key_text(&o, &keys[i]);
                if (keys[i].fallback)
                        cr_assert_str_eq(text, keys[i].fallback);
        }
}
