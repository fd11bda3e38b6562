/*
 * Containers for tests, real ones: a dockerd of the test's own (data, state and socket below the fixture's base), images that are made
 * without a registry, and containers that go by their id.
 *
 *      struct containers *c = containers_start(f);             dockerd answers; DOCKER_HOST is set, scripts that tool() runs have it too
 *      containers_image(f, "small");                           "dsfs-e2e:small" is there; tests/e2e/container.sh says what is in it
 *      id = container_start((const char *const[]){"-v", format("%s:/app", f->mnt), "--user", "1000", "dsfs-e2e:small", "sleep", "inf",
 * NULL}); docker((const char *const[]){"exec", id, "cat", "/app/file", NULL}, out, sizeof(out)); container_remove(id); containers_end(c);
 * dockerd has ended, and no container was left
 *
 * After containers_end() it may be started again, over the same data. Containers have the host's network, for this dockerd makes none.
 * Of a test that failed tests/run kills dockerd and all that runs in containers: it knows them by DSFS_TEST_RUN in their environment.
 */
#pragma once

#include "tests/lib/mount.h"

struct containers;

/* A text that stays for the rest of the test. */
const char *format(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* Start dockerd, and wait until it answers. Further arguments for it, NULL-terminated, or NULL. */
struct containers *containers_start_with(const struct fixture *f, const char *const args[]);
struct containers *containers_start(const struct fixture *f);

/* Where it keeps its state, for tests that look there. */
const char *containers_dir(const struct containers *c);

/* End it, in good order: no container is left, nothing holds on. */
void containers_end(struct containers *c);

/* Have the image dsfs-e2e:NAME. Out of the cache, once it was made. */
void containers_image(struct fixture *f, const char *name);

/* Run `docker ARGS…` (NULL-terminated); standard output into `out` unless NULL. Its exit status. */
int docker(const char *const args[], char *out, size_t size);

/* The same; it must succeed. What it printed, without the last end of line, which stays. */
const char *docker_text(const char *const args[]);

/* `docker run --detach ARGS…`: options, the image, the command. The container's id, which stays. */
const char *container_start(const char *const args[]);

/* Kill it, and wait until it is gone. */
void container_remove(const char *id);
