/*
 * What git did, from the lines that it adds to HEAD's log:  OLD NEW Name <mail> time zone<TAB>operation (more): text
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define REFLOG_TEXT 256
#define REFLOG_OPERATION 32

struct reflog_move {
        char operation[REFLOG_OPERATION]; /* of the last line: "checkout", "rebase", "commit", …; "": none was seen */
        /* Where HEAD was before the first line and is after the last: a name where git says one (a checkout), else a commit's id; "":
         * nowhere (before the first commit). */
        char was[REFLOG_TEXT], is[REFLOG_TEXT];
        bool moved; /* it isn't where it was */
};

/* Take one more line (without its newline) into account; false: it is none, or of no operation. `m` begins as zeroes. */
bool reflog_take(struct reflog_move *m, const char *line, size_t len);
