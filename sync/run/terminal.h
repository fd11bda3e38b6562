/*
 * The terminal that `dsfs run` was started on, if there is one: lent to the command while it runs, as a shell lends it, so that what reads
 * the keyboard works and Ctrl-C and Ctrl-Z reach the command itself.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>
#include <termios.h>

struct terminal {
        int fd; /* below 0: there is none */
        bool lent;
        bool has_modes;
        struct termios modes; /* as they were when we began */
};

void terminal_init(struct terminal *t);
void terminal_release(struct terminal *t);

/* Is it ours to lend: are we in its foreground? */
bool terminal_is_ours(const struct terminal *t);

/* Make `group` its foreground. SIGTTOU is blocked. In the command's process too, between fork and exec. */
void terminal_lend(struct terminal *t, pid_t group);

/* Back to us if it was lent. `modes`: as they were, too, for the command may have died without putting them back. */
void terminal_take_back(struct terminal *t, bool modes);

/* Stop, with all of our group, as Ctrl-Z has it, until somebody continues us. At once back where nobody could (no shell is above us). */
void terminal_stop_us(void);
