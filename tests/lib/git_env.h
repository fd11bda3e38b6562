/*
 * What git goes by in tests, whatever the machine's settings are: nobody's, and no collection of garbage in between.
 */
#pragma once

#include <stddef.h>

static const char *const git_env[] = {"GIT_CONFIG_GLOBAL=/dev/null",
                                      "GIT_CONFIG_SYSTEM=/dev/null",
                                      "GIT_CONFIG_COUNT=3",
                                      "GIT_CONFIG_KEY_0=safe.directory",
                                      "GIT_CONFIG_VALUE_0=*",
                                      "GIT_CONFIG_KEY_1=core.fsync",
                                      "GIT_CONFIG_VALUE_1=none",
                                      "GIT_CONFIG_KEY_2=gc.auto",
                                      "GIT_CONFIG_VALUE_2=0",
                                      "GIT_AUTHOR_NAME=A",
                                      "GIT_AUTHOR_EMAIL=a@example",
                                      "GIT_COMMITTER_NAME=A",
                                      "GIT_COMMITTER_EMAIL=a@example",
                                      "GIT_EDITOR=true",
                                      NULL};
