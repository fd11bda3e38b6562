/*
 * What an agent leaves in the runtime directory while it lives: <source id>.agent, which it keeps locked. A record that is not locked is
 * one whose agent died: it names the mount point that has to be recovered. The kernel gives the lock back however the agent ends.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "sync/agent/paths.h"

struct record {
        char id[SOURCE_ID_TEXT];
        bool alive;
        pid_t pid;
        bool own_place;   /* the mount point was made by the agent, to be removed with the mount */
        char *name;       /* owned; NULL while a live agent is still starting, as are the others */
        char *source;     /* owned */
        char *mountpoint; /* owned */
};
void record_release(struct record *r);

struct record_list {
        struct record *records; /* owned */
        size_t count;
};

/* Everything in the runtime directory `run`; none when it isn't there. 0 or -errno. */
int record_list_read(const char *run, struct record_list *ret);
void record_list_release(struct record_list *l);

/* Hold off everyone else who claims, writes or drops records. The descriptor to close when done, or -errno. */
int record_gate(const char *run);

/* Under the gate: become the agent of `id`. The descriptor that keeps the lock until it is closed everywhere (a fork shares it); or -errno:
 * -EBUSY when an agent lives. */
int record_claim(const char *run, const char *id);

/* Under the gate: say what the claimed record is about. 0 or -errno. */
int record_write(int claim, const struct record *r);

/* Under the gate: remove the record and the socket of `id`. For the claim's holder. */
void record_drop(const char *run, const char *id);

/* Remove them unless an agent holds the claim. Takes the gate. Whether it was dead. */
bool record_drop_dead(const char *run, const char *id);

/* The name of the control socket of `id` in the runtime directory. */
void record_socket_name(const char *id, char ret[SOURCE_ID_TEXT + 5]);
