#include "sync/agent/artifacts_from.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "sync/agent/untar.h"
#include "sync/serve/why.h"

#define IMAGE "image:"
#define CONTENT "content" /* what the archive holds */
#define OBJECT "object"   /* if that is one directory of the right name: what is in it */
#define CONTENT_MODE 0755
#define MAGIC_MAX 262
#define TAR_MAGIC_AT 257
#define ID_MAX 256

extern char **environ;

/*
 * Other programs
 */

/* Start it with these as its standard input and output (-1: none). The process, or -errno. */
static pid_t start(const char *const argv[], int in, int out)
{
        posix_spawn_file_actions_t actions;
        pid_t pid;
        int rc;

        posix_spawn_file_actions_init(&actions);
        if (in >= 0)
                posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
        else
                posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        if (out >= 0)
                posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
        rc = posix_spawnp(&pid, argv[0], &actions, NULL, (char *const *)argv, environ);
        posix_spawn_file_actions_destroy(&actions);
        return rc ? -rc : pid;
}

/* Did it end well? */
static bool ended_well(pid_t pid)
{
        int status;

        while (waitpid(pid, &status, 0) < 0) {
                if (errno != EINTR)
                        return false;
        }
        return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* A program whose output is read: *fd is the caller's to close. The process, or -errno. */
static pid_t start_reading(const char *const argv[], int in, int *fd)
{
        CLEANUP_FD int out = -1;
        int ends[2];
        pid_t pid;

        if (pipe2(ends, O_CLOEXEC) < 0)
                return -errno;
        out = ends[1];
        pid = start(argv, in, out);
        if (pid < 0)
                fd_close(&ends[0]);
        *fd = ends[0];
        return pid;
}

/*
 * Archives
 */

static int unpack(int in, struct artifact_stage *stage, char **why)
{
        CLEANUP_FD int root = -1;

        if (mkdirat(stage->fd, CONTENT, CONTENT_MODE) < 0)
                return why_set(why, -errno, "nothing can be unpacked: %s", strerror(errno));
        root = openat(stage->fd, CONTENT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (root < 0)
                return why_set(why, -errno, "nothing can be unpacked: %s", strerror(errno));
        return untar(in, root, why);
}

/* Is `base` the only thing at the archive's top? -ENOENT: it holds nothing. */
static int is_only(int stage, const char *base)
{
        int fd = openat(stage, CONTENT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *d = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *e;
        size_t count = 0;
        bool has = false;

        if (!d) {
                fd_close(&fd);
                return -errno;
        }
        while ((e = readdir(d))) {
                if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
                        continue;
                count++;
                has = has || strcmp(e->d_name, base) == 0;
        }
        closedir(d);
        return count == 0 ? -ENOENT : has && count == 1;
}

static int choose(struct artifact_stage *stage, const char *from, const char *base, char **name, char **why)
{
        CLEANUP_FD int content = openat(stage->fd, CONTENT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int only = is_only(stage->fd, base);

        if (only == -ENOENT)
                return why_set(why, only, "%s holds nothing", from);
        if (only < 0 || content < 0)
                return why_set(why, -EIO, "what was unpacked can't be read");
        if (only && renameat(content, base, stage->fd, OBJECT) < 0)
                return why_set(why, -errno, "what was unpacked can't be moved: %s", strerror(errno));
        *name = strdup(only ? OBJECT : CONTENT);
        return *name ? 0 : why_set(why, -ENOMEM, "out of memory");
}

static const struct {
        unsigned char magic[6];
        size_t len;
        const char *program;
} packers[] = {{{0x1f, 0x8b}, 2, "gzip"},
               {{0xfd, '7', 'z', 'X', 'Z', 0}, 6, "xz"},
               {{0x28, 0xb5, 0x2f, 0xfd}, 4, "zstd"},
               {{'B', 'Z', 'h'}, 3, "bzip2"}};

static const char *packer_of(const unsigned char *magic)
{
        for (size_t i = 0; i < ARRAY_LEN(packers); i++) {
                if (memcmp(magic, packers[i].magic, packers[i].len) == 0)
                        return packers[i].program;
        }
        return NULL;
}

static int unpack_packed(int in, const char *program, const char *from, struct artifact_stage *stage, char **why)
{
        const char *argv[] = {program, "-dc", NULL};
        CLEANUP_FD int out = -1;
        pid_t pid = start_reading(argv, in, &out);
        bool well;
        int rc;

        if (pid < 0)
                return why_set(why, (int)pid, "%s is compressed, and %s can't be started: %s; install it", from, program,
                               strerror((int)-pid));
        rc = unpack(out, stage, why);
        fd_close(&out);
        well = ended_well(pid);
        if (rc == 0 && !well)
                rc = why_set(why, -EINVAL, "%s is damaged: %s says so", from, program);
        return rc;
}

static int unpack_file(const char *from, struct artifact_stage *stage, char **why)
{
        CLEANUP_FD int in = open(from, O_RDONLY | O_CLOEXEC);
        static const unsigned char nothing[MAGIC_MAX];
        unsigned char magic[MAGIC_MAX] = {0};
        const char *program;

        if (in < 0 || pread(in, magic, sizeof(magic), 0) < 0)
                return why_set(why, -errno, "%s can't be read: %s", from, strerror(errno));
        program = packer_of(magic);
        if (program)
                return unpack_packed(in, program, from, stage, why);
        /* Zeros: an archive that holds nothing. */
        if (memcmp(magic + TAR_MAGIC_AT, "ustar", 5) != 0 && memcmp(magic, nothing, sizeof(magic)) != 0)
                return why_set(why, -EINVAL, "%s is neither a directory nor a tar archive", from);
        return unpack(in, stage, why);
}

/*
 * Images
 */

/* docker, or what stands in for it. */
static const char *engine(void)
{
        static const char *const programs[] = {"docker", "podman"};
        const char *chosen = getenv("DSFS_CONTAINER_ENGINE");

        if (chosen && *chosen)
                return chosen;
        for (size_t i = 0; i < ARRAY_LEN(programs); i++) {
                const char *argv[] = {"sh", "-c", "command -v \"$0\" >/dev/null", programs[i], NULL};
                pid_t pid = start(argv, -1, -1);

                if (pid > 0 && ended_well(pid))
                        return programs[i];
        }
        return NULL;
}

/* A container of the image, which never runs. Its id (the caller frees), or NULL and *why. */
static char *create_container(const char *program, const char *image, char **why)
{
        /* An image need not say what is to be run. */
        const char *argv[] = {program, "create", "--", image, "/", NULL};
        CLEANUP_FD int out = -1;
        pid_t pid = start_reading(argv, -1, &out);
        char id[ID_MAX] = "";
        ssize_t n;
        bool well;

        if (pid < 0) {
                why_set(why, (int)pid, "%s can't be started: %s", program, strerror((int)-pid));
                return NULL;
        }
        n = fd_read_full(out, id, sizeof(id) - 1);
        well = ended_well(pid);
        id[n > 0 ? n : 0] = '\0';
        id[strcspn(id, "\n")] = '\0';
        if (well && id[0])
                return strdup(id);
        why_set(why, -ENOENT, "%s makes no container of the image %s: see above", program, image);
        return NULL;
}

static int copy_out(const char *program, const char *id, const char *path, struct artifact_stage *stage, char **why)
{
        CLEANUP_FREE char *what = text_new("%s:%s", id, path);
        const char *argv[] = {program, "cp", what, "-", NULL};
        CLEANUP_FD int out = -1;
        CLEANUP_FREE char *own = NULL;
        pid_t pid = what ? start_reading(argv, -1, &out) : -ENOMEM;
        bool well;
        int rc;

        if (pid < 0)
                return why_set(why, (int)pid, "%s can't be started: %s", program, strerror((int)-pid));
        rc = unpack(out, stage, &own);
        fd_close(&out);
        well = ended_well(pid);
        if (!well && rc <= 0 && (rc == 0 || rc == -EINVAL) && is_only(stage->fd, "") == -ENOENT)
                return why_set(why, -ENOENT, "%s copies nothing from %s in the image: see above", program, path);
        if (rc == 0 && !well)
                return why_set(why, -EIO, "%s has not copied all of %s from the image: see above", program, path);
        *why = steal_ptr(&own);
        return rc;
}

/* A container is left behind by none of our ends but the worst. */
static volatile sig_atomic_t signalled;

static void on_signal(int number)
{
        signalled = number;
}

static void remove_container(const char *program, const char *id)
{
        const char *argv[] = {program, "rm", "-f", "-v", id, NULL};
        CLEANUP_FD int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
        pid_t pid = start(argv, -1, null);

        if (pid > 0)
                (void)ended_well(pid);
}

static int fetch_image(const char *image, const char *path, struct artifact_stage *stage, char **why)
{
        struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
        const char *program = engine();
        CLEANUP_FREE char *id = NULL;
        int rc;

        if (!program)
                return why_set(why, -ENOENT,
                               "neither docker nor podman is here to read images with; install one, or use an archive: --from TAR");
        (void)sigaction(SIGINT, &sa, NULL);
        (void)sigaction(SIGTERM, &sa, NULL);
        id = create_container(program, image, why);
        rc = id ? copy_out(program, id, path, stage, why) : -ENOENT;
        if (id)
                remove_container(program, id);
        if (signalled) {
                artifacts_stage_end(stage);
                (void)signal(signalled, SIG_DFL);
                (void)raise(signalled);
        }
        return rc;
}

static int fetch_from_image(const char *from, struct artifact_stage *stage, char **base, char **why)
{
        CLEANUP_FREE char *image = strdup(from + sizeof(IMAGE) - 1);
        char *colon = NULL;
        const char *path, *slash;

        if (!image)
                return why_set(why, -ENOMEM, "out of memory");
        for (char *at = strstr(image, ":/"); at; at = strstr(at + 1, ":/"))
                colon = at;
        if (!colon || colon == image || image[0] == '-' || colon[2] == '\0')
                return why_set(why, -EINVAL, "%s is not " IMAGE "REFERENCE:/PATH", from);
        *colon = '\0';
        path = colon + 1;
        while (colon[strlen(colon + 1)] == '/' && strlen(path) > 1)
                colon[strlen(colon + 1)] = '\0';
        slash = strrchr(path, '/');
        *base = strdup(slash + 1);
        return *base ? fetch_image(image, path, stage, why) : why_set(why, -ENOMEM, "out of memory");
}

/*
 * All of them
 */

int artifacts_fetch(const char *from, const char *base, struct artifact_stage *stage, char **name, char **why)
{
        CLEANUP_FREE char *in_image = NULL;
        CLEANUP_FREE char *path = NULL;
        struct stat st;
        int rc;

        if (strncmp(from, IMAGE, sizeof(IMAGE) - 1) == 0) {
                rc = fetch_from_image(from, stage, &in_image, why);
                return rc < 0 ? rc : choose(stage, from, in_image, name, why);
        }
        path = realpath(from, NULL);
        if (!path || stat(path, &st) < 0)
                return why_set(why, -errno, "%s can't be read: %s", from, strerror(errno));
        if (S_ISDIR(st.st_mode)) {
                rc = artifacts_stage_copy(stage, path, OBJECT, why);
                *name = rc < 0 ? NULL : strdup(OBJECT);
                return rc < 0 ? rc : *name ? 0 : why_set(why, -ENOMEM, "out of memory");
        }
        rc = unpack_file(path, stage, why);
        return rc < 0 ? rc : choose(stage, from, base, name, why);
}
