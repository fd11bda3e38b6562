/*
 * What the tests of dsfs artifacts share: a source with three rules, and scripts that are run in it.
 */
#pragma once

#include <dirent.h>
#include <limits.h>
#include <sys/file.h>

#include "tests/lib/child.h"
#include "tests/lib/tar.h"
#include "tests/mount/cli.h"

static inline void fail(const char *message)
{
        cr_assert_fail("%s", message);
}

static inline void start_artifacts(void)
{
        start();
        test_on_fail(fail);
        put(box.src, "dsfs.yaml",
            "version: 1\nartifacts:\n  - path: node_modules/\n    key: [package-lock.json]\n  - path: \"*.pyc\"\n  - path: .dev/\n");
        put(box.src, "package-lock.json", "{}\n");
        cr_assert_eq(chdir(box.src), 0);
}

static inline void stop_artifacts(void)
{
        (void)chdir("/");
        stop();
}

TestSuite(cli_artifacts, .init = start_artifacts, .fini = stop_artifacts, .timeout = 300);

/* With an agent, and without. */
struct how {
        bool mounted;
};

static struct how ways[] __attribute__((unused)) = {{true}, {false}};

#define BOTH(name)                                                                                                                         \
        static void name##_body(const struct how *how);                                                                                    \
        ParameterizedTestParameters(cli_artifacts, name)                                                                                   \
        {                                                                                                                                  \
                return cr_make_param_array(struct how, ways, ARRAY_LEN(ways));                                                             \
        }                                                                                                                                  \
        ParameterizedTest(struct how *how, cli_artifacts, name)                                                                            \
        {                                                                                                                                  \
                name##_body(how);                                                                                                          \
        }                                                                                                                                  \
        static void name##_body(const struct how *how)

/* Run a script in the source; $1 is the mount, $2 the base. Its output. */
static inline const char *sh(const char *script)
{
        static char out[65536];

        errno = 0;
        must(child_exec((const char *const[]){"bash", "-euc", script, "test", box.mnt, box.base, NULL}, NULL, NULL, out, sizeof(out)) == 0,
             "%s: %s", script, out);
        return out;
}

static inline void expect_sh(const char *script, const char *want)
{
        cr_assert_str_eq(sh(script), want);
}

static inline void mount_it(void)
{
        expect_exit(0, "mount", box.src, box.mnt);
}

static inline void umount_it(void)
{
        expect_exit(0, "umount", box.mnt);
}

/* The overlay has been made by a mount, through which `script` was run; and is served or not. */
static inline void begin(const struct how *how, const char *script)
{
        mount_it();
        sh(script);
        if (!how->mounted)
                umount_it();
}

static inline void see_by_mount(const struct how *how)
{
        if (!how->mounted)
                mount_it();
}

/* No stage is left in moving/ (of an agent's, it may still be about to remove what was replaced). */
static inline bool moving_is_empty(void *arg)
{
        (void)arg;
        return strcmp(sh("ls $2/state/dsfs/*/overlay/moving"), "") == 0;
}

static inline void expect_nothing_moving(void)
{
        cr_assert(proc_until(moving_is_empty, NULL), "%s", sh("ls -R $2/state/dsfs/*/overlay/moving"));
}

static inline json_t *json_said(void)
{
        json_t *root = json_loads(box.r.out, 0, NULL);

        cr_assert(root, "not JSON: %s", box.r.out);
        cr_assert_eq(json_integer_value(json_object_get(root, "version")), 1);
        return root;
}

static inline json_t *root_in(json_t *list, const char *path)
{
        json_t *r;
        size_t i;

        json_array_foreach(json_object_get(list, "roots"), i, r)
        {
                if (strcmp(json_string_value(json_object_get(r, "path")), path) == 0)
                        return r;
        }
        test_fail(__FILE__, __LINE__, "no %s in %s", path, box.r.out);
}
