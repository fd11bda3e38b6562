#include "sync/agent/untar_header.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "cache/base/fd.h"
#include "sync/serve/why.h"

#define EXTRA_MAX (1024 * 1024) /* of a long name, or a pax header */
#define BASE_256 0x80

struct raw {
        char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], sum[8], type, link[100], magic[6], version[2], owner[32], group[32],
                major[8], minor[8], prefix[155], rest[12];
};
_Static_assert(sizeof(struct raw) == TAR_BLOCK, "a tar header is one block");

/* What headers before the member's own have said of it. */
struct said {
        char *name, *link; /* owned */
        bool has_size, has_mtime;
        uint64_t size;
        int64_t mtime;
};

static int damaged(char **why, const char *how)
{
        return why_set(why, -EINVAL, "this is no tar archive, or a damaged one: %s", how);
}

/* Octal digits, or big-endian binary where these are too few. */
static bool number(const char *field, size_t len, uint64_t *ret)
{
        const unsigned char *at = (const unsigned char *)field;
        uint64_t n = 0;
        size_t i = 0;

        if (at[0] & BASE_256) {
                n = at[0] & 0x3f;
                if (at[0] & 0x40)
                        return false; /* below zero */
                for (i = 1; i < len; i++) {
                        if (n >> 55)
                                return false;
                        n = n << 8 | at[i];
                }
                *ret = n;
                return true;
        }
        while (i < len && at[i] == ' ')
                i++;
        for (; i < len && at[i] >= '0' && at[i] <= '7'; i++)
                n = n << 3 | (uint64_t)(at[i] - '0');
        *ret = n;
        return i == len || at[i] == '\0' || at[i] == ' ';
}

static bool sum_is_right(const struct raw *h)
{
        const unsigned char *bytes = (const unsigned char *)h;
        uint64_t want, sum = 0;

        for (size_t i = 0; i < sizeof(*h); i++)
                sum += i >= offsetof(struct raw, sum) && i < offsetof(struct raw, type) ? ' ' : bytes[i];
        return number(h->sum, sizeof(h->sum), &want) && want == sum;
}

static bool is_zero(const struct raw *h)
{
        const char *bytes = (const char *)h;

        return bytes[0] == '\0' && memcmp(bytes, bytes + 1, sizeof(*h) - 1) == 0;
}

/* 1: the end; 0; or -errno. */
static int read_raw(int in, struct raw *ret, char **why)
{
        ssize_t n = fd_read_full(in, ret, sizeof(*ret));

        if (n < 0)
                return why_set(why, (int)n, "the archive can't be read: %s", strerror((int)-n));
        if (n < (ssize_t)sizeof(*ret))
                return damaged(why, "it ends too early");
        if (is_zero(ret))
                return 1;
        return sum_is_right(ret) ? 0 : damaged(why, "a header's checksum is wrong");
}

static int read_extra(int in, uint64_t size, char **ret, char **why)
{
        char *text;
        ssize_t n;
        size_t whole = ((size_t)size + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;

        if (size > EXTRA_MAX)
                return damaged(why, "a name in it is too long");
        text = calloc(1, whole + 1);
        if (!text)
                return why_set(why, -ENOMEM, "out of memory");
        n = fd_read_full(in, text, whole);
        if (n != (ssize_t)whole) {
                free(text);
                return n < 0 ? why_set(why, (int)n, "the archive can't be read: %s", strerror((int)-n)) : damaged(why, "it ends too early");
        }
        text[size] = '\0';
        *ret = text;
        return 0;
}

static void set_text(char **field, char *text)
{
        free(*field);
        *field = text;
}

/* One record of a pax header: `key` and `value` are NUL-terminated. */
static int take_record(struct said *s, const char *key, const char *value, size_t len, char **why)
{
        char *end;

        if (strcmp(key, "path") == 0 || strcmp(key, "linkpath") == 0) {
                char *copy = strdup(value);

                if (!copy)
                        return why_set(why, -ENOMEM, "out of memory");
                set_text(*key == 'p' ? &s->name : &s->link, copy);
                return strlen(value) == len ? 0 : damaged(why, "a name in it has a NUL");
        }
        if (strncmp(key, "GNU.sparse.", 11) == 0)
                return why_set(why, -EINVAL, "the archive has sparse files in a form of GNU tar's; make it without --sparse");
        errno = 0;
        if (strcmp(key, "size") == 0) {
                s->size = strtoull(value, &end, 10);
                s->has_size = true;
                return errno || *end || *value < '0' || *value > '9' ? damaged(why, "a size in it is no number") : 0;
        }
        if (strcmp(key, "mtime") == 0) {
                s->mtime = strtoll(value, &end, 10);
                s->has_mtime = errno == 0;
        }
        return 0;
}

/* "LENGTH KEY=VALUE\n", again and again. */
static int take_pax(struct said *s, char *text, size_t size, char **why)
{
        char *at = text;
        int rc = 0;

        while (rc == 0 && at < text + size) {
                char *key, *value;
                unsigned long len = strtoul(at, &key, 10);
                size_t left = (size_t)(text + size - at);

                if (*at < '0' || *at > '9' || *key != ' ' || len > left || len < (size_t)(key - at) + 3 || at[len - 1] != '\n')
                        return damaged(why, "a pax header makes no sense");
                at[len - 1] = '\0';
                key++;
                value = memchr(key, '=', (size_t)(at + len - key));
                if (!value)
                        return damaged(why, "a pax header makes no sense");
                *value++ = '\0';
                rc = take_record(s, key, value, (size_t)(at + len - 1 - value), why);
                at += len;
        }
        return rc;
}

static enum tar_kind kind_of(const struct raw *h, const char *name)
{
        switch (h->type) {
        case '\0':
        case '0':
        case '7':
                /* Before there were types, a slash behind the name said so. */
                return *name && name[strlen(name) - 1] == '/' ? TAR_DIRECTORY : TAR_FILE;
        case '1':
                return TAR_HARD_LINK;
        case '2':
                return TAR_SYMLINK;
        case '5':
                return TAR_DIRECTORY;
        default:
                return TAR_OTHER;
        }
}

static char *own_name(const struct raw *h)
{
        bool prefixed = memcmp(h->magic, "ustar", 6) == 0 && h->prefix[0];

        return prefixed ? text_new("%.*s/%.*s", (int)sizeof(h->prefix), h->prefix, (int)sizeof(h->name), h->name)
                        : text_new("%.*s", (int)sizeof(h->name), h->name);
}

static int be_member(const struct raw *h, struct said *s, struct tar_member *ret, char **why)
{
        uint64_t mode, mtime, size;
        bool right = number(h->size, sizeof(h->size), &size);

        right = number(h->mode, sizeof(h->mode), &mode) && right;
        if (!number(h->mtime, sizeof(h->mtime), &mtime))
                mtime = 0;
        if (!right && !s->has_size)
                return damaged(why, "a number in it is none");
        ret->name = s->name ? steal_ptr(&s->name) : own_name(h);
        ret->link = s->link ? steal_ptr(&s->link) : text_new("%.*s", (int)sizeof(h->link), h->link);
        if (!ret->name || !ret->link)
                return why_set(why, -ENOMEM, "out of memory");
        ret->kind = kind_of(h, ret->name);
        ret->type = h->type ? h->type : '0';
        ret->mode = (mode_t)mode & 07777;
        ret->mtime = s->has_mtime ? s->mtime : (int64_t)mtime;
        ret->size = s->has_size ? s->size : size;
        if (ret->size > INT64_MAX - TAR_BLOCK)
                return damaged(why, "a size in it is beyond all bounds");
        if (ret->kind == TAR_HARD_LINK || ret->kind == TAR_SYMLINK || ret->kind == TAR_DIRECTORY)
                ret->size = 0;
        return 0;
}

/* A header that says something about the next one. 0, or 1: it is none of these. */
static int take_extra(int in, const struct raw *h, struct said *s, char **why)
{
        CLEANUP_FREE char *text = NULL;
        uint64_t size;
        int rc;

        if (!h->type || !strchr("LKxgX", h->type))
                return 1;
        if (!number(h->size, sizeof(h->size), &size))
                return damaged(why, "a number in it is none");
        rc = read_extra(in, size, &text, why);
        if (rc < 0)
                return rc;
        if (h->type == 'L')
                set_text(&s->name, steal_ptr(&text));
        else if (h->type == 'K')
                set_text(&s->link, steal_ptr(&text));
        else if (h->type != 'g')
                return take_pax(s, text, (size_t)size, why);
        return 0;
}

int tar_next(int in, struct tar_member *ret, char **why)
{
        struct said s = {0};
        struct raw h;
        int rc;

        *ret = (struct tar_member){0};
        do {
                rc = read_raw(in, &h, why);
                if (rc == 1 && (s.name || s.link))
                        rc = damaged(why, "it ends too early");
                if (rc)
                        break;
                rc = take_extra(in, &h, &s, why);
        } while (rc == 0);
        if (rc == 1 && !is_zero(&h))
                rc = be_member(&h, &s, ret, why);
        free(s.name);
        free(s.link);
        if (rc < 0)
                tar_member_release(ret);
        return rc < 0 ? rc : 0;
}

void tar_member_release(struct tar_member *m)
{
        free(m->name);
        free(m->link);
        *m = (struct tar_member){0};
}
