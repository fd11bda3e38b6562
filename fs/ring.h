/*
 * A thread of libfuse that serves an io_uring queue, made to take answers from other threads.
 */
#pragma once

struct job;
struct ring;

/* The calling thread's ring; NULL if it serves none. */
struct ring *ring_current(void);

/* r's own thread: one more job will be posted, or won't be after all. The thread doesn't end while jobs are expected. */
void ring_expect(struct ring *r);
void ring_expect_no_more(struct ring *r);

/* Any thread: have j->answer(j) called by r's thread, soon. Neither r nor j may be touched afterwards. Takes r's lock for a moment. */
void ring_post(struct ring *r, struct job *j);
