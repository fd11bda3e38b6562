/*
 * What `status` says of artifacts: counted now and then in the background, never while somebody waits.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <uv.h>

#include "cache/base/thread.h"
#include "sync/agent/artifacts_ops.h"

struct agent;

struct figures {
        /* Loop thread only. */
        uv_work_t work;
        bool counting;
        /* Guarded by lock. */
        struct mutex lock;
        struct artifacts_figures last GUARDED_BY(lock);
        bool known GUARDED_BY(lock), stale GUARDED_BY(lock);
        unsigned long long counted_ns GUARDED_BY(lock);
};

void figures_init(struct figures *f);

/* Count if it is due. The loop's thread. */
void figures_look(struct agent *a);

/* Something has changed. Any thread. */
void figures_stale(struct figures *f);

/* Owned; null without artifacts. The loop's thread. */
json_t *figures_json(struct agent *a);
