#include "sync/reflog.h"

#include <ctype.h>
#include <string.h>

#define ID_MIN 40U
#define ID_MAX 64U
#define MOVING "moving from "
#define TO " to "

/* The bytes of a line that are left. */
struct rest {
        const char *at;
        size_t len;
};

static void skip(struct rest *r, size_t n)
{
        r->at += n;
        r->len -= n;
}

static bool begins(const struct rest *r, const char *with)
{
        return r->len >= strlen(with) && memcmp(r->at, with, strlen(with)) == 0;
}

/* A commit's id and the space after it. */
static bool take_id(struct rest *r, struct rest *id)
{
        size_t n = 0;

        while (n < r->len && n <= ID_MAX && isxdigit((unsigned char)r->at[n]))
                n++;
        if (n < ID_MIN || n > ID_MAX || n == r->len || r->at[n] != ' ')
                return false;
        *id = (struct rest){r->at, n};
        skip(r, n + 1);
        return true;
}

/* Its first word: "commit (amend): text" is a commit. */
static bool take_operation(struct rest *r, struct rest *operation)
{
        size_t n = 0;

        while (n < r->len && (isalpha((unsigned char)r->at[n]) || r->at[n] == '-'))
                n++;
        if (n == 0 || n >= REFLOG_OPERATION || (n < r->len && !memchr(" :", r->at[n], 2)))
                return false;
        *operation = (struct rest){r->at, n};
        skip(r, n);
        return true;
}

/* "checkout: moving from a to b". No name has a space in it. */
static bool take_names(struct rest r, struct rest *from, struct rest *to)
{
        size_t n = 0;

        if (!begins(&r, ": " MOVING))
                return false;
        skip(&r, strlen(": " MOVING));
        while (n < r.len && r.at[n] != ' ')
                n++;
        *from = (struct rest){r.at, n};
        skip(&r, n);
        if (n == 0 || !begins(&r, TO))
                return false;
        skip(&r, strlen(TO));
        *to = r;
        return r.len > 0;
}

static bool is_nowhere(const struct rest *id)
{
        return strspn(id->at, "0") >= id->len;
}

static void put(char *to, size_t size, const struct rest *from)
{
        size_t len = from->len < size ? from->len : size - 1;

        memcpy(to, from->at, len);
        to[len] = '\0';
}

bool reflog_take(struct reflog_move *m, const char *line, size_t len)
{
        struct rest r = {line, len}, old, new, operation;
        const char *tab;

        if (!take_id(&r, &old) || !take_id(&r, &new))
                return false;
        tab = memchr(r.at, '\t', r.len);
        if (!tab)
                return false;
        skip(&r, (size_t)(tab + 1 - r.at));
        if (!take_operation(&r, &operation))
                return false;
        if (is_nowhere(&old))
                old.len = 0;
        (void)take_names(r, &old, &new);
        if (!*m->operation)
                put(m->was, sizeof(m->was), &old);
        put(m->is, sizeof(m->is), &new);
        put(m->operation, sizeof(m->operation), &operation);
        for (char *c = m->operation; *c; c++)
                *c = (char)tolower((unsigned char)*c);
        m->moved = strcmp(m->was, m->is) != 0;
        return true;
}
