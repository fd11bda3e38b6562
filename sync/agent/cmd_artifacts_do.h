/*
 * The verbs of `dsfs artifacts`, once the command line is understood.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "sync/agent/cmd.h"

struct artifacts_wish {
        const char *of, *from;
        bool as_json, move, replace, dry, force, orphans, snapshots, all;
        json_int_t older_than, keep; /* below 0: not said */
        size_t count;
        char **args; /* what is no option */
};

enum exit_code command_artifacts_list(const struct artifacts_wish *w);
enum exit_code command_artifacts_show(const struct artifacts_wish *w);
enum exit_code command_artifacts_adopt(const struct artifacts_wish *w);
enum exit_code command_artifacts_save(const struct artifacts_wish *w);
enum exit_code command_artifacts_restore(const struct artifacts_wish *w);
enum exit_code command_artifacts_prune(const struct artifacts_wish *w);
