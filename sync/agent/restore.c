#include "sync/agent/restore.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cache/base/log.h"
#include "sync/agent/holder.h"
#include "sync/agent/place.h"
#include "sync/serve/why.h"

static void clear(const struct held_mount *m)
{
        int rc = place_clear(m->as.mountpoint, m->connection);

        if (rc)
                log_error("%s was being unmounted as the agent died, and can't be: %s; `dsfs umount %s`", m->as.mountpoint, strerror(-rc),
                          m->as.mountpoint);
        else if (m->as.own_place)
                (void)rmdir(m->as.mountpoint);
}

static void restore(const struct held_mount *m, struct restoring *r)
{
        CLEANUP_FREE char *why = NULL;
        struct mount_options *o = &r->options[r->count];
        int rc = place_restore(m->as.mountpoint, m->connection);

        if (rc == -ENOENT) {
                log_info("%s was unmounted by somebody else", m->as.mountpoint);
                if (m->as.own_place)
                        (void)rmdir(m->as.mountpoint);
                return;
        }
        if (rc) {
                log_error("%s can't be served again: %s", m->as.mountpoint,
                          rc == -EBUSY ? "something else is mounted there" : strerror(-rc));
                return;
        }
        mount_options_init(o);
        rc = mount_options_parse(o, m->as.options, &why);
        if (rc) {
                log_error("%s can't be served again: %s", m->as.mountpoint, why_text(why));
                mount_options_release(o);
                return;
        }
        r->wishes[r->count++] = (struct seat_wish){
                .mountpoint = m->as.mountpoint, .name = m->as.name, .own_place = m->as.own_place, .options = o, .text = m->as.options};
}

void restore_prepare(const struct heritage *h, struct restoring *ret)
{
        ret->count = 0;
        for (size_t i = 0; i < h->count; i++) {
                if (h->mounts[i].leaving)
                        clear(&h->mounts[i]);
                else if (ret->count < ENGINE_MOUNTS_MAX)
                        restore(&h->mounts[i], ret);
        }
}

void restoring_release(struct restoring *r)
{
        for (size_t i = 0; i < r->count; i++)
                mount_options_release(&r->options[i]);
        r->count = 0;
}
