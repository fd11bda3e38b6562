/*
 * What is plain everywhere stays bare, for most paths are and read better so; the rest stands in single quotes, in which only the quote
 * itself means anything.
 */
#include "sync/agent/shell.h"

#include <stdlib.h>
#include <string.h>

static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+./:,@%";
/* With no backslash, for in JSON, which remedies go through, a text has each of them twice. */
static const char escaped[] = "'\"'\"'";

char *shell_word(const char *text)
{
        char *word;
        char *to;

        if (*text && text[strspn(text, plain)] == '\0')
                return strdup(text);
        word = malloc(strlen(text) * (sizeof(escaped) - 1) + sizeof("''"));
        if (!word)
                return NULL;
        to = word;
        *to++ = '\'';
        for (; *text; text++) {
                if (*text == '\'')
                        to = stpcpy(to, escaped);
                else
                        *to++ = *text;
        }
        *to++ = '\'';
        *to = '\0';
        return word;
}
