#include "fs/glob.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cache/base/err.h"

#define BITS_PER_WORD 64U
#define WORDS_PER_SET (256U / BITS_PER_WORD)

enum kind {
        BYTE,
        ANY_BYTE,
        STAR,
        SET,
};

struct token {
        uint8_t kind;
        uint8_t byte;
        uint16_t set;
};

struct set {
        uint64_t words[WORDS_PER_SET];
};

struct glob {
        enum glob_form form;
        struct token *tokens; /* owned */
        size_t count;
        struct set *sets; /* owned */
        size_t set_count;
        char *bytes; /* owned; of LITERAL and SUFFIX */
        size_t bytes_len;
};

/* What is left of a pattern's text. */
struct reader {
        const char *at, *end;
};

static bool more(const struct reader *r)
{
        return r->at < r->end;
}

static void set_add(struct set *s, unsigned from, unsigned to)
{
        for (unsigned c = from; c <= to; c++)
                s->words[c / BITS_PER_WORD] |= 1ULL << (c % BITS_PER_WORD);
}

static bool set_has(const struct set *s, uint8_t c)
{
        return s->words[c / BITS_PER_WORD] >> (c % BITS_PER_WORD) & 1;
}

/* git's classes are those of the C locale: no byte above 127 is in one. */
static const struct {
        const char *name;
        int (*has)(int c);
} classes[] = {
        {"alnum", isalnum}, {"alpha", isalpha}, {"blank", isblank}, {"cntrl", iscntrl}, {"digit", isdigit}, {"graph", isgraph},
        {"lower", islower}, {"print", isprint}, {"punct", ispunct}, {"space", isspace}, {"upper", isupper}, {"xdigit", isxdigit},
};

static bool set_add_class(struct set *s, const char *name, size_t len)
{
        for (size_t i = 0; i < ARRAY_LEN(classes); i++) {
                if (strlen(classes[i].name) != len || memcmp(classes[i].name, name, len) != 0)
                        continue;
                for (unsigned c = 0; c < 128; c++)
                        if (classes[i].has((int)c))
                                set_add(s, c, c);
                return true;
        }
        return false;
}

/* "[:name:]" at the reader: 1 and consumed, 0 if it is none, -EINVAL for a name that isn't known. */
static int read_class(struct reader *r, struct set *s)
{
        const char *name = r->at + 2;
        const char *close;

        if (r->end - r->at < 2 || r->at[1] != ':')
                return 0;
        close = memchr(name, ']', (size_t)(r->end - name));
        if (!close)
                return -EINVAL;
        if (close == name || close[-1] != ':')
                return 0;
        if (!set_add_class(s, name, (size_t)(close - 1 - name)))
                return -EINVAL;
        r->at = close + 1;
        return 1;
}

/* One byte, perhaps behind a backslash. -EINVAL at the end. */
static int read_byte(struct reader *r)
{
        if (more(r) && *r->at == '\\')
                r->at++;
        return more(r) ? (uint8_t)*r->at++ : -EINVAL;
}

/* One member of a set: a class, a range, or a byte. *from is the byte that a range may begin with, -1 if there is none. */
static int read_member(struct reader *r, struct set *s, int *from)
{
        int rc = *r->at == '[' ? read_class(r, s) : 0;
        int to;

        if (rc != 0) {
                *from = -1;
                return rc < 0 ? rc : 0;
        }
        if (*r->at == '-' && *from > 0 && r->end - r->at > 1 && r->at[1] != ']') {
                r->at++;
                to = read_byte(r);
                if (to >= *from)
                        set_add(s, (unsigned)*from, (unsigned)to);
                *from = -1;
                return to < 0 ? to : 0;
        }
        *from = read_byte(r);
        if (*from >= 0)
                set_add(s, (unsigned)*from, (unsigned)*from);
        return *from < 0 ? *from : 0;
}

/* After the opening bracket, to behind the closing one. The first member may be a closing bracket. */
static int read_set(struct reader *r, struct set *s)
{
        bool negated = more(r) && (*r->at == '!' || *r->at == '^');
        bool first = true;
        int from = -1;

        if (negated)
                r->at++;
        for (; more(r) && (first || *r->at != ']'); first = false) {
                int rc = read_member(r, s, &from);

                if (rc < 0)
                        return rc;
        }
        if (!more(r))
                return -EINVAL;
        r->at++;
        for (size_t i = 0; negated && i < WORDS_PER_SET; i++)
                s->words[i] = ~s->words[i];
        return 0;
}

static int read_token(struct glob *g, struct reader *r, struct token *t)
{
        int c;

        switch (*r->at) {
        case '*':
                while (more(r) && *r->at == '*')
                        r->at++;
                t->kind = STAR;
                return 0;
        case '?':
                r->at++;
                t->kind = ANY_BYTE;
                return 0;
        case '[':
                r->at++;
                t->kind = SET;
                t->set = (uint16_t)g->set_count;
                return read_set(r, &g->sets[g->set_count++]);
        default:
                c = read_byte(r);
                t->kind = BYTE;
                t->byte = (uint8_t)c;
                return c < 0 ? c : 0;
        }
}

size_t glob_token_len(const char *text, size_t len)
{
        struct reader r = {.at = text, .end = text + len};
        struct set scratch = {0};

        if (*text == '\\')
                return len > 1 ? 2 : 0;
        if (*text != '[')
                return 1;
        r.at++;
        return read_set(&r, &scratch) < 0 ? 0 : (size_t)(r.at - text);
}

static void find_form(struct glob *g)
{
        size_t literal = 0;

        for (size_t i = 0; i < g->count; i++)
                literal += g->tokens[i].kind == BYTE;
        if (literal == g->count)
                g->form = GLOB_LITERAL;
        else if (g->count == 1 && g->tokens[0].kind == STAR)
                g->form = GLOB_ANY;
        else if (literal == g->count - 1 && g->tokens[0].kind == STAR)
                g->form = GLOB_SUFFIX;
        else
                g->form = GLOB_GENERAL;
        for (size_t i = 0; i < g->count; i++)
                if (g->tokens[i].kind == BYTE)
                        g->bytes[g->bytes_len++] = (char)g->tokens[i].byte;
}

int glob_new(const char *text, size_t len, struct glob **ret)
{
        struct reader r = {.at = text, .end = text + len};
        struct glob *g = calloc(1, sizeof(*g));
        size_t sets = 0;
        int rc = 0;

        for (size_t i = 0; i < len; i++)
                sets += text[i] == '[';
        if (g) {
                g->tokens = calloc(len + 1, sizeof(*g->tokens));
                g->sets = calloc(sets + 1, sizeof(*g->sets));
                g->bytes = malloc(len + 1);
        }
        if (!g || !g->tokens || !g->sets || !g->bytes || sets > UINT16_MAX)
                rc = -ENOMEM;
        while (rc == 0 && more(&r))
                rc = read_token(g, &r, &g->tokens[g->count++]);
        if (rc < 0) {
                glob_free(g);
                return rc;
        }
        find_form(g);
        *ret = g;
        return 0;
}

void glob_free(struct glob *g)
{
        if (!g)
                return;
        free(g->tokens);
        free(g->sets);
        free(g->bytes);
        free(g);
}

static bool token_match(const struct glob *g, const struct token *t, char c)
{
        switch (t->kind) {
        case BYTE:
                return t->byte == (uint8_t)c;
        case SET:
                return set_has(&g->sets[t->set], (uint8_t)c);
        default:
                return true;
        }
}

/* A star that was passed may take one byte more when what comes after it fails; only the last one ever needs to. */
static bool match_general(const struct glob *g, const char *name, size_t len)
{
        size_t token = 0, at = 0, star = SIZE_MAX, star_at = 0;

        while (at < len) {
                if (token < g->count && g->tokens[token].kind == STAR) {
                        star = token++;
                        star_at = at;
                } else if (token < g->count && token_match(g, &g->tokens[token], name[at])) {
                        token++;
                        at++;
                } else if (star != SIZE_MAX) {
                        token = star + 1;
                        at = ++star_at;
                } else {
                        return false;
                }
        }
        while (token < g->count && g->tokens[token].kind == STAR)
                token++;
        return token == g->count;
}

bool glob_match(const struct glob *g, const char *name, size_t len)
{
        switch (g->form) {
        case GLOB_LITERAL:
                return len == g->bytes_len && memcmp(name, g->bytes, len) == 0;
        case GLOB_SUFFIX:
                return len >= g->bytes_len && memcmp(name + len - g->bytes_len, g->bytes, g->bytes_len) == 0;
        case GLOB_ANY:
                return true;
        default:
                return match_general(g, name, len);
        }
}

enum glob_form glob_form(const struct glob *g)
{
        return g->form;
}

const char *glob_bytes(const struct glob *g, size_t *len)
{
        *len = g->bytes_len;
        return g->bytes;
}

int glob_first(const struct glob *g)
{
        return g->count && g->tokens[0].kind == BYTE ? g->tokens[0].byte : -1;
}
