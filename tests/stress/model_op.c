#include "tests/stress/model_op.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cache/base/fd.h"
#include "tests/stress/model_side.h"

#define CHOICES(...) ((const uint32_t[]){sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t), __VA_ARGS__})

#define OPENS                                                                                                                              \
        CHOICES(O_RDWR, O_RDWR, O_RDONLY, O_RDWR | O_CREAT, O_RDWR | O_CREAT, O_RDWR | O_APPEND, O_WRONLY | O_APPEND | O_CREAT, O_WRONLY,  \
                O_RDWR | O_CREAT | O_EXCL, O_RDWR | O_TRUNC, O_RDWR | O_CREAT | O_TRUNC, O_RDONLY | O_DIRECTORY, O_RDWR | O_NOFOLLOW)
#define RENAMES CHOICES(0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE)
#define HOLES                                                                                                                              \
        CHOICES(0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,            \
                FALLOC_FL_ZERO_RANGE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE)
#define SHIFTS CHOICES(FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE)
#define WHENCES CHOICES(SEEK_SET, SEEK_CUR, SEEK_END)
#define SEEKS CHOICES(SEEK_DATA, SEEK_HOLE)
#define XATTRS CHOICES(0, 0, 1, 2) /* XATTR_CREATE, XATTR_REPLACE */

static const struct op_kind kinds[] = {
        {"open", act_open, 60, OP_H | OP_AT | OP_FLAGS | OP_MODE, WANT_FILE, WANT_ANY, OPENS},
        {"opendir", act_open, 10, OP_H | OP_AT | OP_FLAGS | OP_MODE, WANT_DIR, WANT_ANY, CHOICES(O_RDONLY | O_DIRECTORY)},
        {"close", act_close, 12, OP_H, WANT_ANY, WANT_ANY, NULL},
        {"read", act_read, 20, OP_H | OP_LEN, WANT_ANY, WANT_ANY, NULL},
        {"write", act_write, 30, OP_H | OP_LEN | OP_SALT, WANT_ANY, WANT_ANY, NULL},
        {"pread", act_pread, 30, OP_H | OP_OFF | OP_LEN, WANT_ANY, WANT_ANY, NULL},
        {"pwrite", act_pwrite, 40, OP_H | OP_OFF | OP_LEN | OP_SALT, WANT_ANY, WANT_ANY, NULL},
        {"append", act_append, 25, OP_AT | OP_LEN | OP_SALT, WANT_FILE, WANT_ANY, NULL},
        {"put", act_put, 40, OP_AT | OP_LEN | OP_MODE | OP_SALT, WANT_FILE, WANT_ANY, NULL},
        {"save", act_save, 20, OP_AT | OP_LEN | OP_MODE | OP_SALT | OP_REMOVES, WANT_FILE, WANT_ANY, NULL},
        {"cat", act_cat, 40, OP_AT, WANT_FILE, WANT_ANY, NULL},
        {"lseek", act_lseek, 12, OP_H | OP_OFF | OP_FLAGS, WANT_ANY, WANT_ANY, WHENCES},
        {"hole", act_hole, 12, OP_H | OP_OFF | OP_FLAGS, WANT_ANY, WANT_ANY, SEEKS},
        {"ftruncate", act_ftruncate, 15, OP_H | OP_OFF, WANT_ANY, WANT_ANY, NULL},
        {"truncate", act_truncate, 15, OP_AT | OP_OFF, WANT_FILE, WANT_ANY, NULL},
        {"fallocate", act_fallocate, 25, OP_H | OP_OFF | OP_LEN | OP_FLAGS, WANT_ANY, WANT_ANY, HOLES},
        {"shift", act_shift, 8, OP_H | OP_OFF | OP_LEN | OP_FLAGS | OP_SOURCE_ONLY, WANT_ANY, WANT_ANY, SHIFTS},
        {"copy", act_copy, 15, OP_H | OP_H2 | OP_OFF | OP_OFF2 | OP_LEN, WANT_ANY, WANT_ANY, NULL},
        {"fsync", act_fsync, 6, OP_H | OP_FLAGS, WANT_ANY, WANT_ANY, CHOICES(0, 1)},
        {"map", act_map, 25, OP_H | OP_LEN, WANT_ANY, WANT_ANY, NULL},
        {"mread", act_mread, 25, OP_H | OP_OFF | OP_LEN, WANT_ANY, WANT_ANY, NULL},
        {"mwrite", act_mwrite, 25, OP_H | OP_OFF | OP_LEN | OP_SALT, WANT_ANY, WANT_ANY, NULL},
        {"unmap", act_unmap, 5, OP_H, WANT_ANY, WANT_ANY, NULL},
        {"hands", act_hands, 6, 0, WANT_ANY, WANT_ANY, NULL},
        {"crowd", act_crowd, 6, OP_SALT, WANT_ANY, WANT_ANY, NULL},
        {"mkdir", act_mkdir, 25, OP_AT | OP_MODE, WANT_NEW, WANT_ANY, NULL},
        {"mkfifo", act_mkfifo, 4, OP_AT | OP_MODE, WANT_NEW, WANT_ANY, NULL},
        {"symlink", act_symlink, 12, OP_AT | OP_TO, WANT_NEW, WANT_ANY, NULL},
        {"link", act_link, 20, OP_AT | OP_TO | OP_LINKS, WANT_FILE, WANT_NEW, NULL},
        {"rename", act_rename, 45, OP_AT | OP_TO | OP_FLAGS | OP_REMOVES, WANT_FILE, WANT_ANY, RENAMES},
        {"move", act_rename, 20, OP_AT | OP_TO | OP_FLAGS | OP_REMOVES, WANT_DIR, WANT_DIR, RENAMES},
        {"unlink", act_unlink, 35, OP_AT | OP_REMOVES, WANT_FILE, WANT_ANY, NULL},
        {"rmdir", act_rmdir, 12, OP_AT | OP_REMOVES, WANT_DIR, WANT_ANY, NULL},
        {"readdir", act_readdir, 15, OP_AT | OP_SALT, WANT_DIR, WANT_ANY, NULL},
        {"hlist", act_hlist, 5, OP_H | OP_SALT, WANT_ANY, WANT_ANY, NULL},
        {"empty", act_empty, 2, OP_AT | OP_SALT | OP_REMOVES, WANT_DIR, WANT_ANY, NULL},
        {"chmod", act_chmod, 12, OP_AT | OP_MODE, WANT_ANY, WANT_ANY, NULL},
        {"fchmod", act_fchmod, 6, OP_H | OP_MODE, WANT_ANY, WANT_ANY, NULL},
        {"utimens", act_utimens, 12, OP_AT | OP_SALT, WANT_ANY, WANT_ANY, NULL},
        {"setxattr", act_setxattr, 12, OP_AT | OP_LEN | OP_FLAGS | OP_SALT, WANT_ANY, WANT_ANY, XATTRS},
        {"removexattr", act_removexattr, 6, OP_AT | OP_SALT, WANT_ANY, WANT_ANY, NULL},
        {"getxattr", act_getxattr, 8, OP_AT, WANT_ANY, WANT_ANY, NULL},
        {"tmpfile", act_tmpfile, 8, OP_H | OP_AT | OP_MODE | OP_REMOVES, WANT_DIR, WANT_ANY, NULL},
        {"linkfd", act_linkfd, 10, OP_H | OP_AT | OP_LINKS | OP_REMOVES, WANT_NEW, WANT_ANY, NULL},
        {"readlink", act_readlink, 8, OP_AT, WANT_LINK, WANT_ANY, NULL},
        {"exec", act_exec, 4, OP_AT | OP_AFTER_ALL, WANT_FILE, WANT_ANY, NULL},
        {"storm", act_storm, 6, OP_AT, WANT_DIR, WANT_ANY, NULL},
        {"stat", act_stat, 20, OP_AT, WANT_ANY, WANT_ANY, NULL},
        {"compare", act_compare, 6, OP_AFTER_ALL, WANT_ANY, WANT_ANY, NULL},
};

const struct op_kind *op_kind(const struct op *op)
{
        return &kinds[op->kind];
}

const struct op_kind *op_kinds(size_t *count)
{
        *count = ARRAY_LEN(kinds);
        return kinds;
}

uint8_t op_named(const char *name)
{
        for (uint8_t i = 0; i < ARRAY_LEN(kinds); i++)
                if (strcmp(kinds[i].name, name) == 0)
                        return i;
        must(false, "no operation is called %s", name);
        return 0;
}

/*
 * As text
 */

/* The numbers in their order in a line. */
static const struct {
        enum op_field field;
        const char *name;
} numbers[] = {
        {OP_H, "h"},     {OP_H2, "h2"},       {OP_OFF, "off"},   {OP_OFF2, "off2"},
        {OP_LEN, "len"}, {OP_FLAGS, "flags"}, {OP_MODE, "mode"}, {OP_SALT, "salt"},
};

static int64_t number_get(const struct op *op, enum op_field field)
{
        switch (field) {
        case OP_H:
                return op->h;
        case OP_H2:
                return op->h2;
        case OP_OFF:
                return op->off;
        case OP_OFF2:
                return op->off2;
        case OP_LEN:
                return op->len;
        case OP_FLAGS:
                return op->flags;
        case OP_MODE:
                return op->mode;
        default:
                return op->salt;
        }
}

static bool number_set(struct op *op, const char *name, int64_t value)
{
        if (strcmp(name, "h") == 0 && value >= 0 && value < OP_HANDS)
                op->h = (uint8_t)value;
        else if (strcmp(name, "h2") == 0 && value >= 0 && value < OP_HANDS)
                op->h2 = (uint8_t)value;
        else if (strcmp(name, "off") == 0)
                op->off = value;
        else if (strcmp(name, "off2") == 0)
                op->off2 = value;
        else if (strcmp(name, "len") == 0 && value >= 0 && value <= BYTES_MAX)
                op->len = value;
        else if (strcmp(name, "flags") == 0)
                op->flags = (uint32_t)value;
        else if (strcmp(name, "mode") == 0)
                op->mode = (uint32_t)value;
        else if (strcmp(name, "salt") == 0)
                op->salt = (uint32_t)value;
        else
                return false;
        return true;
}

void op_print(const struct op *op, char *ret, size_t size)
{
        const struct op_kind *k = op_kind(op);
        int len = snprintf(ret, size, "%c%u %s", op_in_mount(op) ? 'm' : 's', op->actor, k->name);

        if (k->fields & OP_AT)
                len += snprintf(ret + len, size - (size_t)len, " path=%s", op->path);
        if (k->fields & OP_TO)
                len += snprintf(ret + len, size - (size_t)len, " to=%s", op->to);
        for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
                int64_t value = number_get(op, numbers[i].field);

                if (!(k->fields & numbers[i].field))
                        continue;
                if (numbers[i].field == OP_MODE)
                        len += snprintf(ret + len, size - (size_t)len, " mode=0%" PRIo64, (uint64_t)value);
                else
                        len += snprintf(ret + len, size - (size_t)len, " %s=%" PRId64, numbers[i].name, value);
        }
        if (op->look)
                snprintf(ret + len, size - (size_t)len, " look");
}

static bool parse_word(struct op *op, char *word)
{
        char *equals = strchr(word, '=');
        char *end;

        if (!equals) {
                op->look = strcmp(word, "look") == 0;
                return op->look;
        }
        *equals++ = '\0';
        if (strcmp(word, "path") == 0 || strcmp(word, "to") == 0) {
                /* What is below the tree stays there. */
                if (strlen(equals) >= OP_PATH || *equals == '/' || strstr(equals, ".."))
                        return false;
                strcpy(*word == 'p' ? op->path : op->to, equals);
                return true;
        }
        return number_set(op, word, strtoll(equals, &end, 0)) && !*end;
}

bool op_parse(const char *line, struct op *ret)
{
        CLEANUP_FREE char *text = strdup(line);
        char *save = NULL;
        char *word = text ? strtok_r(text, " \t\r\n", &save) : NULL;
        bool mount;

        memset(ret, 0, sizeof(*ret));
        if (!word || (*word != 's' && *word != 'm') || word[1] < '0' || word[1] >= '0' + OP_ACTORS || word[2])
                return false;
        mount = *word == 'm';
        ret->actor = (uint8_t)(word[1] - '0');
        word = strtok_r(NULL, " \t\r\n", &save);
        for (ret->kind = 0; word && ret->kind < ARRAY_LEN(kinds) && strcmp(kinds[ret->kind].name, word) != 0; ret->kind++)
                continue;
        if (!word || ret->kind == ARRAY_LEN(kinds) || mount != op_in_mount(ret))
                return false;
        while ((word = strtok_r(NULL, " \t\r\n", &save)))
                if (!parse_word(ret, word))
                        return false;
        return true;
}
