#include "fs/victim.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "fs/later.h"
#include "fs/reach.h"

#define PATIENCE_MS 1000 /* of a removal with FORGETs of earlier ones */
#define MS_NS 1000000L

/* Removals may run ahead of the FORGETs that give their descriptors back: better wait a moment than refuse. */
static bool pin_patiently(struct fs_mount *m, struct node *n)
{
        static const struct timespec moment = {.tv_nsec = MS_NS};
        bool pinned = reach_pin(m, n);

        if (pinned)
                return true;
        if (atomic_fetch_add(&m->patient, 1) < MOUNT_PATIENT_MAX) {
                for (int ms = 0; ms < PATIENCE_MS && !pinned; ms++) {
                        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &moment, NULL);
                        pinned = reach_pin(m, n);
                }
        }
        atomic_fetch_sub(&m->patient, 1);
        return pinned;
}

int victim_take(struct fs_mount *m, struct node *dir, int dirfd, const char *name, struct victim *ret)
{
        struct stat st;

        *ret = (struct victim){.node = node_hold(m->nodes, name_belief(m->names, node_id_of(dir), name, strlen(name)))};
        if (!ret->node)
                return 0;
        if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISDIR(st.st_mode) && st.st_nlink > 1) {
                ret->linked_elsewhere = true;
                return 0;
        }
        if (pin_patiently(m, ret->node))
                return 0;
        mount_forget(m, ret->node, 1);
        ret->node = NULL;
        return -ENFILE;
}

void victim_release(struct fs_mount *m, struct victim *v, bool gone)
{
        if (!v->node)
                return;
        if (gone && v->linked_elsewhere)
                later_attr(m, v->node); /* its link count */
        if (!gone) {
                slots_unpin(m->slots, v->node);
                later_writer(m); /* what was pinned may be one */
        }
        mount_forget(m, v->node, 1);
}
