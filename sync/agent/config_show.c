#include "sync/agent/config_show.h"

#include <string.h>

#include "sync/agent/config.h"
#include "sync/agent/config_doc.h"
#include "sync/agent/config_keys.h"
#include "sync/agent/presets.h"
#include "sync/agent/ruling.h"
#include "sync/serve/why.h"

#define VALUE_WIDTH 44

static void print_quoted(FILE *to, const char *text)
{
        CLEANUP_FREE char *quoted = doc_quoted(text);

        fputs(why_text(quoted), to);
}

static const char *route_name(enum rule_route route)
{
        size_t count;
        const struct config_key *keys = config_artifact_keys(&count);
        const struct config_choice *c = config_key_find(keys, count, "route")->choices;

        while (c->word && c->value != (int)route)
                c++;
        return why_text(c->word);
}

/*
 * What is in effect
 */

static void print_list(FILE *to, const char *const *texts, size_t count)
{
        fputc('[', to);
        for (size_t i = 0; i < count; i++) {
                fputs(i ? ", " : "", to);
                print_quoted(to, texts[i]);
        }
        fputc(']', to);
}

static void print_rule(FILE *to, const struct rule *r)
{
        fputs("  - {path: ", to);
        print_quoted(to, r->pattern);
        if (r->route != RULE_ARTIFACT)
                fprintf(to, ", route: %s", route_name(r->route));
        if (r->key_count) {
                fputs(", key: ", to);
                print_list(to, r->keys, r->key_count);
        }
        if (r->on_new == RULE_COPY)
                fputs(", on_new: copy", to);
        if (r->salt) {
                fputs(", salt: ", to);
                print_quoted(to, r->salt);
        }
        if (r->seed)
                fputs(", seed: on", to);
        fprintf(to, "} # %s\n", r->origin);
}

static void print_artifacts(FILE *to, const struct config *c)
{
        fputs(c->artifacts.count ? "artifacts:\n" : "artifacts: [] # default\n", to);
        for (size_t i = 0; i < c->artifacts.count; i++)
                print_rule(to, &c->artifacts.rules[i]);
}

static void print_keep(FILE *to, const struct config *c)
{
        fputs("keep: [", to);
        for (size_t i = 0; i < c->keep.count; i++) {
                fputs(i ? ", " : "", to);
                print_quoted(to, c->keep.rules[i].pattern + 1);
        }
        fprintf(to, "] # %s\n", config_origin(c, "keep"));
}

static void print_scalar(FILE *to, const struct config *c, const struct config_key *k)
{
        CLEANUP_FREE char *value = config_key_text(&c->options, k);
        CLEANUP_FREE char *line = value ? text_new("%s: %s", k->name, value) : text_new("# %s: none", k->name);

        fprintf(to, "%-*s # %s\n", VALUE_WIDTH, why_text(line), k->kind == CONFIG_VERSION ? "required" : config_origin(c, k->name));
}

/* A name with a newline in it must not become a line of its own. */
static void print_gits(FILE *to, const struct rule *r)
{
        CLEANUP_FREE char *pattern = doc_quoted(r->pattern);
        CLEANUP_FREE char *origin = doc_quoted(r->origin);

        fprintf(to, "#   %-*s %s\n", VALUE_WIDTH - 4, why_text(pattern), why_text(origin));
}

static void print_ruling(FILE *to, const struct config *c, const struct ruling *ruling)
{
        size_t count = 0;
        const struct rule *list = ruling->rules ? rules_list(ruling->rules, &count) : NULL;

        if (ruling->note)
                fprintf(to, "# %s\n", ruling->note);
        if (!c->options.gitignored)
                return;
        fprintf(to, "# What git ignores, which comes before `artifacts`; the last that matches counts:\n");
        for (size_t i = 0; i + c->artifacts.count < count; i++)
                print_gits(to, &list[i]);
}

void config_show(FILE *to, const struct config *c, const struct ruling *ruling)
{
        size_t count;
        const struct config_key *keys = config_keys(&count);

        for (size_t i = 0; i < c->file_count; i++)
                fprintf(to, "# %s%s\n", c->files[i].path, c->files[i].found ? "" : " (there is none)");
        for (size_t i = 0; i < count; i++) {
                if (!(keys[i].setters & CONFIG_USER))
                        continue;
                if (keys[i].kind == CONFIG_ARTIFACTS)
                        print_artifacts(to, c);
                else if (keys[i].kind == CONFIG_LIST)
                        print_keep(to, c);
                else
                        print_scalar(to, c, &keys[i]);
        }
        print_ruling(to, c, ruling);
}

/*
 * The sample
 */

static const char sample_head[] =
        "# All that can be configured, with the defaults; `dsfs config show --defaults` prints this.\n"
        "# Files, of which the later win: dsfs.yaml at the source's root, /etc/dsfs/config.yaml (root's agents only),\n"
        "# $XDG_CONFIG_HOME/dsfs/config.yaml (~/.config/dsfs/config.yaml), or the one that DSFS_CFG_PATH names in its place;\n"
        "# then `dsfs mount -o KEY=VALUE`. Lists of artifacts are put one behind the other, every other key is replaced.\n"
        "# [c]: a checkout's dsfs.yaml may set it, too. [o]: -o sets it. [s]: the source's, all its mounts share it.\n";

static const char sample_artifacts[] = "# artifacts:\n"
                                       "#   - path: node_modules/\n"
                                       "#     key: [package-lock.json]\n"
                                       "#   - preset: python\n"
                                       "#   - path: \"*.secret\"\n"
                                       "#     route: hidden\n";

static void print_marks(FILE *to, unsigned setters)
{
        fprintf(to, "%s%s%s", setters & CONFIG_CHECKOUT ? " [c]" : "", setters & CONFIG_COMMAND ? " [o]" : "",
                setters & CONFIG_SHARED ? " [s]" : "");
}

static void print_entry_keys(FILE *to)
{
        size_t count;
        const struct config_key *keys = config_artifact_keys(&count);

        fputs("# Exactly one of path and preset stands in an entry:\n", to);
        for (size_t i = 0; i < count; i++) {
                fprintf(to, "#   %-7s %s", keys[i].name, keys[i].about);
                if (keys[i].choices)
                        fprintf(to, " (%s; default %s)", keys[i].allowed, keys[i].fallback);
                fputc('\n', to);
        }
}

static void print_sample_key(FILE *to, const struct config *defaults, const struct config_key *k)
{
        CLEANUP_FREE char *value = config_key_text(&defaults->options, k);

        fprintf(to, "\n# %s (%s)", k->about, k->allowed);
        print_marks(to, k->setters);
        fputc('\n', to);
        if (k->kind == CONFIG_ARTIFACTS) {
                print_entry_keys(to);
                fputs(sample_artifacts, to);
        } else if (k->kind == CONFIG_LIST) {
                fputs("# keep: [", to);
                for (size_t i = 0; i < defaults->keep.count; i++)
                        fprintf(to, "%s\"%s\"", i ? ", " : "", defaults->keep.rules[i].pattern + 1);
                fputs("]\n", to);
        } else if (k->kind == CONFIG_VERSION) {
                fprintf(to, "%s: %s\n", k->name, k->allowed);
        } else {
                fprintf(to, "# %s:%s%s\n", k->name, k->fallback ? " " : "", k->fallback ? value : "");
        }
}

static void print_preset(FILE *to, const struct preset *p)
{
        fprintf(to, "#\n# preset %s: %s\n", p->name, p->about);
        for (const struct preset_rule *r = p->rules; r->pattern; r++) {
                fprintf(to, "#   %s", r->pattern);
                for (size_t i = 0; i < PRESET_KEYS_MAX && r->keys[i]; i++)
                        fprintf(to, "%s%s", i ? ", " : "   key: ", r->keys[i]);
                fprintf(to, "%s\n", r->on_new == RULE_COPY ? "   on_new: copy" : "");
        }
}

void config_show_sample(FILE *to)
{
        size_t count, preset_count;
        const struct config_key *keys = config_keys(&count);
        const struct preset *list = presets(&preset_count);
        struct config *defaults = config_new("/");

        if (!defaults)
                return;
        fputs(sample_head, to);
        for (size_t i = 0; i < count; i++) {
                if (keys[i].setters & CONFIG_USER)
                        print_sample_key(to, defaults, &keys[i]);
        }
        fputs("\n# The presets. They have only what tools alone write: no dist/, no build/, no compiled CSS.\n", to);
        for (size_t i = 0; i < preset_count; i++)
                print_preset(to, &list[i]);
        config_free(defaults);
}
