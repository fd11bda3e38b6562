/*
 * What is told by the mounts about artifacts: what one of them does to it is news to the others.
 */
#include "sync/engine_self.h"

static void artifact_changed(void *arg, const struct fs_mount *origin, const struct ident *dir, const char *name, size_t len)
{
        struct engine *e = arg;

        FOR_EACH_MOUNT(e, m)
        {
                if (m != origin)
                        fs_soon_entry(m, dir, name, len);
        }
}

static void artifact_touched(void *arg, const struct fs_mount *origin, const struct ident *object)
{
        struct engine *e = arg;

        FOR_EACH_MOUNT(e, m)
        {
                if (m != origin)
                        fs_soon_content(m, object);
        }
}

static void artifact_switching(void *arg, const struct ident *object)
{
        struct engine *e = arg;

        FOR_EACH_MOUNT(e, m) fs_keep(m, object);
}

static void artifact_switched(void *arg, const struct ident *dir, const char *name, size_t len)
{
        struct engine *e = arg;

        FOR_EACH_MOUNT(e, m) fs_tell_entry(m, dir, name, len);
}

static void artifact_moved(void *arg, const struct fs_mount *origin, const struct ident *was, const struct ident *is, uint8_t what)
{
        struct engine *e = arg;

        FOR_EACH_MOUNT(e, m)
        {
                if (m != origin)
                        fs_moved(m, was, is, what);
        }
}

static bool artifact_is_passed(void *arg, const struct fs_mount *origin, const struct ident *object)
{
        struct engine *e = arg;
        bool passed = false;

        FOR_EACH_MOUNT(e, m)
        {
                passed |= m != origin && fs_is_passed(m, object);
        }
        return passed;
}

const struct overlay_listener engine_artifacts = {
        .changed = artifact_changed,
        .touched = artifact_touched,
        .switching = artifact_switching,
        .switched = artifact_switched,
        .moved = artifact_moved,
        .is_passed = artifact_is_passed,
};
