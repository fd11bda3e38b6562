/*
 * The plugin's inside: its entries, and the jobs that change them.
 */
#pragma once

#include <stdbool.h>
#include <uv.h>

#include "sync/agent/volume_mount.h"
#include "sync/agent/volume_store.h"
#include "sync/serve/http.h"

enum job_kind {
        JOB_CREATE,
        JOB_MOUNT,
        JOB_UNMOUNT,
        JOB_REMOVE,
        JOB_TIDY, /* after a start: users that are no more */
        JOB_HEAL, /* its agent has died */
};

struct job {
        uv_work_t work;
        struct entry *entry;
        struct job *next;
        enum job_kind kind;
        struct http_exchange *exchange; /* who is to be answered; or NULL */
        char *user;                     /* owned: of MOUNT and UNMOUNT */
        json_t *users;                  /* owned: who will use it if that works */
        char *text;                     /* owned: the record then */
        struct volume *fresh;           /* owned: of CREATE */
        bool young;                     /* users have come just now, so nobody need see them yet */
        /* What came of it. */
        int rc;
        char *why;
        bool forget; /* of TIDY: the users are no more */
};

/* Somebody who waits for a moment to hear how a volume is. */
struct inquiry {
        uv_timer_t patience;
        struct entry *entry;
        struct inquiry *next;
        struct http_exchange *exchange;
};

/* A name: a volume, or what is about to be one. It goes when it has neither a volume nor anything under way. */
struct entry {
        struct plugin *plugin;
        struct entry *next;
        char *name, *place; /* owned; set once */
        /* The loop's, who changes it only between jobs; so the job's thread may read it, too. */
        struct volume *volume; /* owned; or NULL */
        struct job *jobs;      /* the first is under way */
        /* How the mount was when it was looked at last. */
        uv_work_t look;
        bool looking;
        struct json_t *seen; /* owned; or NULL */
        int seen_rc;
        char *seen_why; /* owned; or NULL */
        bool seen_over;
        uint64_t seen_ms, healed_ms;
        struct inquiry *inquiries;
        unsigned closing; /* of them, those that libuv has not let go of */
};

struct plugin {
        uv_loop_t *loop;
        char *run, *places; /* owned */
        struct volume_store store;
        struct entry *entries;
        size_t entry_count;
        uv_timer_t tidy; /* once more, when who was young at the start is no longer */
};

/* The entry of that name, or NULL. */
struct entry *entry_find(struct plugin *p, const char *name);
struct entry *entry_make(struct plugin *p, const char *name);
/* Forget it if there is nothing to it any more. */
void entry_let_go(struct entry *e);

/* From docker's Mount to where its container sees the volume: until then it looks like one that is gone. */
#define YOUNG_S 20

/* Do it after what is under way for the entry. `exchange` may be NULL; takes `fresh`. */
void job_start(struct entry *e, enum job_kind kind, struct http_exchange *exchange, const char *user, struct volume *fresh);

/* Answer with this and an empty "Err"; or with a failure's sentence. */
void reply(struct http_exchange *x, json_t *answer);
void reply_error(struct http_exchange *x, const char *why);

/* A job that is done may have changed how the mount is (plugin_status.c). */
void status_outdated(struct entry *e);
void status_healed(struct entry *e);

/* Answer Get. */
void status_get(struct entry *e, struct http_exchange *x);
