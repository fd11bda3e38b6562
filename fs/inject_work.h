/*
 * What those who inject (inject.c) and those who answer (inject_answer.c) share.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "cache/base/thread.h"
#include "fs/node.h"

enum expect {
        EXPECT_NOTHING,
        EXPECT_CREATE,
        EXPECT_DELETE,
        EXPECT_RENAME,
        EXPECT_SETATTR,
};

struct expected {
        enum expect what;
        struct node *dir, *to_dir, *node, *over; /* with references of who injects */
        const char *name, *to_name;
        struct stat st; /* of what is created */
        bool answered;
};

struct injector {
        _Atomic pid_t tid; /* who injects; 0: nobody */
        /* Held while one operation is injected. Never by who serves. */
        struct mutex busy;
        int root GUARDED_BY(busy); /* of the mount; -1: closed, so that it can end */
        /* Innermost. */
        struct mutex lock;
        struct expected expected GUARDED_BY(lock);
};
