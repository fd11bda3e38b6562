#include "sync/agent/config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "sync/agent/config_artifacts.h"
#include "sync/agent/config_doc.h"
#include "sync/agent/config_keys.h"
#include "sync/serve/why.h"

#define SYSTEM_FILE "/etc/dsfs/config.yaml"
#define BY_COMMAND "-o"
#define NAMED_BY "DSFS_CFG_PATH"

/*
 * Which files there are
 */

static char *users_file(void)
{
        const char *base = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");

        if (base && base[0] == '/')
                return text_new("%s/dsfs/config.yaml", base);
        if (home && home[0] == '/')
                return text_new("%s/.config/dsfs/config.yaml", home);
        return NULL;
}

/* Takes the path. */
static int add_file(struct config *c, char *path, bool checkout, bool required)
{
        if (!path)
                return -ENOMEM;
        c->files[c->file_count++] = (struct config_file){.path = path, .checkout = checkout, .required = required};
        return 0;
}

/* DSFS_CFG_PATH may be relative, and the agent, which reads it again, leaves the directory. */
static char *named_file(const char *named)
{
        CLEANUP_FREE char *here = named[0] == '/' ? NULL : getcwd(NULL, 0);
        CLEANUP_FREE char *path = named[0] == '/' ? strdup(named) : here ? text_new("%s/%s", here, named) : NULL;

        if (path && here)
                (void)setenv(NAMED_BY, path, 1);
        return steal_ptr(&path);
}

static int find_files(struct config *c)
{
        const char *named = getenv(NAMED_BY);
        CLEANUP_FREE char *users = users_file();
        int rc = add_file(c, text_new("%s/%s", strcmp(c->source, "/") == 0 ? "" : c->source, CONFIG_NAME_IN_SOURCE), true, false);

        if (rc == 0 && geteuid() == 0)
                rc = add_file(c, strdup(SYSTEM_FILE), false, false);
        if (rc)
                return rc;
        if (named && *named)
                return add_file(c, named_file(named), false, true);
        return users ? add_file(c, steal_ptr(&users), false, false) : 0;
}

/*
 * Reading one
 */

static size_t key_index(const struct config_key *k)
{
        size_t count;

        return (size_t)(k - config_keys(&count));
}

/* Where a line is, shortly: the checkout's file needs no path. */
static int set_origin(struct config *c, const struct config_file *f, const struct config_key *k, const struct doc_node *n)
{
        char *origin = text_new("%s:%zu", f->checkout ? CONFIG_NAME_IN_SOURCE : f->path, n->key_line);

        if (!origin)
                return -ENOMEM;
        free(c->origins[key_index(k)]);
        c->origins[key_index(k)] = origin;
        return 0;
}

static int refuse_setter(const struct config_file *f, const struct doc_node *n, const struct config_key *k, char **why)
{
        size_t count;
        const struct config_key *keys = config_keys(&count);
        CLEANUP_FREE char *names = config_key_names(keys, count, f->checkout ? CONFIG_CHECKOUT : CONFIG_USER);
        CLEANUP_FREE char *mine = users_file();

        if (!k)
                return doc_refuse(f->path, n->key_line, n->key_column, why, "there is no key %s; expected is one of %s", n->key,
                                  why_text(names));
        if (!(k->setters & (CONFIG_CHECKOUT | CONFIG_USER)))
                return doc_refuse(f->path, n->key_line, n->key_column, why, "%s is only for the command line (-o %s=…)", k->name, k->name);
        return doc_refuse(f->path, n->key_line, n->key_column, why,
                          "%s is not a checkout's to set, which may set %s; put it into your own file, %s, or say -o %s=…", k->name,
                          why_text(names), mine ? mine : SYSTEM_FILE, k->name);
}

static int take_value(struct config *c, const struct config_file *f, const struct config_key *k, const struct doc_node *n, char **why)
{
        const struct config_scope scope = {.file = f->path, .origin = f->checkout ? CONFIG_NAME_IN_SOURCE : f->path};

        if (k->kind == CONFIG_ARTIFACTS)
                return config_take_artifacts(&scope, n, &c->artifacts, why);
        if (k->kind == CONFIG_LIST)
                return config_take_keep(&scope, n, &c->keep, why);
        if (n->kind != DOC_TEXT)
                return doc_refuse(f->path, n->line, n->column, why, "%s is a %s; expected is %s", k->name,
                                  n->kind == DOC_LIST ? "list" : "map", k->allowed);
        if (!config_key_set(&c->options, k, n->text))
                return doc_refuse(f->path, n->line, n->column, why, "%s is \"%s\"; expected is %s", k->name, n->text, k->allowed);
        return 0;
}

static int take_key(struct config *c, const struct config_file *f, const struct doc_node *n, char **why)
{
        size_t count;
        const struct config_key *keys = config_keys(&count);
        const struct config_key *k = config_key_find(keys, count, n->key);
        int rc;

        if (!k || !(k->setters & (f->checkout ? CONFIG_CHECKOUT : CONFIG_USER)))
                return refuse_setter(f, n, k, why);
        rc = take_value(c, f, k, n, why);
        if (rc == 0 && set_origin(c, f, k, n))
                rc = why_set(why, -ENOMEM, "out of memory");
        return rc;
}

/* What has no default has to be in every file. */
static int check_version(const struct config_file *f, const struct doc_node *doc, char **why)
{
        for (size_t i = 0; i < doc->count; i++) {
                if (strcmp(doc->items[i]->key, "version") == 0)
                        return 0;
        }
        return doc_refuse(f->path, doc->line, doc->column, why, "version is missing, which is required; expected is \"version: 1\"");
}

static int take_document(struct config *c, const struct config_file *f, const struct doc_node *doc, char **why)
{
        int rc;

        if (doc->kind != DOC_MAP)
                return doc_refuse(f->path, doc->line, doc->column, why, "this is a %s; expected are keys, the first of them \"version: 1\"",
                                  doc->kind == DOC_LIST ? "list" : "text");
        rc = check_version(f, doc, why);
        for (size_t i = 0; i < doc->count && rc == 0; i++)
                rc = take_key(c, f, doc->items[i], why);
        return rc;
}

static void free_document(struct doc_node **n)
{
        doc_free(*n);
}

int config_take_bytes(struct config *c, const struct config_file *f, const char *bytes, size_t len, char **why)
{
        CLEANUP(free_document) struct doc_node *doc = NULL;
        int rc = doc_parse(f->path, bytes, len, &doc, why);

        return rc ? rc : take_document(c, f, doc, why);
}

/* A checkout's file may be anything, a pipe too: only a regular file is read. */
static ssize_t read_bytes(const struct config_file *f, char **ret)
{
        CLEANUP_FD int fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | (f->checkout ? O_NOFOLLOW : 0));
        struct stat st;

        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
        return fd_read_file(AT_FDCWD, fd_proc_path(fd).text, DOC_BYTES_MAX, ret);
}

/* In a directory that is closed to us: then it is somebody else's, of whom we have the environment. */
static bool is_out_of_reach(const struct config_file *f)
{
        struct stat st;

        return !f->checkout && stat(f->path, &st) < 0 && errno == EACCES;
}

static int read_file(struct config *c, struct config_file *f, char **why)
{
        CLEANUP_FREE char *bytes = NULL;
        ssize_t len = read_bytes(f, &bytes);

        if ((len == -ENOENT || len == -ENOTDIR || (len == -EACCES && is_out_of_reach(f))) && !f->required)
                return 0;
        if (len == -EFBIG)
                return doc_refuse(f->path, 1, 1, why, "this file is too large; expected are %d bytes at most", DOC_BYTES_MAX);
        if (len < 0)
                return why_set(why, (int)len, "the configuration %s can't be read: %s%s", f->path,
                               len == -ELOOP || len == -EINVAL ? "it is no file" : strerror((int)-len),
                               f->required ? " (" NAMED_BY " names it)" : "");
        f->found = true;
        return config_take_bytes(c, f, bytes, (size_t)len, why);
}

/*
 * The whole
 */

struct config *config_new(const char *source)
{
        struct config *c = calloc(1, sizeof(*c));

        if (!c)
                return NULL;
        mount_options_init(&c->options);
        c->source = strdup(source);
        if (!c->source || config_add_default_keep(&c->keep)) {
                config_free(c);
                return NULL;
        }
        return c;
}

static int take_command(struct config *c, const char *command, char **why)
{
        size_t count;
        const struct config_key *keys = config_keys(&count);
        int rc;

        if (!command || !*command)
                return 0;
        c->command = strdup(command);
        if (!c->command)
                return why_set(why, -ENOMEM, "out of memory");
        rc = mount_options_parse(&c->options, command, why);
        for (size_t i = 0; i < count && rc == 0; i++) {
                if (!keys[i].about || !(keys[i].setters & CONFIG_COMMAND) || !mount_options_mention(command, &keys[i]))
                        continue;
                free(c->origins[i]);
                c->origins[i] = strdup(BY_COMMAND);
        }
        return rc;
}

static void free_config(struct config **c)
{
        config_free(*c);
}

int config_load(const char *source, const char *command, struct config **ret, char **why)
{
        CLEANUP(free_config) struct config *c = config_new(source);
        int rc = c ? find_files(c) : -ENOMEM;

        if (rc)
                return why_set(why, rc, "out of memory");
        for (size_t i = 0; i < c->file_count && rc == 0; i++)
                rc = read_file(c, &c->files[i], why);
        if (rc == 0)
                rc = take_command(c, command, why);
        if (rc == 0)
                *ret = steal_ptr(&c);
        return rc;
}

void config_free(struct config *c)
{
        if (!c)
                return;
        for (size_t i = 0; i < c->file_count; i++)
                free(c->files[i].path);
        for (size_t i = 0; i < CONFIG_KEYS_MAX; i++)
                free(c->origins[i]);
        rule_list_release(&c->artifacts);
        rule_list_release(&c->keep);
        mount_options_release(&c->options);
        free(c->source);
        free(c->command);
        free(c);
}

int config_check_file(const char *path, bool checkout, char **why)
{
        CLEANUP(free_config) struct config *c = config_new("/");

        if (!c || add_file(c, strdup(path), checkout, true))
                return why_set(why, -ENOMEM, "out of memory");
        return read_file(c, &c->files[0], why);
}

const char *config_origin(const struct config *c, const char *key)
{
        size_t count;
        const struct config_key *keys = config_keys(&count);
        const struct config_key *k = config_key_find(keys, count, key);

        return k && c->origins[key_index(k)] ? c->origins[key_index(k)] : "default";
}

char *config_options_text(const struct config *c, bool shared)
{
        size_t count;
        const struct config_key *keys = config_keys(&count);
        char *text = strdup("");

        for (size_t i = 0; i < count && text; i++) {
                CLEANUP_FREE char *before = NULL;
                CLEANUP_FREE char *value = NULL;

                if (!c->origins[i] || strcmp(c->origins[i], BY_COMMAND) == 0 || !(keys[i].setters & CONFIG_COMMAND) ||
                    (!shared && (keys[i].setters & CONFIG_SHARED)))
                        continue;
                value = config_key_text(&c->options, &keys[i]);
                before = text;
                text = value ? text_new("%s%s%s=%s", before, *before ? "," : "", keys[i].name, value) : NULL;
        }
        return text;
}
