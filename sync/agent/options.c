#include "sync/agent/options.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "sync/agent/config_keys.h"
#include "sync/serve/why.h"

void mount_options_init(struct mount_options *o)
{
        size_t count;
        const struct config_key *keys = config_keys(&count);

        memset(o, 0, sizeof(*o));
        for (size_t i = 0; i < count; i++) {
                if (keys[i].fallback)
                        (void)config_key_set(o, &keys[i], keys[i].fallback);
        }
        o->view_uid = o->view_gid = FS_VIEW_AS_IS;
        o->allow_other = geteuid() == 0;
}

void mount_options_release(struct mount_options *o)
{
        free(o->name);
        o->name = NULL;
}

static const struct config_key *find(const char *name)
{
        size_t count;
        const struct config_key *keys = config_keys(&count);
        const struct config_key *k = config_key_find(keys, count, name);

        return k && (k->setters & CONFIG_COMMAND) ? k : NULL;
}

static int unknown_key(const char *key, char **why)
{
        size_t count;
        const struct config_key *keys = config_keys(&count);
        CLEANUP_FREE char *names = config_key_names(keys, count, CONFIG_COMMAND);

        return why_set(why, -EINVAL, "-o %s: there is no such option; there are: %s", key, why_text(names));
}

static int parse_one(struct mount_options *o, char *item, char **why)
{
        char *value = strchr(item, '=');
        const struct config_key *k;

        if (value)
                *value++ = '\0';
        k = find(item);
        if (!k)
                return unknown_key(item, why);
        if (config_key_set(o, k, value))
                return 0;
        if (!value)
                return why_set(why, -EINVAL, "-o %s needs a value: %s", item, k->allowed);
        return why_set(why, -EINVAL, "-o %s=%s: allowed is %s", item, value, k->allowed);
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

bool mount_options_mention(const char *text, const struct config_key *k)
{
        CLEANUP_FREE char *copy = text ? strdup(text) : NULL;
        char *rest = copy;

        for (char *item = strsep(&rest, ","); item; item = strsep(&rest, ",")) {
                const struct config_key *named;

                item[strcspn(item, "=")] = '\0';
                named = find(item);
                if (named && named->offset == k->offset)
                        return true;
        }
        return false;
}

void mount_options_help(void)
{
        size_t count;
        const struct config_key *keys = config_keys(&count);

        for (size_t i = 0; i < count; i++) {
                if (keys[i].about && (keys[i].setters & CONFIG_COMMAND))
                        printf("  %-14s %-26s %s%s%s%s\n", keys[i].name, keys[i].allowed, keys[i].about, keys[i].fallback ? " (" : "",
                               keys[i].fallback ? keys[i].fallback : "", keys[i].fallback ? ")" : "");
        }
}
