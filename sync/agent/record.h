/*
 * What an agent leaves in the runtime directory while it lives: <source id>.agent, which it keeps locked. A record that is not locked is
 * one whose agent died: it names the mount points that have to be recovered. The kernel gives the lock back however the agent ends.
 *
 * An agent replaces its file as a whole when its mounts change, so that whoever reads it finds one state or another, and no half.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "sync/agent/paths.h"

#define RECORD_MOUNTS_MAX 64 /* far more than an agent serves */

/* One mount of an agent. */
struct record {
        char id[SOURCE_ID_TEXT];
        bool alive;
        pid_t pid;
        pid_t holder;     /* 0: it has none */
        bool own_place;   /* the mount point was made for the mount, to be removed with it */
        char *name;       /* owned; NULL, as is the mount point, when the agent has no mount that can be seen from here */
        char *source;     /* owned; NULL too while a live agent is still starting */
        char *mountpoint; /* owned */
};

/* Those of one agent follow each other; each has at least one. */
struct record_list {
        struct record *records; /* owned */
        size_t count;
};

/* Everything in the runtime directory `run`; none when it isn't there. 0 or -errno. */
int record_list_read(const char *run, struct record_list *ret);
void record_list_release(struct record_list *l);

/* Abort the connections of all mounts that are in the record of `agent`, which is dead, or nearly: one that it was about to tell of has
 * users too. Nothing, if the record is another one's by now. */
void record_free_dying(const char *run, const char *id, pid_t agent);

/* Hold off everyone else who claims, writes or drops records. The descriptor to close when done, or -errno. */
int record_gate(const char *run);

/* Under the gate: become the agent of `id`. The descriptor that keeps the lock until it is closed everywhere (a fork shares it); or -errno:
 * -EBUSY when an agent lives. */
int record_claim(const char *run, const char *id);

/* Say what the claimed record is about: this process, started again by `holder` (0: by nobody), serves these mounts of `source`. *claim
 * becomes another descriptor. By one thread of the agent at a time; needs no gate. 0 or -errno, when nothing has changed. */
struct record_mount {
        const char *name, *mountpoint;
        bool own_place;
};
int record_write(const char *run, const char *id, int *claim, pid_t holder, const char *source, const struct record_mount *mounts,
                 size_t count);

/* Become the agent of `id` in the place of one that died: *claim is the lock that it had, kept by its holder. Takes no gate, for who has it
 * may be waiting for our answer, unless the agent died between writing the record and giving its lock to the holder. 0; -EBUSY when
 * somebody else is that by now; or another -errno. */
int record_inherit(const char *run, const char *id, int *claim);

/* Under the gate: remove the record and the socket of `id`. For the claim's holder. */
void record_drop(const char *run, const char *id);

/* Forget the mount at `mountpoint` (NULL: all of them) unless an agent holds the claim. Takes the gate. Whether it was dead. */
bool record_drop_dead(const char *run, const char *id, const char *mountpoint);

/* The name of the control socket of `id` in the runtime directory. */
void record_socket_name(const char *id, char ret[SOURCE_ID_TEXT + 5]);
