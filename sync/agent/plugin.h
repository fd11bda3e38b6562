/*
 * What a volume plugin of docker is asked (docker.volumedriver/1.0), and the volumes that it has. The loop's thread decides and answers;
 * what can block (the source's disk, agents, its own records) is a job on a thread, one after the other for each volume, so that volumes
 * don't wait for each other. Get, List and Path are answered at once from what is known; Get gives the agent a moment to say how it is.
 *
 * All of it on the loop's thread, but for what plugin_jobs.c runs.
 */
#pragma once

#include <uv.h>

#include "sync/serve/http.h"

struct plugin;

/* Take the volumes that are kept in `state`, and tidy up after what has happened since. `run` is the agents' runtime directory. 0; or
 * -errno and *why. */
int plugin_new(uv_loop_t *loop, const char *run, const char *state, struct plugin **ret, char **why);

/* For http_server_new(): `plugin` is a struct plugin. */
void plugin_handle(void *plugin, struct http_exchange *x, const char *target, const char *body, size_t len);

/* Begin nothing any more; what is under way is finished while the loop runs. */
void plugin_stop(struct plugin *p);

/* Once the loop has nothing left to do. Mounts stay as they are. Takes NULL. */
void plugin_free(struct plugin *p);
