#include "sync/agent/term.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cache/base/err.h"
#include "sync/serve/json.h"

#define ESCAPE '\033'
#define COLUMNS_DEFAULT 80
#define ROWS_DEFAULT 24

static const char *const codes[] = {
        [COLOUR_PLAIN] = "", [COLOUR_GOOD] = "32", [COLOUR_WARN] = "33", [COLOUR_BAD] = "31;1", [COLOUR_FAINT] = "2", [COLOUR_STRONG] = "1",
};

static bool is_utf8(void)
{
        static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
        const char *locale = NULL;

        for (size_t i = 0; i < ARRAY_LEN(names) && (!locale || !*locale); i++)
                locale = getenv(names[i]);
        return locale && (strcasestr(locale, "utf-8") || strcasestr(locale, "utf8"));
}

void term_measure(struct term *t)
{
        struct winsize size;

        t->columns = t->rows = SIZE_MAX;
        if (!t->terminal)
                return;
        t->columns = COLUMNS_DEFAULT;
        t->rows = ROWS_DEFAULT;
        if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0) {
                t->columns = size.ws_col;
                t->rows = size.ws_row;
        }
}

bool term_look(const char *when, struct term *t)
{
        const char *no = getenv("NO_COLOR");
        const char *term = getenv("TERM");
        bool dumb = !term || !*term || strcmp(term, "dumb") == 0;

        t->terminal = isatty(STDOUT_FILENO);
        t->utf8 = is_utf8();
        term_measure(t);
        if (!when || strcmp(when, "auto") == 0)
                t->colours = t->terminal && !dumb && !(no && *no);
        else if (strcmp(when, "always") == 0 || strcmp(when, "never") == 0)
                t->colours = *when == 'a';
        else
                return false;
        return true;
}

void term_print(FILE *to, const struct term *t, enum colour c, const char *text)
{
        if (t->colours && c != COLOUR_PLAIN)
                fprintf(to, "%c[%sm%s%c[0m", ESCAPE, codes[c], text, ESCAPE);
        else
                fputs(text, to);
}

/* The length of a sequence that moves nothing: ESC [ … letter. 0 if there is none. */
static size_t colour_at(const char *text, size_t len)
{
        size_t n = 2;

        if (len < 2 || text[0] != ESCAPE || text[1] != '[')
                return 0;
        while (n < len && (text[n] == ';' || (text[n] >= '0' && text[n] <= '9')))
                n++;
        return n < len ? n + 1 : len;
}

size_t term_fit(const char *line, size_t len, size_t columns)
{
        size_t at = 0;
        size_t used = 0;

        while (at < len) {
                size_t n = colour_at(line + at, len - at);

                if (n == 0) {
                        if (used == columns)
                                break;
                        n = utf8_sequence((const unsigned char *)line + at, len - at);
                        n = n ? n : 1;
                        used++;
                }
                at += n;
        }
        return at;
}

void term_wrap(FILE *to, const struct term *t, const char *text, size_t indent)
{
        for (const char *line = text; *line;) {
                size_t len = strcspn(line, "\n");
                size_t room = t->columns;

                for (;;) {
                        size_t fits = term_fit(line, len, room);
                        size_t cut = fits;

                        if (fits == len || t->columns <= 2 * indent)
                                break;
                        /* At a blank, if there is one behind the indentation. */
                        while (cut > 0 && line[cut] != ' ')
                                cut--;
                        if (cut <= (room == t->columns ? 2 * indent : 0))
                                cut = fits;
                        fprintf(to, "%.*s\n%*s", (int)cut, line, (int)indent, "");
                        line += cut;
                        len -= cut;
                        while (len && *line == ' ') {
                                line++;
                                len--;
                        }
                        room = t->columns - indent;
                }
                fprintf(to, "%.*s\n", (int)len, line);
                line += len + (line[len] == '\n');
        }
}
