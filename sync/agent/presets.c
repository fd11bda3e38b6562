#include "sync/agent/presets.h"

#include <errno.h>
#include <string.h>

/* clang-format off */
static const struct preset_rule python[] = {
        {"__pycache__/", {0}, 0},
        {"*.py[co]", {0}, 0},
        {"*.egg-info/", {"setup.py", "setup.cfg", "pyproject.toml"}, 0},
        {".eggs/", {0}, 0},
        {".venv/", {"uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock", "requirements.txt"}, RULE_COPY},
        {".pytest_cache/", {0}, 0},
        {".mypy_cache/", {0}, 0},
        {".ruff_cache/", {0}, 0},
        {".hypothesis/", {0}, 0},
        {".tox/", {0}, 0},
        {".nox/", {0}, 0},
        {".coverage", {0}, 0},
        {".coverage.*", {0}, 0},
        {"!.coveragerc", {0}, 0},
        {"htmlcov/", {0}, 0},
        {0},
};

static const struct preset_rule node[] = {
        {"node_modules/", {"package-lock.json", "npm-shrinkwrap.json", "yarn.lock", "pnpm-lock.yaml", "bun.lock"}, 0},
        {".npm/", {0}, 0},
        {".pnpm-store/", {0}, 0},
        {".eslintcache", {0}, 0},
        {".stylelintcache", {0}, 0},
        {"*.tsbuildinfo", {0}, 0},
        {".nyc_output/", {0}, 0},
        {".parcel-cache/", {0}, 0},
        {".turbo/", {0}, 0},
        {".next/", {0}, 0},
        {".nuxt/", {0}, 0},
        {".svelte-kit/", {0}, 0},
        {"**/.angular/cache/", {0}, 0},
        {"npm-debug.log*", {0}, 0},
        {"yarn-debug.log*", {0}, 0},
        {"yarn-error.log*", {0}, 0},
        {0},
};

static const struct preset_rule sass[] = {
        {".sass-cache/", {0}, 0},
        {"*.css.map", {0}, 0},
        {"*.sass.map", {0}, 0},
        {"*.scss.map", {0}, 0},
        {0},
};

static const struct preset_rule ruby[] = {
        {"**/vendor/bundle/", {"Gemfile.lock"}, 0},
        {".bundle/", {0}, 0},
        {".yardoc/", {0}, 0},
        {"**/tmp/cache/", {0}, 0},
        {"**/tmp/pids/", {0}, 0},
        {"**/log/*.log", {0}, 0},
        {0},
};

static const struct preset_rule rust[] = {
        {"target/", {0}, 0},
        {"!**/src/**/target/", {0}, 0},
        {"*.rs.bk", {0}, 0},
        {0},
};

static const struct preset_rule java[] = {
        {"target/", {0}, 0},
        {"!**/src/**/target/", {0}, 0},
        {".gradle/", {0}, 0},
        {".kotlin/", {0}, 0},
        {"**/build/classes/", {0}, 0},
        {"**/build/generated/", {0}, 0},
        {"**/build/kotlin/", {0}, 0},
        {"**/build/libs/", {0}, 0},
        {"**/build/reports/", {0}, 0},
        {"**/build/resources/", {0}, 0},
        {"**/build/test-results/", {0}, 0},
        {"**/build/tmp/", {0}, 0},
        {"!**/src/**/build/*/", {0}, 0},
        {"*.class", {0}, 0},
        {"hs_err_pid*.log", {0}, 0},
        {0},
};

static const struct preset_rule webpack[] = {
        {".webpack/", {0}, 0},
        {".webpack-cache/", {0}, 0},
        {"webpack_bundles/", {0}, 0},
        {"webpack-stats.json", {0}, 0},
        {"webpack-*-stats.json", {0}, 0},
        {"*.hot-update.js", {0}, 0},
        {"*.hot-update.mjs", {0}, 0},
        {"*.hot-update.json", {0}, 0},
        {"*.hot-update.js.map", {0}, 0},
        {0},
};
/* clang-format on */

static const struct preset all[] = {
        {"python", "byte code, egg-info, environments and caches", python},
        {"node", "node_modules and the caches of what builds with it", node},
        {"sass", "its cache and source maps; name the compiled CSS yourself", sass},
        {"ruby", "installed gems, caches and logs", ruby},
        {"rust", "target/, but not in src/", rust},
        {"java", "what Maven and Gradle build, but not in src/", java},
        {"webpack", "its cache, statistics and hot updates; name the output directory yourself", webpack},
};

const struct preset *presets(size_t *count)
{
        *count = ARRAY_LEN(all);
        return all;
}

const struct preset *preset_find(const char *name)
{
        for (size_t i = 0; i < ARRAY_LEN(all); i++) {
                if (strcmp(all[i].name, name) == 0)
                        return &all[i];
        }
        return NULL;
}

static size_t key_count(const struct preset_rule *r)
{
        size_t count = 0;

        while (count < PRESET_KEYS_MAX && r->keys[count])
                count++;
        return count;
}

int preset_add(const struct preset *p, const struct rule *like, const char *origin, struct rule_list *l)
{
        const char *where = rule_list_text(l, "preset %s, %s", p->name, origin);
        int rc = 0;

        for (const struct preset_rule *r = p->rules; r->pattern && rc == 0; r++) {
                struct rule made = *like;

                made.pattern = r->pattern;
                made.route = RULE_ARTIFACT;
                made.key_count = key_count(r);
                made.keys = made.key_count ? r->keys : NULL;
                /* Without a key there are no generations. */
                made.salt = made.key_count ? like->salt : NULL;
                made.on_new = !made.key_count ? RULE_EMPTY : like->on_new == RULE_EMPTY ? r->on_new : like->on_new;
                made.origin = where;
                rc = rule_list_add(l, made);
        }
        return rc;
}
