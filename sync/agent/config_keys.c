#include "sync/agent/config_keys.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>

#include "sync/serve/why.h"

#define FEWEST_FDS 64
#define TEN 10

#define CHECKOUT_TOO (CONFIG_CHECKOUT | CONFIG_USER)
#define NOT_CHECKOUT (CONFIG_USER | CONFIG_COMMAND)
#define ALL (CONFIG_CHECKOUT | CONFIG_USER | CONFIG_COMMAND)

static const struct config_choice profiles[] = {{"source", FS_PROFILE_SOURCE}, {"data", FS_PROFILE_DATA}, {0}};
static const struct config_choice transports[] = {
        {"auto", FS_TRANSPORT_AUTO}, {"uring", FS_TRANSPORT_URING}, {"dev", FS_TRANSPORT_DEV}, {0}};
static const struct config_choice watches[] = {{"auto", WATCH_AUTO}, {"fanotify", WATCH_FANOTIFY}, {"inotify", WATCH_INOTIFY}, {0}};
static const struct config_choice coherences[] = {
        {"auto", ENGINE_COHERENCE_AUTO}, {"events", ENGINE_COHERENCE_EVENTS}, {"strict", ENGINE_COHERENCE_STRICT}, {0}};
static const struct config_choice switches[] = {{"on", true}, {"off", false}, {"true", true}, {"false", false}, {0}};
static const struct config_choice owners[] = {{"squash", true}, {"keep", false}, {0}};
static const struct config_choice routes[] = {
        {"artifact", RULE_ARTIFACT}, {"source", RULE_SOURCE}, {"hidden", RULE_HIDDEN}, {"readonly", RULE_READONLY}, {0}};
static const struct config_choice news[] = {{"empty", RULE_EMPTY}, {"copy", RULE_COPY}, {0}};

#define AT(member) offsetof(struct mount_options, member)

/* clang-format off */
static const struct config_key keys[] = {
        {"version", CONFIG_VERSION, 0, CHECKOUT_TOO, "1", NULL, NULL, "of this form; required in every file"},
        {"artifacts", CONFIG_ARTIFACTS, 0, CHECKOUT_TOO, "a list of rules", NULL, NULL,
         "what tools generate; the last rule that matches counts, yours come after the checkout's"},
        {"gitignored", CONFIG_FLAG, AT(gitignored), ALL | CONFIG_SHARED, "on, off", "off", switches,
         "make artifacts of all that git ignores, before the rules of `artifacts`"},
        {"keep", CONFIG_LIST, 0, CHECKOUT_TOO, "a list of patterns", NULL, NULL, "what stays the source's though git ignores it"},
        {"coherence", CONFIG_ENUM, AT(coherence), ALL | CONFIG_SHARED, "auto, events, strict", "auto", coherences,
         "strict keeps nothing cached, for sources without events"},
        {"profile", CONFIG_ENUM, AT(profile), NOT_CHECKOUT, "source, data", "source", profiles,
         "data: large or much-written files, passed through (needs root)"},
        {"owner", CONFIG_FLAG, AT(squash), NOT_CHECKOUT, "squash, keep", "squash", owners,
         "squash: what is created belongs to the source's owner"},
        {"overlay_budget", CONFIG_SIZE, AT(overlay_budget), NOT_CHECKOUT | CONFIG_SHARED, "bytes, or with KiB, MiB, GiB, TiB", "20GiB", NULL,
         "what past generations of artifacts may take on disk"},
        {"view_uid", CONFIG_ID, AT(view_uid), NOT_CHECKOUT, "a number", NULL, NULL, "show all files as this user's (as they are)"},
        {"view_gid", CONFIG_ID, AT(view_gid), NOT_CHECKOUT, "a number", NULL, NULL, "show all files as this group's (as they are)"},
        {"transport", CONFIG_ENUM, AT(transport), NOT_CHECKOUT, "auto, uring, dev", "auto", transports,
         "how requests reach the agent; auto takes io_uring if there is"},
        {"watch", CONFIG_ENUM, AT(watch), NOT_CHECKOUT | CONFIG_SHARED, "auto, fanotify, inotify", "auto", watches,
         "how changes of the source are seen; fanotify needs root"},
        {"prewarm", CONFIG_FLAG, AT(prewarm), NOT_CHECKOUT, "on, off", "on", switches,
         "read names and small files in the background after mounting"},
        {"replay", CONFIG_FLAG, AT(replay), NOT_CHECKOUT, "on, off", "on", switches,
         "let inotify watchers of the mount hear of the host's edits (needs fanotify)"},
        {"xattr", CONFIG_FLAG, AT(xattr), NOT_CHECKOUT, "on, off", "on", switches, "extended attributes and ACLs"},
        {"readonly", CONFIG_BARE, AT(readonly), NOT_CHECKOUT, "on, off, or no value", "off", switches,
         "refuse all changes through the mount (also: ro)"},
        {"ro", CONFIG_BARE, AT(readonly), CONFIG_COMMAND, "on, off, or no value", NULL, switches, NULL},
        {"allow_other", CONFIG_BARE, AT(allow_other), NOT_CHECKOUT, "on, off, or no value", NULL, switches,
         "let other users in (root: on; else off)"},
        {"name", CONFIG_NAME, AT(name), CONFIG_COMMAND, "a name without slashes", NULL, NULL,
         "how the mount is called (the folder's name)"},
        {"max_fds", CONFIG_COUNT, AT(max_fds), NOT_CHECKOUT, "a number from 64", NULL, NULL,
         "descriptors to keep open at most (by the limit)"},
};

#undef AT
#define AT(member) offsetof(struct config_artifact, member)

static const struct config_key artifact_keys[] = {
        {"path", CONFIG_TEXT, AT(path), 0, "a pattern as in .gitignore", NULL, NULL,
         "what it is about: a pattern as in .gitignore, relative to the source; with an inner slash it is anchored"},
        {"preset", CONFIG_TEXT, AT(preset), 0, "the name of a preset", NULL, NULL, "rules for a kind of project, in place of path"},
        {"key", CONFIG_LIST, 0, 0, "a list of paths", NULL, NULL,
         "files that it is made from: for each content of theirs it has a generation of its own"},
        {"on_new", CONFIG_ENUM, AT(on_new), 0, "empty, copy", "empty", news, "what a new generation begins with: nothing, or the last one's"},
        {"salt", CONFIG_TEXT, AT(salt), 0, "a text", NULL, NULL, "goes into the key too, an image's digest or a platform"},
        {"seed", CONFIG_FLAG, AT(seed), 0, "on, off", "off", switches, "a generation begins with what the source has there"},
        {"route", CONFIG_ENUM, AT(route), 0, "artifact, source, hidden, readonly", "artifact", routes, "whose what matches is"},
};
/* clang-format on */

static_assert(sizeof(enum fs_transport) == sizeof(int) && sizeof(enum rule_route) == sizeof(int), "ENUM keys are stored as int");

static const struct {
        const char *suffix;
        unsigned shift;
} units[] = {{"TiB", 40}, {"GiB", 30}, {"MiB", 20}, {"KiB", 10}, {"", 0}};

const struct config_key *config_keys(size_t *count)
{
        *count = ARRAY_LEN(keys);
        return keys;
}

const struct config_key *config_artifact_keys(size_t *count)
{
        *count = ARRAY_LEN(artifact_keys);
        return artifact_keys;
}

const struct config_key *config_key_find(const struct config_key *list, size_t count, const char *name)
{
        for (size_t i = 0; i < count; i++) {
                if (strcmp(list[i].name, name) == 0)
                        return &list[i];
        }
        return NULL;
}

static bool set_text(char **field, const char *value)
{
        char *copy = strdup(value);

        if (!copy)
                return false;
        free(*field);
        *field = copy;
        return true;
}

static bool is_name(const char *value)
{
        size_t len = strlen(value);

        return len > 0 && len <= NAME_MAX && !strchr(value, '/') && strcmp(value, ".") != 0 && strcmp(value, "..") != 0;
}

/* The digits at the start of `value`; *end is behind them. */
static bool number(const char *value, uint64_t *ret, const char **end)
{
        char *stop;

        if (*value < '0' || *value > '9')
                return false;
        errno = 0;
        *ret = strtoull(value, &stop, TEN);
        *end = stop;
        return errno == 0;
}

static bool set_number(void *field, enum config_kind kind, const char *value)
{
        const char *end;
        uint64_t n;

        if (!number(value, &n, &end))
                return false;
        if (kind == CONFIG_COUNT && (*end || n < FEWEST_FDS || n > INT_MAX))
                return false;
        if (kind == CONFIG_ID && (*end || n >= UINT32_MAX))
                return false;
        if (kind == CONFIG_COUNT)
                *(unsigned *)field = (unsigned)n;
        else if (kind == CONFIG_ID)
                *(uid_t *)field = (uid_t)n;
        if (kind != CONFIG_SIZE)
                return true;
        for (size_t i = 0; i < ARRAY_LEN(units); i++) {
                if (strcmp(end, units[i].suffix) == 0 && n <= UINT64_MAX >> units[i].shift) {
                        *(uint64_t *)field = n << units[i].shift;
                        return true;
                }
        }
        return false;
}

static bool set_choice(void *field, const struct config_key *k, const char *value)
{
        for (const struct config_choice *c = k->choices; c->word; c++) {
                if (strcmp(c->word, value) != 0)
                        continue;
                if (k->kind == CONFIG_ENUM)
                        *(int *)field = c->value;
                else
                        *(bool *)field = c->value;
                return true;
        }
        return false;
}

bool config_key_set(void *object, const struct config_key *k, const char *value)
{
        void *field = (char *)object + k->offset;

        if (!value && k->kind == CONFIG_BARE)
                value = "on";
        if (!value)
                return false;
        switch (k->kind) {
        case CONFIG_ENUM:
        case CONFIG_FLAG:
        case CONFIG_BARE:
                return set_choice(field, k, value);
        case CONFIG_NAME:
                return is_name(value) && set_text(field, value);
        case CONFIG_TEXT:
                return set_text(field, value);
        case CONFIG_COUNT:
        case CONFIG_ID:
        case CONFIG_SIZE:
                return set_number(field, k->kind, value);
        case CONFIG_VERSION:
                return strcmp(value, k->allowed) == 0;
        case CONFIG_LIST:
        case CONFIG_ARTIFACTS:
                break;
        }
        return false;
}

static char *size_text(uint64_t n)
{
        for (size_t i = 0; i < ARRAY_LEN(units); i++) {
                if (n && n % (1ULL << units[i].shift) == 0)
                        return text_new("%" PRIu64 "%s", n >> units[i].shift, units[i].suffix);
        }
        return text_new("0");
}

static char *choice_text(const void *field, const struct config_key *k)
{
        int value = k->kind == CONFIG_ENUM ? *(const int *)field : *(const bool *)field;

        for (const struct config_choice *c = k->choices; c->word; c++) {
                if (c->value == value)
                        return strdup(c->word);
        }
        return NULL;
}

char *config_key_text(const void *object, const struct config_key *k)
{
        const void *field = (const char *)object + k->offset;

        switch (k->kind) {
        case CONFIG_ENUM:
        case CONFIG_FLAG:
        case CONFIG_BARE:
                return choice_text(field, k);
        case CONFIG_NAME:
        case CONFIG_TEXT:
                return *(char *const *)field ? strdup(*(char *const *)field) : NULL;
        case CONFIG_COUNT:
                return *(const unsigned *)field ? text_new("%u", *(const unsigned *)field) : NULL;
        case CONFIG_ID:
                return *(const uid_t *)field != FS_VIEW_AS_IS ? text_new("%u", *(const uid_t *)field) : NULL;
        case CONFIG_SIZE:
                return size_text(*(const uint64_t *)field);
        case CONFIG_VERSION:
                return strdup(k->allowed);
        case CONFIG_LIST:
        case CONFIG_ARTIFACTS:
                break;
        }
        return NULL;
}

char *config_key_names(const struct config_key *list, size_t count, unsigned setters)
{
        char *names = NULL;

        for (size_t i = 0; i < count; i++) {
                CLEANUP_FREE char *before = names;

                if (setters && !(list[i].setters & setters)) {
                        (void)steal_ptr(&before);
                        continue;
                }
                names = text_new("%s%s%s", before ? before : "", before ? ", " : "", list[i].name);
        }
        return names;
}
