/*
 * Asking git about a source. A checkout isn't trusted: git runs as the source's owner, reaches no network, starts none of the checkout's
 * programs, and is ended when it takes too long.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct git_answer {
        char *text; /* NUL-terminated; owned */
        size_t len;
        int status; /* git's exit status */
        char *said; /* on standard error, one line; owned */
};
void git_answer_release(struct git_answer *a);

/* Run `git ARGS…` (until NULL) in `dir`. 0 whatever its status; or -errno and *why: -ENOENT when there is no git, -ETIMEDOUT. Not on a
 * thread that mustn't wait. */
int git_ask(const char *dir, const char *const args[], struct git_answer *ret, char **why);

/* What git makes of a source. Texts are owned. */
struct git_place {
        bool repository; /* else only `top` and `prefix` say anything */
        char *top;       /* of the working tree; absolute */
        char *prefix;    /* where the source is in it: "" or "a/b" */
        char *dir;       /* the repository's, where the index is; NULL: there is none */
        char *exclude;   /* the repository's own list, absolute; NULL: there is none */
        char *global;    /* the user's, absolute; NULL: there is none */
};
void git_place_release(struct git_place *p);

/* Of `source` (canonical). 0, or -errno and *why when it is in a repository that git can't or won't look at. */
int git_find(const char *source, struct git_place *ret, char **why);
