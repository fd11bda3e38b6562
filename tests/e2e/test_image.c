/*
 * A mount over the checkout that an image was built from: what was installed in the image is adopted, and nothing need be installed again.
 * With a docker of our own, whose images are made by `docker import`.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/e2e/tool.h"
#include "tests/lib/proc.h"

static const struct variant variants[] = {
        {.backing = ON_EXT4, .transport = BY_URING, .watch = WATCH_BY_FANOTIFY},
        {.backing = ON_EXT4, .transport = BY_DEV, .watch = WATCH_BY_INOTIFY},
};

static bool docker_answers(void *arg)
{
        (void)arg;
        return child_exec((const char *const[]){"sh", "-c", "docker version >/dev/null 2>&1", NULL}, NULL, NULL, NULL, 0) == 0;
}

static pid_t start_docker(struct fixture *f)
{
        const char *dir = keep(at(f->base, "docker"));
        const char *log = keep(at(dir, "log"));
        pid_t pid;

        must(mkdir(dir, 0755) == 0, "mkdir");
        must(child_exec((const char *const[]){"sh", "-c", "command -v docker && command -v dockerd", NULL}, NULL, NULL, NULL, 0) == 0,
             "docker is not installed: packaging/deps --for test");
        must(setenv("DOCKER_HOST", keep(at("unix://", "%s/sock", dir + 1)), 1) == 0, "setenv");
        pid = proc_start((const char *const[]){"dockerd", "--data-root", keep(at(dir, "data")), "--exec-root", keep(at(dir, "exec")),
                                               "--pidfile", keep(at(dir, "pid")), "--host", getenv("DOCKER_HOST"), "--bridge=none",
                                               "--iptables=false", "--ip6tables=false", "--storage-driver=vfs", NULL},
                         0, log);
        must(proc_until(docker_answers, NULL), "dockerd does not answer; %s says why", log);
        return pid;
}

static int adopt(struct fixture *f, const char *from, const char *option)
{
        const char *args[] = {"artifacts", "adopt", "--of", f->src, "--from", from, "node_modules", option, NULL};

        return fixture_dsfs(f, args, NULL, 0);
}

CASE_UNMOUNTED(image, a_mount_over_its_checkout_needs_no_reinstall, variants)
{
        pid_t docker;

        tool(f, f->base, "npm.sh", "fetch");
        docker = start_docker(f);
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
        must(strcmp(tool(f, f->base, "image.sh", "no_containers"), "0\n") == 0, "containers are left behind");
        must(kill(docker, SIGTERM) == 0 && proc_wait(docker) == 0, "dockerd does not end");
}
