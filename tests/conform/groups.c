/*
 * Which calls are made on which targets.
 */
#include "cache/base/fd.h"
#include "tests/conform/calls.h"

static const struct target no_target[] = {{"-", "", ""}};
static const size_t one = 1;

const struct group groups[] = {
        {"open", open_calls, &open_call_count, path_targets, &path_target_count, false},
        {"names", name_calls, &name_call_count, path_targets, &path_target_count, false},
        {"attrs", attr_calls, &attr_call_count, path_targets, &path_target_count, false},
        {"xattrs", xattr_calls, &xattr_call_count, path_targets, &path_target_count, false},
        {"use", use_calls, &use_call_count, path_targets, &path_target_count, false},
        {"data", data_calls, &data_call_count, fd_targets, &fd_target_count, false},
        {"sequences", sequences, &sequence_count, no_target, &one, true},
        {"limits", limit_sequences, &limit_sequence_count, no_target, &one, true},
        {"owners", owner_sequences, &owner_sequence_count, no_target, &one, true},
};
const size_t group_count = ARRAY_LEN(groups);
