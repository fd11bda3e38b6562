/*
 * Local ownership: a variable marked with one of these gives its resource back when it goes out of scope.
 * Ownership leaves by an explicit steal.
 */
#pragma once

#include <stdlib.h>

#define CLEANUP(fn) __attribute__((cleanup(fn)))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

static inline void free_ptr(void *p)
{
        free(*(void **)p);
}
#define CLEANUP_FREE CLEANUP(free_ptr)

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* Hand over what `p` owns: *p becomes NULL. */
static inline void *steal_ptr(void *p)
{
        void *held = *(void **)p;

        *(void **)p = NULL;
        return held;
}
