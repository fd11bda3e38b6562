/*
 * A small filesystem whose reads are jobs of an offload: one file's block until they are released, one's are served at once, one's by a
 * worker.
 */
#pragma once

#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "cache/base/thread.h"
#include "fs/offload.h"

#define TINY_MOUNTS 2
#define TINY_BYTES (1 << 20)
#define TINY_READ 4096

enum {
        INO_SLOW = 2, /* its reads block until they are released */
        INO_FAST,     /* served inline */
        INO_MIXED,    /* a worker reads it */
        INO_END,
};

struct tiny {
        char mnt[80];
        struct offload *offload;
        struct fuse_session *se;
        pthread_t loop;
        atomic_bool ended;
        atomic_uint by_uring; /* requests */
        atomic_uint elsewhere;
        atomic_uint started, answered; /* jobs */
        atomic_uint blocked;
        struct mutex lock;
        struct cond changed;
        bool released GUARDED_BY(lock);
};

/* Where mounts are made, with the control filesystem at ctl/; and how they are served. */
extern const char *tiny_base;
extern bool tiny_uring;

/* Before processes are forked that mount: their parent can abort what they have mounted. */
void tiny_share(void);

/* No connection is known from now on. */
void tiny_forget(void);

/* Abort all that are known. False if there is none left. With requests at a dead server's rings the kernel doesn't do it itself. */
bool tiny_abort_all(void);

struct tiny *tiny_new(const char *name, struct offload *o);

/* The mount must have ended, or be about to. */
void tiny_free(struct tiny *t);

/* Let those go that are blocked, now and later. */
void tiny_release(struct tiny *t);

int tiny_open(const struct tiny *t, fuse_ino_t ino);

/* What a file has at `off`. */
unsigned char tiny_byte_at(fuse_ino_t ino, off_t off);

/* Read at `off`, and compare. */
void tiny_must_read(int fd, fuse_ino_t ino, off_t off);
