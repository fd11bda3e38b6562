/*
 * Real containers that follow what changes, with nothing of dsfs in them but the mount.
 */
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/e2e/container.h"
#include "tests/e2e/tool.h"

#define SECONDS 120

static const struct variant variants[] = {
        {.backing = ON_EXT4, .transport = BY_URING, .watch = WATCH_BY_FANOTIFY},
};

/* Says when it is told of the first edit, and that of the second is its end. */
static const char script[] = "import json, socket\n"
                             "s = socket.socket(socket.AF_UNIX)\n"
                             "s.connect('/app/.dsfs/events.sock')\n"
                             "s.sendall(b'{\"version\": 1}\\n')\n"
                             "for line in s.makefile():\n"
                             "    e = json.loads(line)\n"
                             "    if e['kind'] == 'hello':\n"
                             "        open('/out/ready', 'w').close()\n"
                             "    if e.get('path') == 'edited':\n"
                             "        print(e['kind'], e['origin'], json.load(open('/app/.dsfs/status.json'))['verdict'], 'source' in e)\n"
                             "        break\n";

struct follower {
        const char *id, *user;
        char said[256];
};

static int follow(void *arg)
{
        struct follower *w = arg;

        return docker((const char *const[]){"exec", "--user", w->user, w->id, "python3", "-c", script, NULL}, w->said, sizeof(w->said));
}

static bool is_ready(void *arg)
{
        return access(arg, F_OK) == 0;
}

CASE_WITH(container_events, whoever_runs_in_it_is_told, variants)
{
        static const char *const users[] = {"0", "4242"};
        struct follower *w = shared_new(sizeof(*w));
        struct containers *c = containers_start(f);
        const char *out = format("%s/out", f->area);

        containers_image(f, "tools");
        must(mkdir(out, 0777) == 0 && chmod(out, 0777) == 0, "mkdir");
        w->id = container_start((const char *const[]){"-v", format("%s:/app", f->mnt), "-v", format("%s:/out", out), "dsfs-e2e:tools",
                                                      "sleep", "inf", NULL});
        must(fixture_dsfs(f, (const char *const[]){"wait", "--hashed", f->mnt, NULL}, NULL, 0) == 0, "dsfs wait");
        for (size_t i = 0; i < 2; i++) {
                const char *ready = format("%s/ready", out);
                pid_t pid;

                (void)unlink(ready);
                w->user = users[i];
                pid = child_start(NULL, follow, w);
                must(wait_until(is_ready, (void *)ready, SECONDS), "user %s is not let in", users[i]);
                put_text(at(f->src, "edited"), users[i]);
                must(child_wait(pid) == 0, "user %s: %s", users[i], w->said);
                must(strcmp(w->said, format("%s host ok False\n", i ? "modified" : "created")) == 0, "user %s is told: %s", users[i],
                     w->said);
        }
        container_remove(w->id);
        containers_end(c);
}
