/*
 * The door of fs/: a mount that shows a source directory through FUSE. Whoever watches the source tells the mount what may have changed;
 * the mount knows what the kernel holds, and takes back what is no longer true.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "fs/artifacts.h"

struct ident;
struct fs_mount;

enum fs_transport {
        FS_TRANSPORT_AUTO, /* io_uring when the kernel offers it */
        FS_TRANSPORT_URING,
        FS_TRANSPORT_DEV,
};

enum fs_profile {
        FS_PROFILE_SOURCE, /* many small files: what is warm is read from the kernel's caches, with no request */
        FS_PROFILE_DATA,   /* large files, many writes: open files are passed through to their backing (needs CAP_SYS_ADMIN) */
};

#define FS_VIEW_AS_IS ((uint32_t)-1)

enum fs_coherence {
        FS_COHERENCE_EVENTS, /* the kernel caches for ever; fs_tell_*() takes back */
        FS_COHERENCE_STRICT, /* the source raises no events: nothing is cached across opens */
};

struct fs_options {
        const char *source;      /* absolute, canonical */
        const char *mountpoint;  /* absolute, existing directory */
        const char *name;        /* shown as the mount's source in /proc/mounts: "dsfs:NAME" */
        enum fs_profile profile; /* the one wished for: see fs_stats */
        enum fs_transport transport;
        enum fs_coherence coherence;
        bool readonly;
        bool allow_other;
        bool replay;    /* what the host does is replayed for those who watch the mount */
        bool xattr;     /* extended attributes and POSIX ACLs */
        bool squash;    /* what is created belongs to the owner of the source's root */
        uid_t view_uid; /* whose everything is shown to be; or FS_VIEW_AS_IS */
        gid_t view_gid;
        struct overlay *overlay; /* where artifacts live, borrowed; NULL: there are none */
        unsigned max_fds;        /* descriptors the mount may keep open for nodes; 0: chosen from RLIMIT_NOFILE */
};

struct fs_stats {
        bool uring;                                                /* the transport in use */
        bool ended;                                                /* unmounted, by whomever */
        enum fs_profile profile;                                   /* in use */
        const char *profile_note;                                  /* why it isn't the one wished for, one phrase; or NULL */
        uint64_t passed, not_passed;                               /* data: files open; opens that could not be passed through */
        uint64_t nodes;                                            /* inodes that the kernel knows */
        uint64_t names;                                            /* names that it knows them by */
        uint64_t table_bytes;                                      /* memory of the node table */
        uint64_t fds, fds_max;                                     /* descriptors held for nodes, and the bound */
        uint64_t pinned;                                           /* of these, kept for unlinked or otherwise unreachable nodes */
        uint64_t told_entries, told_content, told_attrs, told_all; /* invalidations sent */
        bool replays;                                              /* for those who watch the mount */
        uint64_t replayed;                                         /* changes on the host that the mount's watchers could hear of */
        uint64_t chowns_ignored;                                   /* by squash */
        uint64_t requests;                                         /* all of them */
};

/* One counter an opcode that has been served: for benchmarks and status. */
struct fs_op_count {
        const char *name;
        uint64_t count;
};

/* Mount and start serving: once this returns 0 the mount answers. On failure -errno and *why (the caller frees) is one sentence that says
 * what happened, to which path and what to do. */
int fs_mount_new(const struct fs_options *options, struct fs_mount **ret, char **why);

/* Called once, on a thread of the mount, when it ends for any reason (umount, abort, fs_mount_stop). Set before the mount can end, right
 * after fs_mount_new(). If it has ended already, called at once. */
void fs_mount_on_end(struct fs_mount *m, void (*ended)(void *arg), void *arg);

/* Unmount. With `lazy` a busy mount point is detached instead. 0, or -EBUSY (still mounted and serving), or another -errno.
 * Not on a thread of the mount. */
int fs_mount_stop(struct fs_mount *m, bool lazy);

/* Join all threads and free. The mount must have ended (on_end was called). Takes NULL. */
void fs_mount_free(struct fs_mount *m);

/*
 * What the watcher tells. From one thread at a time, never from one that serves requests, holding no lock that serving needs. They return
 * when the kernel has been told. Objects that the kernel doesn't know cost a look-up in a table.
 */

/* The entry `name` of `dir` may be another now, or none. */
void fs_tell_entry(struct fs_mount *m, const struct ident *dir, const char *name, size_t len);

/* The file's bytes (and so its attributes) may have changed; of a directory, any of its entries, which shows after fs_host_rest(). */
void fs_tell_content(struct fs_mount *m, const struct ident *file);

/* The object's attributes may have changed. */
void fs_tell_attr(struct fs_mount *m, const struct ident *object);

/*
 * The same, of what is known to have been done on the host; where the mount was asked to (fs_options.replay), it is done once more through
 * the mount then, so that its users' watchers hear of it.
 */
enum fs_host {
        FS_HOST_CREATED = 1,
        FS_HOST_DELETED = 2,
        FS_HOST_MODIFIED = 4,
        FS_HOST_CLOSED = 8, /* after writing */
        FS_HOST_ATTRIB = 16,
        FS_HOST_DIRECTORY = 32, /* it is one */
};
/* `object` is what stands or stood there, or NULL; what else `how` says happened to it before it was deleted. */
void fs_host_entry(struct fs_mount *m, const struct ident *dir, const char *name, size_t len, const struct ident *object, unsigned how);
void fs_host_moved(struct fs_mount *m, const struct ident *dir, const char *name, size_t len, const struct ident *to_dir,
                   const char *to_name, size_t to_len, const struct ident *object, unsigned how);
/* Only told, as the others are with no `how`: what was done through the mount was heard there. */
void fs_tell_moved(struct fs_mount *m, const struct ident *dir, const char *name, size_t len, const struct ident *to_dir,
                   const char *to_name, size_t to_len);
/* By the name of it in `dir`; NULL: that isn't known. */
void fs_host_object(struct fs_mount *m, const struct ident *object, const struct ident *dir, const char *name, size_t len, unsigned how);

/* For the moment nothing more has happened. */
void fs_host_rest(struct fs_mount *m);

/* Replay nothing from now on. Any thread. */
void fs_host_quiet(struct fs_mount *m);

/* The same as fs_tell_…, of an entry, and of content and attributes, put off: for threads that may not wait for the kernel. */
void fs_soon_entry(struct fs_mount *m, const struct ident *dir, const char *name, size_t len);
void fs_soon_content(struct fs_mount *m, const struct ident *object);

/* The object is about to lose its place, and stays within reach of those who have it open. Any thread. */
void fs_keep(struct fs_mount *m, const struct ident *object);

/* The object was moved by a copy, `is`, in the layer that `what` (enum node_is) says: those who have it open are led there. Any thread. */
void fs_moved(struct fs_mount *m, const struct ident *was, const struct ident *is, uint8_t what);

/* Does the kernel have the object itself open, so that nobody can be led elsewhere? Any thread. */
bool fs_is_passed(struct fs_mount *m, const struct ident *object);

/* Does somebody in the mount write to it with no request to us, or did, a moment ago? Any thread. */
bool fs_is_written_past(struct fs_mount *m, const struct ident *object);

/* Anything may have changed: everything the kernel holds is taken back. */
void fs_tell_all(struct fs_mount *m);

/* Tell what was put off: returns when nothing told or done before is still to be told. The watcher's thread or any that serves nothing. */
void fs_settle(struct fs_mount *m);

/*
 * What the mount has of its own for those who have it mounted: `.dsfs` in its root, which is found by name and listed nowhere (fs/own.h).
 */

#define FS_OWN_NAME ".dsfs"

/* `.dsfs/status.json` is this from now on (copied), and nobody reads what it was before. Not on a thread that serves, and holding no lock
 * that serving needs. 0, -ENOMEM, or -EMSGSIZE above some KiB. */
int fs_own_status(struct fs_mount *m, const char *text);

/* Bind `.dsfs/events.sock`, and listen. Once a mount, at its beginning. While the descriptor is open, or any that was accepted from it, the
 * connection lasts although the mount point may be gone. The descriptor, or -errno and *why (one phrase, the caller frees). Not on a thread
 * that serves. */
int fs_own_listen(struct fs_mount *m, char **why);

void fs_mount_stats(struct fs_mount *m, struct fs_stats *ret);

/* How often the kernel has been told something. Any thread, no lock. */
uint64_t fs_told(struct fs_mount *m);

/* Fill up to `max` counters; returns how many there are. */
size_t fs_mount_op_counts(struct fs_mount *m, struct fs_op_count *ret, size_t max);

/* The mount that thread `tid` works for, if it is one of this process's that do; *since_ns is when it began to, by clock_now_ns(). To be
 * compared, not used: the mount may have ended. Any thread, no lock. */
const struct fs_mount *fs_thread_mount(pid_t tid, unsigned long long *since_ns);

/* The last component under which the kernel can be asked to abort the connection: /sys/fs/fuse/connections/<this>. */
unsigned fs_mount_connection(struct fs_mount *m);
