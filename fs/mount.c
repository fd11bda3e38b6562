#include "fs/mount.h"

#include "fs/backing.h"
#include "fs/later.h"

void mount_forget(struct fs_mount *m, struct node *n, uint64_t count)
{
        if (!node_drop(m->nodes, n, count))
                return;
        name_clear_node(m->names, n);
        slots_forget(m->slots, n);
        node_recycle(m->nodes, n);
}

void fs_moved(struct fs_mount *m, const struct ident *was, const struct ident *is, uint8_t what)
{
        struct node *n = node_find(m->nodes, was);

        if (!n)
                return;
        if (node_rebind(m->nodes, n, is, what))
                slots_rebind(m->slots, n, SLOT_PATH, -1);
        mount_forget(m, n, 1);
}

bool fs_is_passed(struct fs_mount *m, const struct ident *object)
{
        struct node *n = m->backings ? node_find(m->nodes, object) : NULL;
        bool passed = n && backing_is_open(m, n);

        if (n)
                mount_forget(m, n, 1);
        return passed;
}

bool fs_is_written_past(struct fs_mount *m, const struct ident *object)
{
        struct node *n = m->backings ? node_find(m->nodes, object) : NULL;
        bool written = n && (backing_is_written(m, n) || backing_was_written(m, n));

        if (n)
                mount_forget(m, n, 1);
        return written;
}

void fs_mount_stats(struct fs_mount *m, struct fs_stats *ret)
{
        struct fs_op_count ops[64];
        size_t count = fs_mount_op_counts(m, ops, sizeof(ops) / sizeof(ops[0]));
        struct slots_stats slots;
        struct backing_stats backing;

        backing_stats(m, &backing);
        slots_stats(m->slots, &slots);
        *ret = (struct fs_stats){
                .uring = atomic_load(&m->uring),
                .profile = backing_in_use(m) ? FS_PROFILE_DATA : FS_PROFILE_SOURCE,
                .profile_note = atomic_load(&m->profile_note),
                .passed = backing.files,
                .not_passed = backing.refused,
                .nodes = node_count(m->nodes),
                .names = name_count(m->names),
                .table_bytes = node_table_bytes(m->nodes) + name_index_bytes(m->names),
                .fds = slots.used,
                .fds_max = slots.max,
                .pinned = slots.pinned,
                .told_entries = atomic_load(&m->told_entries),
                .told_content = atomic_load(&m->told_content),
                .told_attrs = atomic_load(&m->told_attrs),
                .told_all = atomic_load(&m->told_all),
                .replays = m->injector && !atomic_load(&m->quiet),
                .replayed = atomic_load(&m->replayed),
                .chowns_ignored = atomic_load(&m->chowns_ignored),
        };
        for (size_t i = 0; i < count; i++)
                ret->requests += ops[i].count;
        mutex_lock(&m->lock);
        ret->ended = m->ended;
        mutex_unlock(&m->lock);
}

uint64_t fs_told(struct fs_mount *m)
{
        return atomic_load(&m->told_entries) + atomic_load(&m->told_content) + atomic_load(&m->told_attrs) + atomic_load(&m->told_all);
}

void fs_host_quiet(struct fs_mount *m)
{
        atomic_store(&m->quiet, true);
}

unsigned fs_mount_connection(struct fs_mount *m)
{
        return m->connection;
}
