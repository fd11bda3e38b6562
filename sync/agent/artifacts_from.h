/*
 * `dsfs artifacts adopt --from`: what was built elsewhere (a directory, a tar archive, a path in a container image) is prepared in the
 * overlay's moving/, by this process, whatever the archive holds; the agent only puts it in place.
 */
#pragma once

#include "fs/artifacts.h"

/* Prepare what `from` says for the artifact called `base`; its name in the stage goes to *name (the caller frees). 0 or -errno and *why. */
int artifacts_fetch(const char *from, const char *base, struct artifact_stage *stage, char **name, char **why);
