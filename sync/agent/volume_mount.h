/*
 * A volume's mount: made and taken away by `dsfs mount` and `dsfs umount`, looked at through the records and the agent. All of it blocks,
 * but for an agent that does not answer not for long; any thread.
 */
#pragma once

#include "sync/agent/volume.h"

/* Where volumes are mounted: <runtime directory>/volumes, made and canonical, in *ret (the caller frees). 0; or -errno and *why. */
int volume_places(const char *run, char **ret, char **why);

/* Whether what the wish names is there. 0; or -errno and *why. */
int volume_check(const struct volume_wish *w, char **why);

/* See to it that the volume is mounted there and served; a dead mount is mounted over. 0; or -errno and *why. */
int volume_mount(const char *run, const char *place, const struct volume_wish *w, char **why);

/* Unmount it and remove the place; one that is in use is detached, which is logged. What isn't mounted is fine. 0; or -errno and *why. */
int volume_umount(const char *place, char **why);

/* Whether a container has it: somebody in another mount namespace, at another place. */
bool volume_is_used(const char *place);

/* What the agent says of it: an object as in `status` (owned); *over tells that dead mounts lie below. 0; -ENOENT when nobody serves it;
 * another -errno and *why. */
int volume_look(const char *run, const char *place, json_t **ret, bool *over, char **why);
