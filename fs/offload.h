/*
 * Work that may block, done beside the threads that serve requests. Under io_uring one thread serves all requests of a processor: an fsync
 * in it stops everybody there. So the blocking part of an operation goes to a worker, and the answer is made where the request came from
 * (fs/ring.c says why it can't be made elsewhere). With /dev/fuse there are threads enough: work and answer run inline.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct ring;
struct offload;

/* The first member of what an operation has to remember. A request's names and data live until it is answered; fuse_file_info, stat and
 * fuse_bufvec arguments are on libfuse's stack: copy them. */
struct job {
        /* May block. On a worker, or on the thread that called offload_run(). */
        void (*work)(struct job *j);
        /* On the thread that called offload_run(): replies, and frees the job. Mustn't block. */
        void (*answer)(struct job *j);
        /* The queue's. */
        struct job *next;
        struct ring *ring; /* of the thread that takes the answer */
};

/* Start `threads` workers, each of which calls thread_init(arg) first (may be NULL). At most `queue_max` jobs wait for one of them.
 * Not on a thread that serves requests: its affinity would be inherited. 0 or -errno. */
int offload_new(unsigned threads, size_t queue_max, void (*thread_init)(void *arg), void *arg, struct offload **ret);

/* Do what is still queued, end the workers, free. Call it when fuse_session_loop_mt() has returned: it does so only when all answers were
 * made, for which workers are needed. Takes NULL. */
void offload_free(struct offload *o);

/* Have j->work(j) done, then j->answer(j). Both are done inline, before this returns, unless `uring` (the request came by io_uring), the
 * calling thread is one that serves a ring, and the queue has room. The caller holds no lock, and has nothing to do with j afterwards. */
void offload_run(struct offload *o, struct job *j, bool uring);
