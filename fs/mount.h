/*
 * One mount, as the files of fs/ share it. Others see fs/fs.h only.
 */
#pragma once

#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "cache/base/thread.h"
#include "fs/fs.h"
#include "fs/layer.h"
#include "fs/name.h"
#include "fs/node.h"
#include "fs/slots.h"

struct backings;
struct injector;
struct later;
struct offload;
struct overlay;
struct own;
struct worker;

/* How many serving threads may wait for FORGETs at once: some must be left to take them. */
#define MOUNT_PATIENT_MAX 8U

struct fs_mount {
        /* Set before serving begins, constant then. */
        struct fs_options options; /* its strings are owned */
        struct fuse_session *session;
        struct node_table *nodes;
        struct name_index *names;
        struct slots *slots;
        struct offload *offload;
        struct later *later;
        struct injector *injector; /* NULL: what the host does isn't replayed */
        struct backings *backings; /* NULL in the source profile */
        struct overlay *overlay;   /* borrowed; NULL: nothing is an artifact */
        struct own *own;           /* what `.dsfs` shows */
        struct layer source;
        bool privileged; /* we may act for any user: backing objects are made as their owner */
        bool epoch;      /* the kernel can be told to distrust all names at once */
        double timeout;  /* of names and attributes, seconds */
        unsigned connection;
        pthread_t loop;
        bool loop_started;

        _Atomic uint64_t told_entries, told_content, told_attrs, told_all, replayed, chowns_ignored;
        atomic_bool names_doubted; /* a directory's names may be others, nobody said which: see tell_names() */
        atomic_bool uring;
        atomic_bool quiet; /* nothing is replayed any more */
        /* Why the data profile is not to be had; set once, before the first OPEN is answered. */
        const char *_Atomic profile_note;
        _Atomic unsigned patient;    /* threads that wait for something to be forgotten */
        _Atomic unsigned forgetting; /* threads that are at it */
        /* Raised before what fs_tell_*() says is looked up in the node table (fs/tell.c). */
        _Atomic uint64_t changes;

        /* Held, by design, while its holder rests: see op_forget(). Nothing else is done under it. */
        struct mutex forget_gate;

        struct mutex lock;
        struct worker *workers GUARDED_BY(lock); /* one for each thread that has served; owned */
        bool ended GUARDED_BY(lock);
        void (*on_end)(void *arg) GUARDED_BY(lock);
        void *on_end_arg GUARDED_BY(lock);
};

/* The node of a request's number. The kernel asks for no other than it was given, so that can't fail; a stale one gets ESTALE. */
static inline struct node *mount_node(struct fs_mount *m, fuse_ino_t ino)
{
        return node_get(m->nodes, ino);
}

/* Give back `count` references; what nobody knows any more is closed and forgotten. Any thread. */
void mount_forget(struct fs_mount *m, struct node *n, uint64_t count);
