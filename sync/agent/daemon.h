/*
 * How the agent gets into the background and tells when it is ready: to the command that started it, or to a service manager.
 */
#pragma once

#include <stdbool.h>

struct daemon {
        bool foreground;
        bool held; /* a holder speaks to the service manager for us */
        int pipe;  /* to the waiting parent; -1 in the foreground */
};

/* Go into the background: in the child this returns 0. The parent never returns: it waits until the child is ready or has failed, prints
 * the child's word on standard output or its reason on standard error, and exits 0 or 1. In the foreground nothing is forked.
 * Before any thread is started. -errno when there is no child. */
int daemon_start(struct daemon *d, bool foreground);

/* The mount is usable: `word` is printed. In the background this gives up the terminal, so that whoever reads our output sees its end;
 * messages go to the log file by now. 0, or -EPIPE when nobody waits any more (the command was interrupted). */
int daemon_ready(struct daemon *d, const char *word);

/* It did not come to that: `why` is what the parent prints. */
void daemon_failed(struct daemon *d, const char *why);

/* The end has begun: told to a service manager. */
void daemon_stopping(const struct daemon *d);

/* The holder's part. Its agent has been ready: the terminal and the waiting parent are given up, or the service manager is told. */
void daemon_held_ready(struct daemon *d);

/* One phrase for the service manager: how it is. */
void daemon_say(const struct daemon *d, const char *status);
