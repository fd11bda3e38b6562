#include "sync/agent/volume.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <time.h>

#include "sync/agent/config_keys.h"

#define RECORD_VERSION 1
#define KEYS_MAX 64

/* What a volume has besides the options of a mount. */
#define SOURCE "source"
#define CONFIG "config"

/* By the names that docker's users know. */
static const struct {
        const char *name, *key;
} aliases[] = {{"uid", "view_uid"}, {"gid", "view_gid"}};

void volume_wish_release(struct volume_wish *w)
{
        free(steal_ptr(&w->source));
        free(steal_ptr(&w->config));
        free(steal_ptr(&w->options));
}

/*
 * Options
 */

static const struct config_key *find_key(const char *name)
{
        size_t count;
        const struct config_key *keys = config_keys(&count);
        const struct config_key *k;

        for (size_t i = 0; i < ARRAY_LEN(aliases); i++) {
                if (strcmp(name, aliases[i].name) == 0)
                        name = aliases[i].key;
        }
        k = config_key_find(keys, count, name);
        return k && (k->setters & CONFIG_COMMAND) ? k : NULL;
}

static int unknown_option(const char *name, char **why)
{
        size_t count;
        const struct config_key *keys = config_keys(&count);
        CLEANUP_FREE char *names = config_key_names(keys, count, CONFIG_COMMAND);

        return why_set(why, -EINVAL, "there is no option %s; there are: " SOURCE ", " CONFIG ", uid, gid, %s", name, why_text(names));
}

/* An absolute path in *field. */
static int take_path(char **field, const char *name, const char *value, char **why)
{
        if (value[0] != '/')
                return why_set(why, -EINVAL, "%s=%s: an absolute path is needed", name, value);
        *field = strdup(value);
        return *field ? 0 : why_set(why, -ENOMEM, "out of memory");
}

/* What a mount takes: checked here, kept for `dsfs mount`. A comma would end it there. */
static int check_option(const char *name, const struct config_key *k, const char *value, char **why)
{
        struct mount_options scratch;
        bool ok;

        mount_options_init(&scratch);
        ok = config_key_set(&scratch, k, *value ? value : NULL) && !strchr(value, ',');
        mount_options_release(&scratch);
        if (ok)
                return 0;
        if (!*value)
                return why_set(why, -EINVAL, "the option %s needs a value: %s", name, k->allowed);
        return why_set(why, -EINVAL, "%s=%s: allowed is %s%s", name, value, k->allowed, strchr(value, ',') ? ", and no comma" : "");
}

/* In the table's order, so that the same options make the same text. */
static int join_options(const char *const *values, char **ret)
{
        size_t count;
        const struct config_key *keys = config_keys(&count);
        CLEANUP_FREE char *text = strdup("");

        for (size_t i = 0; i < count && text; i++) {
                CLEANUP_FREE char *before = NULL;

                if (!values[i])
                        continue;
                before = text;
                text = text_new("%s%s%s%s%s", before, *before ? "," : "", keys[i].name, *values[i] ? "=" : "", values[i]);
        }
        *ret = steal_ptr(&text);
        return *ret ? 0 : -ENOMEM;
}

static int take_option(const char *name, const json_t *value, const char *values[KEYS_MAX], struct volume_wish *w, char **why)
{
        size_t count;
        const struct config_key *keys = config_keys(&count);
        const struct config_key *k = find_key(name);
        const char *text = json_string_value(value);
        bool is_source = strcmp(name, SOURCE) == 0;

        if (!is_source && strcmp(name, CONFIG) != 0 && !k)
                return unknown_option(name, why);
        if (!text)
                return why_set(why, -EINVAL, "the option %s is not a text", name);
        if (!k)
                return take_path(is_source ? &w->source : &w->config, name, text, why);
        for (size_t i = 0; i < count; i++) {
                if (values[i] && keys[i].offset == k->offset)
                        return why_set(why, -EINVAL, "the options %s and %s are the same; give one of them", name, keys[i].name);
        }
        values[k - keys] = text;
        return check_option(name, k, text, why);
}

int volume_wish_parse(const json_t *options, struct volume_wish *ret, char **why)
{
        struct volume_wish w CLEANUP(volume_wish_release) = {0};
        const char *values[KEYS_MAX] = {NULL};
        const char *name;
        json_t *value;
        int rc = 0;

        if (options && !json_is_null(options) && !json_is_object(options))
                return why_set(why, -EINVAL, "the options are no object");
        json_object_foreach((json_t *)options, name, value)
        {
                rc = take_option(name, value, values, &w, why);
                if (rc)
                        return rc;
        }
        if (!w.source)
                return why_set(why, -EINVAL,
                               "the option " SOURCE " is missing: the directory to be mounted, as in `-o " SOURCE "=/home/me/app`");
        rc = join_options(values, &w.options);
        if (rc)
                return why_set(why, rc, "out of memory");
        *ret = w;
        memset(&w, 0, sizeof(w));
        return 0;
}

bool volume_name_ok(const char *name)
{
        size_t len = strlen(name);

        for (size_t i = 0; i < len; i++) {
                unsigned char c = (unsigned char)name[i];

                if (c >= 0x80 || (!isalnum(c) && (i == 0 || !strchr("_.-", c))))
                        return false;
        }
        return len > 0 && len <= VOLUME_NAME_MAX;
}

/*
 * Volumes
 */

void volume_free(struct volume *v)
{
        if (!v)
                return;
        volume_wish_release(&v->wish);
        json_decref(v->options);
        json_decref(v->users);
        free(v->name);
        free(v);
}

int volume_new(const char *name, const json_t *options, int64_t now, struct volume **ret, char **why)
{
        struct volume *v;
        time_t seconds = (time_t)now;
        struct tm tm;
        int rc;

        if (!volume_name_ok(name))
                return why_set(why, -EINVAL, "a volume's name is made of letters, digits and _.- (not in front), at most %d",
                               VOLUME_NAME_MAX);
        v = calloc(1, sizeof(*v));
        if (!v)
                return why_set(why, -ENOMEM, "out of memory");
        rc = volume_wish_parse(options, &v->wish, why);
        if (rc == 0) {
                v->name = strdup(name);
                v->options = json_is_object(options) ? json_copy((json_t *)options) : json_object();
                v->users = json_object();
                gmtime_r(&seconds, &tm);
                strftime(v->created, sizeof(v->created), "%Y-%m-%dT%H:%M:%SZ", &tm);
                rc = v->name && v->options && v->users ? 0 : why_set(why, -ENOMEM, "out of memory");
        }
        if (rc)
                volume_free(v);
        else
                *ret = v;
        return rc;
}

char *volume_to_text(const struct volume *v, const json_t *users, const char *boot)
{
        json_t *root = json_pack("{s:i, s:s, s:s, s:O, s:s, s:O}", "version", RECORD_VERSION, "name", v->name, "created", v->created,
                                 "options", v->options, "boot", boot, "users", users);
        char *text = json_dumps(root, JSON_INDENT(2));

        json_decref(root);
        return text;
}

static bool users_ok(const json_t *users)
{
        const char *id;
        json_t *since;

        if (!json_is_object(users) || json_object_size(users) > VOLUME_USERS_MAX)
                return false;
        json_object_foreach((json_t *)users, id, since)
        {
                if (!*id || strlen(id) > VOLUME_USER_MAX || !json_is_integer(since))
                        return false;
        }
        return true;
}

static int from_json(const char *name, const json_t *root, const char *boot, struct volume **ret, char **why)
{
        const char *is_called = json_string_value(json_object_get(root, "name"));
        const char *created = json_string_value(json_object_get(root, "created"));
        const char *was_boot = json_string_value(json_object_get(root, "boot"));
        const json_t *options = json_object_get(root, "options");
        json_t *users = json_object_get(root, "users");
        struct volume *v;
        int rc;

        if (json_integer_value(json_object_get(root, "version")) != RECORD_VERSION)
                return why_set(why, -EINVAL, "it is of another version than %d", RECORD_VERSION);
        if (!is_called || strcmp(is_called, name) != 0 || !created || strlen(created) >= sizeof(v->created) || !was_boot ||
            !json_is_object(options) || !users_ok(users))
                return why_set(why, -EINVAL, "it is no record of the volume %s", name);
        rc = volume_new(name, options, 0, &v, why);
        if (rc)
                return rc;
        strcpy(v->created, created);
        if (strcmp(was_boot, boot) == 0) {
                json_decref(v->users);
                v->users = json_incref(users);
        }
        *ret = v;
        return 0;
}

int volume_from_text(const char *name, const char *text, size_t len, const char *boot, struct volume **ret, char **why)
{
        json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
        int rc = from_json(name, root, boot, ret, why);

        json_decref(root);
        return rc;
}
