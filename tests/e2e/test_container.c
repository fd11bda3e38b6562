/*
 * Containers on a mount, each user of theirs: what one writes the host reads, and the other way.
 */
#include <string.h>

#include "tests/e2e/container.h"
#include "tests/e2e/tool.h"

static const struct variant variants[] = {
        {.backing = ON_EXT4, .transport = BY_URING, .watch = WATCH_BY_FANOTIFY},
        {.backing = ON_EXT4, .transport = BY_DEV, .watch = WATCH_BY_INOTIFY},
};

CASE_WITH(container, sees_what_the_host_wrote_whoever_it_is, variants)
{
        static const char *const users[] = {"0", "1000", "4242"};
        struct containers *c = containers_start(f);
        const char *id;

        containers_image(f, "small");
        id = container_start((const char *const[]){"-v", format("%s:/app", f->mnt), "dsfs-e2e:small", "sleep", "inf", NULL});
        for (size_t i = 0; i < 3; i++) {
                put_text(at(f->src, "file"), users[i]);
                fixture_wait(f);
                must(strcmp(docker_text((const char *const[]){"exec", "--user", users[i], id, "sh", "-c", "id -u; cat /app/file", NULL}),
                            format("%s\n%s", users[i], users[i])) == 0,
                     "user %s sees something else", users[i]);
        }
        docker_text((const char *const[]){"exec", id, "sh", "-c", "echo back >/app/file", NULL});
        must(strcmp(tool(f, f->src, "container.sh", "cat file"), "back\n") == 0, "the host doesn't see it");
        container_remove(id);
        containers_end(c);
}
