/*
 * The tables of calls, one for each file.
 */
#pragma once

#include "tests/conform/conform.h"

extern const struct call open_calls[], name_calls[], attr_calls[], xattr_calls[], use_calls[], data_calls[], sequences[], owner_sequences[],
        limit_sequences[];
extern const size_t open_call_count, name_call_count, attr_call_count, xattr_call_count, use_call_count, data_call_count, sequence_count,
        owner_sequence_count, limit_sequence_count;
