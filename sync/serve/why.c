#include "sync/serve/why.h"

#include <stdarg.h>
#include <stdio.h>

char *text_new(const char *fmt, ...)
{
        char *text;
        va_list ap;
        int n;

        va_start(ap, fmt);
        n = vasprintf(&text, fmt, ap);
        va_end(ap);
        return n < 0 ? NULL : text;
}

int why_set(char **why, int rc, const char *fmt, ...)
{
        va_list ap;
        int n;

        va_start(ap, fmt);
        n = vasprintf(why, fmt, ap);
        va_end(ap);
        if (n < 0)
                *why = NULL;
        return rc;
}

const char *why_text(const char *why)
{
        return why ? why : "out of memory";
}
