/*
 * A mount over the checkout that an image was built from: what was installed in the image is adopted, and nothing need be installed again.
 * With a docker of our own, whose images are made by `docker import`.
 */
#include <string.h>
#include <unistd.h>

#include "tests/e2e/container.h"
#include "tests/e2e/tool.h"

static const struct variant variants[] = {
        {.backing = ON_EXT4, .transport = BY_URING, .watch = WATCH_BY_FANOTIFY},
        {.backing = ON_EXT4, .transport = BY_DEV, .watch = WATCH_BY_INOTIFY},
};

static int adopt(struct fixture *f, const char *from, const char *option)
{
        const char *args[] = {"artifacts", "adopt", "--of", f->src, "--from", from, "node_modules", option, NULL};

        return fixture_dsfs(f, args, NULL, 0);
}

CASE_UNMOUNTED(image, a_mount_over_its_checkout_needs_no_reinstall, variants)
{
        struct containers *docker;

        tool(f, f->base, "npm.sh", "fetch");
        docker = containers_start(f);
        tool(f, f->base, "image.sh", "build");
        tool(f, f->src, "image.sh", "checkout");
        fixture_mount(f);
        must(adopt(f, "image:dsfs-e2e:2:/app/node_modules", NULL) == 1, "an image that isn't there");
        must(adopt(f, "image:dsfs-e2e:1:/app/missing", NULL) == 1, "a path that isn't there");
        must(adopt(f, "image:dsfs-e2e:1:/app/empty", NULL) == 0, "an empty directory");
        must(adopt(f, "image:dsfs-e2e:1:/app/node_modules", NULL) == 1, "over what is there");
        must(adopt(f, "image:dsfs-e2e:1:/app/node_modules/", "--replace") == 0, "adopt");
        must(strcmp(tool(f, f->mnt, "image.sh", "installed"), "up to date\n3 true\nrollup v2.79.2\n") == 0, "something else is installed");
        tool(f, f->mnt, "npm.sh", "run_tools");
        must(access(at(f->src, "node_modules"), F_OK) < 0, "the checkout has it too");
        containers_end(docker);
}
