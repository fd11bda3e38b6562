/*
 * `dsfs status --watch`: asks once a second and draws in place, only what has changed, until it is interrupted or the terminal goes.
 */
#pragma once

#include "sync/agent/cmd.h"
#include "sync/agent/term.h"

/* `arg` names one mount, or NULL. The terminal is as it was when this returns. */
enum exit_code status_watch(const char *run, const char *arg, struct term *t);
