/*
 * Taking names away: unlink, rmdir.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/cross.h"
#include "fs/inject.h"
#include "fs/later.h"
#include "fs/ops.h"
#include "fs/own.h"
#include "fs/place.h"
#include "fs/shadow.h"
#include "fs/victim.h"
#include "fs/worker.h"

static void remove_name(fuse_req_t req, enum op op, fuse_ino_t parent, const char *name, int flags)
{
        struct fs_mount *m = worker_serve(req, op);
        struct node *dir = mount_node(m, parent);
        struct place p = PLACE_NONE;
        struct victim v;
        int rc = own_refusal(parent);

        if (own_is_name(parent, name)) {
                fuse_reply_err(req, EROFS);
                return;
        }
        if (dir && inject_remove(m, req, dir, name))
                return;
        cross_enter(m);
        if (dir)
                rc = place_find(m, dir, name, &p);
        if (rc == 0 && (p.is & NODE_READONLY))
                rc = -EROFS;
        if (rc == 0)
                rc = victim_take(m, dir, p.fd, name, &v);
        if (rc == 0) {
                rc = flags & AT_REMOVEDIR ? shadow_rmdir(m, &p, name, v.node) : unlinkat(p.fd, name, flags) < 0 ? -errno : 0;
                if (rc == 0) {
                        name_clear(m->names, node_id_of(dir), name, strlen(name));
                        later_attr(m, dir);
                        place_changed(m, dir, &p, name);
                }
                victim_release(m, &v, rc == 0);
        }
        place_end(m, &p);
        cross_leave(m);
        fuse_reply_err(req, rc == -ESTALE ? ENOENT : -rc);
}

void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
        remove_name(req, OP_UNLINK, parent, name, 0);
}

void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
        remove_name(req, OP_RMDIR, parent, name, AT_REMOVEDIR);
}
