/*
 * What those who inject (inject.c) and those who answer (inject_answer.c) share.
 */
#pragma once

#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "cache/base/thread.h"
#include "fs/node.h"

enum expect {
        EXPECT_NOTHING,
        EXPECT_ELSEWHERE, /* the way there */
        EXPECT_CREATE,
        EXPECT_DELETE,
        EXPECT_RENAME,
        EXPECT_SETATTR,
};

/* A name that nobody can have but us: a directory in the mount's root, where things come from that come from outside, and go. */
#define ELSEWHERE "\001dsfs-elsewhere"

/* What a name is to stand for, with references of who injects. Who answers works on a copy, for who injects goes on when he has his answer.
 */
struct expected_name {
        struct node *dir; /* NULL: no name is expected */
        struct node *n;   /* NULL: nothing */
        struct stat st;
        char name[NAME_MAX + 1];
};

/* An object out of reach: what a filesystem says of one has a block size. */
static inline bool inject_is_unknown(const struct stat *st)
{
        return st->st_blksize == 0;
}

struct expected {
        enum expect what;
        struct expected_name at, to; /* `to`: of a rename */
        struct node *elsewhere;      /* or NULL */
        bool exchange;
        bool stays; /* `at` is what is there; else nobody is to keep the answer, and what it says is in at.st */
        bool answered;
        struct node *stand_in; /* answered in place of an object that is out of reach; with a reference */
};

struct injector {
        _Atomic pid_t tid; /* who injects; 0: nobody */
        /* Held while one operation is injected. Never by who serves. */
        struct mutex busy;
        int root GUARDED_BY(busy); /* of the mount; -1: closed, so that it can end */
        /* Innermost. */
        struct mutex lock;
        struct expected expected GUARDED_BY(lock);
        /* The watch's thread only. */
        struct ident swapped;
        bool has_swapped;
};
