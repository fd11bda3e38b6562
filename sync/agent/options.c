#include "sync/agent/options.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "sync/serve/why.h"

#define FEWEST_FDS 64

struct choice {
        const char *word;
        int value;
};

enum kind {
        ENUM, /* one of `choices`, into an int-sized enum */
        FLAG, /* one of `choices`, into a bool */
        BARE, /* no value, or on/off */
        TEXT,
        COUNT,
};

struct option_key {
        const char *key;
        enum kind kind;
        size_t offset;
        const char *allowed; /* as shown */
        const struct choice *choices;
        const char *about;
};

static const struct choice profiles[] = {{"source", FS_PROFILE_SOURCE}, {"data", FS_PROFILE_DATA}, {0}};
static const struct choice transports[] = {{"auto", FS_TRANSPORT_AUTO}, {"uring", FS_TRANSPORT_URING}, {"dev", FS_TRANSPORT_DEV}, {0}};
static const struct choice watches[] = {{"auto", WATCH_AUTO}, {"fanotify", WATCH_FANOTIFY}, {"inotify", WATCH_INOTIFY}, {0}};
static const struct choice coherences[] = {
        {"auto", ENGINE_COHERENCE_AUTO}, {"events", ENGINE_COHERENCE_EVENTS}, {"strict", ENGINE_COHERENCE_STRICT}, {0}};
static const struct choice switches[] = {{"on", true}, {"off", false}, {0}};
static const struct choice owners[] = {{"squash", true}, {"keep", false}, {0}};

#define AT(member) offsetof(struct mount_options, member)

static const struct option_key keys[] = {
        {"profile", ENUM, AT(profile), "source, data", profiles, "data: large or much-written files, passed through (needs root)"},
        {"transport", ENUM, AT(transport), "auto, uring, dev", transports, "how requests reach the agent; auto takes io_uring if there is"},
        {"watch", ENUM, AT(watch), "auto, fanotify, inotify", watches, "how changes of the source are seen; fanotify needs root"},
        {"coherence", ENUM, AT(coherence), "auto, events, strict", coherences, "strict keeps nothing cached, for sources without events"},
        {"prewarm", FLAG, AT(prewarm), "on, off", switches, "read names and small files in the background after mounting (on)"},
        {"xattr", FLAG, AT(xattr), "on, off", switches, "extended attributes and ACLs (on)"},
        {"owner", FLAG, AT(squash), "squash, keep", owners, "squash: what is created belongs to the source's owner"},
        {"readonly", BARE, AT(readonly), "on, off, or no value", switches, "refuse all changes through the mount (also: ro)"},
        {"ro", BARE, AT(readonly), "on, off, or no value", switches, NULL},
        {"allow_other", BARE, AT(allow_other), "on, off, or no value", switches, "let other users in (root: on; else off)"},
        {"name", TEXT, AT(name), "a name without slashes", NULL, "how the mount is called (the folder's name)"},
        {"max_fds", COUNT, AT(max_fds), "a number from 64", NULL, "descriptors to keep open at most (by the limit)"},
};

void mount_options_init(struct mount_options *o)
{
        memset(o, 0, sizeof(*o));
        o->prewarm = true;
        o->xattr = true;
        o->squash = true;
        o->allow_other = geteuid() == 0;
}

void mount_options_release(struct mount_options *o)
{
        free(o->name);
        o->name = NULL;
}

static const struct choice *choose(const struct option_key *k, const char *value)
{
        for (const struct choice *c = k->choices; c->word; c++) {
                if (strcmp(c->word, value) == 0)
                        return c;
        }
        return NULL;
}

static bool set_name(char **field, const char *value)
{
        size_t len = strlen(value);
        char *copy;

        if (len == 0 || len > NAME_MAX || strchr(value, '/') || strcmp(value, ".") == 0 || strcmp(value, "..") == 0)
                return false;
        copy = strdup(value);
        if (!copy)
                return false;
        free(*field);
        *field = copy;
        return true;
}

static bool set_count(unsigned *field, const char *value)
{
        char *end;
        unsigned long n;

        if (*value < '0' || *value > '9')
                return false;
        errno = 0;
        n = strtoul(value, &end, 10);
        if (errno || *end || n < FEWEST_FDS || n > INT_MAX)
                return false;
        *field = (unsigned)n;
        return true;
}

static bool set(struct mount_options *o, const struct option_key *k, const char *value)
{
        void *field = (char *)o + k->offset;
        const struct choice *c;

        if (k->kind == TEXT)
                return value && set_name(field, value);
        if (k->kind == COUNT)
                return value && set_count(field, value);
        if (!value && k->kind == BARE)
                value = "on";
        c = value ? choose(k, value) : NULL;
        if (!c)
                return false;
        if (k->kind == ENUM)
                *(int *)field = c->value;
        else
                *(bool *)field = c->value;
        return true;
}

static_assert(sizeof(enum fs_transport) == sizeof(int), "ENUM keys are stored as int");

static int unknown_key(const char *key, char **why)
{
        CLEANUP_FREE char *names = NULL;

        for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
                CLEANUP_FREE char *before = names;

                names = text_new("%s%s%s", before ? before : "", before ? ", " : "", keys[i].key);
        }
        return why_set(why, -EINVAL, "-o %s: there is no such option; there are: %s", key, why_text(names));
}

static int parse_one(struct mount_options *o, char *item, char **why)
{
        char *value = strchr(item, '=');

        if (value)
                *value++ = '\0';
        for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
                if (strcmp(keys[i].key, item) != 0)
                        continue;
                if (set(o, &keys[i], value))
                        return 0;
                if (!value)
                        return why_set(why, -EINVAL, "-o %s needs a value: %s", item, keys[i].allowed);
                return why_set(why, -EINVAL, "-o %s=%s: allowed is %s", item, value, keys[i].allowed);
        }
        return unknown_key(item, why);
}

int mount_options_parse(struct mount_options *o, const char *text, char **why)
{
        CLEANUP_FREE char *copy = strdup(text);
        char *rest = copy;
        int rc = 0;

        if (!copy)
                return why_set(why, -ENOMEM, "out of memory");
        for (char *item = strsep(&rest, ","); item && rc == 0; item = strsep(&rest, ",")) {
                if (*item)
                        rc = parse_one(o, item, why);
        }
        return rc;
}

void mount_options_help(void)
{
        for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
                if (keys[i].about)
                        printf("  %-12s %-26s %s\n", keys[i].key, keys[i].allowed, keys[i].about);
        }
}
