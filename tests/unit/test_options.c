/*
 * -o: every key, and what is said about what is none.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cache/base/err.h"
#include "sync/agent/options.h"

static struct mount_options parsed(const char *text)
{
        struct mount_options o;
        char *why = NULL;

        mount_options_init(&o);
        cr_assert_eq(mount_options_parse(&o, text, &why), 0, "%s: %s", text, why ? why : "?");
        return o;
}

static void refused(const char *text, const char *named, const char *allowed)
{
        struct mount_options o;
        CLEANUP_FREE char *why = NULL;

        mount_options_init(&o);
        cr_assert_eq(mount_options_parse(&o, text, &why), -EINVAL, "%s was taken", text);
        cr_assert(strstr(why, named), "\"%s\" does not name %s", why, named);
        cr_assert(strstr(why, allowed), "\"%s\" does not say that %s is allowed", why, allowed);
        mount_options_release(&o);
}

Test(options, defaults)
{
        struct mount_options o = parsed("");

        cr_assert_eq(o.transport, FS_TRANSPORT_AUTO);
        cr_assert_eq(o.watch, WATCH_AUTO);
        cr_assert_eq(o.coherence, ENGINE_COHERENCE_AUTO);
        cr_assert(o.prewarm && o.replay && o.xattr && o.squash && !o.readonly);
        cr_assert_eq(o.allow_other, geteuid() == 0);
        cr_assert_eq(o.max_fds, 0);
        cr_assert_null(o.name);
}

Test(options, every_key)
{
        struct mount_options o = parsed("transport=dev,watch=inotify,coherence=strict,prewarm=off,xattr=off,owner=keep,readonly,"
                                        "allow_other=off,name=my app,max_fds=512");

        cr_assert_eq(o.transport, FS_TRANSPORT_DEV);
        cr_assert_eq(o.watch, WATCH_INOTIFY);
        cr_assert_eq(o.coherence, ENGINE_COHERENCE_STRICT);
        cr_assert(!o.prewarm && !o.xattr && !o.squash && o.readonly && !o.allow_other);
        cr_assert_eq(o.max_fds, 512);
        cr_assert_str_eq(o.name, "my app");
        mount_options_release(&o);
        o = parsed("transport=uring,watch=fanotify,coherence=events,ro,allow_other");
        cr_assert_eq(o.transport, FS_TRANSPORT_URING);
        cr_assert_eq(o.watch, WATCH_FANOTIFY);
        cr_assert_eq(o.coherence, ENGINE_COHERENCE_EVENTS);
        cr_assert(o.readonly && o.allow_other);
}

Test(options, the_last_wins)
{
        struct mount_options o = parsed("name=a,ro,name=b,ro=off");

        cr_assert_str_eq(o.name, "b");
        cr_assert_not(o.readonly);
        mount_options_release(&o);
}

Test(options, a_wrong_value_is_named_with_what_is_allowed)
{
        refused("transport=fast", "transport=fast", "auto, uring, dev");
        refused("watch=", "watch=", "auto, fanotify, inotify");
        refused("coherence=Events", "coherence=Events", "auto, events, strict");
        refused("prewarm", "prewarm", "on, off");
        refused("readonly=yes", "readonly=yes", "on, off, or no value");
        refused("owner=root", "owner=root", "squash, keep");
        refused("name=a/b", "name=a/b", "without slashes");
        refused("name=..", "name=..", "without slashes");
        refused("name=", "name=", "without slashes");
        refused("max_fds=63", "max_fds=63", "from 64");
        refused("max_fds=-1", "max_fds=-1", "from 64");
        refused("max_fds=99999999999999999999", "max_fds=9", "from 64");
        refused("max_fds=100x", "max_fds=100x", "from 64");
}

Test(options, an_unknown_key_is_named_with_those_there_are)
{
        refused("speed=high", "speed",
                "gitignored, coherence, profile, owner, overlay_budget, view_uid, view_gid, transport, watch, prewarm, replay, xattr, "
                "readonly, "
                "ro, allow_other, name, max_fds");
}
