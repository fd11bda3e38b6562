/*
 * stress-ng's filesystem class in the mount, with its own verification; what it leaves in the source is what the mount shows.
 *
 * Of the class, left out: binderfs, bind-mount (file systems and mounts of their own), procfs (/proc), eventfd, dup, ioprio (no files of
 * ours), fanotify (marks whole file systems, and FUSE has none to mark), fiemap, verity, chattr, inode-flags, file-ioctl (ioctls, which
 * dsfs refuses by name), mknod (device nodes are refused). Added: what else reads, writes and maps files.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/thread.h"
#include "tests/lib/oracle.h"
#include "tests/stress/model_stage.h"

#define WORKERS "2"
#define SECONDS_DEFAULT 60
#define PATIENCE_S 60 /* beyond its time */
#define OUTPUT_MAX 65536

static const char *const stressors[] = {
        "access", "chdir",    "chmod", "chown",  "copy-file", "dentry",    "dir",      "dirdeep", "dirmany", "dnotify",   "fallocate",
        "fcntl",  "filename", "flock", "fpunch", "fsize",     "fstat",     "getdent",  "handle",  "hdd",     "inotify",   "io",
        "iomix",  "lease",    "link",  "locka",  "lockf",     "lockofd",   "open",     "rename",  "symlink", "sync-file", "touch",
        "utime",  "xattr",    "aiol",  "revio",  "seek",      "readahead", "sendfile", "msync",
};

static bool run_one(struct fixture *f, const char *name, unsigned seconds)
{
        static char out[OUTPUT_MAX];
        char option[64], duration[16], limit[16];
        const char *argv[] = {"timeout",        "-k",       "10", limit,    "stress-ng", "--stdout", "--temp-path",
                              at(f->mnt, "ng"), "--verify", "-t", duration, option,      WORKERS,    NULL};
        int rc;

        snprintf(option, sizeof(option), "--%s", name);
        snprintf(duration, sizeof(duration), "%u", seconds);
        snprintf(limit, sizeof(limit), "%u", seconds + PATIENCE_S);
        rc = child_exec(argv, NULL, NULL, out, sizeof(out));
        /* One that had nothing to do has not been passed. */
        if (rc == 0 && !strstr(out, "skipping"))
                return true;
        printf("FAILED: stress-ng --%s: status %d: %s\n", name, rc, out);
        return false;
}

/* What was left behind, and whether the mount shows it. */
static bool look_after(struct fixture *f, const char *name)
{
        struct trace *source = trace_new(), *mount = trace_new();
        char text[REPORT_MAX];
        bool differs;

        model_wait(f);
        tree_describe(source, f->src, TREE_INODES);
        tree_describe(mount, f->mnt, TREE_INODES);
        differs = trace_difference(source, mount, text, sizeof(text));
        if (differs)
                printf("FAILED: after stress-ng --%s the mount is not its source:%s\n", name, text);
        trace_free(source);
        trace_free(mount);
        return !differs;
}

unsigned model_ng(const struct model_options *o)
{
        unsigned total = o->seconds ? o->seconds : SECONDS_DEFAULT, each = total / ARRAY_LEN(stressors), failures = 0;
        unsigned long long start = clock_now_ns();
        struct fixture *f = model_fixture(o);

        model_mount(f, o);
        must(mkdir(at(f->mnt, "ng"), 0755) == 0, "mkdir");
        for (size_t i = 0; i < ARRAY_LEN(stressors); i++) {
                bool ok = run_one(f, stressors[i], each ? each : 1) && look_after(f, stressors[i]);

                failures += !ok;
                remove_tree(at(f->mnt, "ng"));
                errno = 0;
                must(mkdir(at(f->mnt, "ng"), 0755) == 0, "mkdir after %s", stressors[i]);
        }
        printf("ng: %zu stressors, %u failed, %llu ms\n", ARRAY_LEN(stressors), failures, (clock_now_ns() - start) / 1000000);
        fflush(stdout);
        fixture_free(f);
        return failures;
}
