/*
 * The verb "artifacts" of the control socket: artifacts_do() on the agent's overlay.
 */
#pragma once

#include <jansson.h>

/* A worker thread. */
int verb_artifacts(void *arg, const json_t *args, json_t **ret, char **why);
