/*
 * Changes through one mount of a source show in its other mounts, whole and at once, after the barrier; whatever the kernel had cached for
 * those. The second mount goes by the other transport.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/mount/edits.h"
#include "tests/stress/edit.h"

#define MIXED_EDITS 300
#define MIXERS 8

#define SEVERAL(name)                                                                                                                      \
        static void name##_on_both(struct fixture *f);                                                                                     \
        CASE(several, name)                                                                                                                \
        {                                                                                                                                  \
                fixture_mount_second(f, f->variant.transport == BY_DEV ? "transport=uring" : "transport=dev");                             \
                name##_on_both(f);                                                                                                         \
        }                                                                                                                                  \
        static void name##_on_both(struct fixture *f)

static void must_equal(const char *source, const char *mount, const char *what)
{
        struct trace *want = trace_new(), *have = trace_new();

        tree_describe(want, source, TREE_IDENTITY);
        tree_describe(have, mount, TREE_IDENTITY);
        trace_must_equal(want, have, what);
        trace_free(want);
        trace_free(have);
}

/* Both mounts show what is in the source. */
static void must_agree(struct fixture *f, const char *what)
{
        must_equal(f->src, f->mnt, what);
        must_equal(f->src, f->second, what);
}

SEVERAL(every_kind_of_edit_shows)
{
        for (size_t i = 0; i < ARRAY_LEN(edits); i++) {
                const char *editing = i % 2 ? f->second : f->mnt, *looking = i % 2 ? f->mnt : f->second;
                char dir[16];

                snprintf(dir, sizeof(dir), "play%zu", i);
                make_playground(at(editing, "%s", dir));
                fixture_wait(f);
                must_agree(f, "before the edit");
                look_for_absent(at(looking, "%s", dir));
                make_edit(&edits[i], at(editing, "%s", dir));
                fixture_wait(f);
                must_equal(at(f->src, "%s", dir), at(looking, "%s", dir), edits[i].name);
                must_equal(at(f->src, "%s", dir), at(editing, "%s", dir), edits[i].name);
        }
        must_agree(f, "in the end");
}

static const char *mapped(const char *path, size_t len)
{
        CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
        char *m = fd < 0 ? MAP_FAILED : mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);

        must(m != MAP_FAILED, "mmap %s", path);
        return m;
}

/* One mount holds descriptors, a mapping and a working directory; what they are of changes through the other. */
SEVERAL(held_files_follow)
{
        CLEANUP_FD int file = -1, dir = -1, victim = -1;
        const char *map;
        char buf[64] = "";
        struct stat st;

        make_playground(at(f->mnt, "p"));
        fixture_wait(f);
        file = open(at(f->second, "p/file"), O_RDWR | O_CLOEXEC);
        victim = open(at(f->second, "p/other"), O_RDONLY | O_CLOEXEC);
        dir = open(at(f->second, "p/dir/deep"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        must(file >= 0 && victim >= 0 && dir >= 0 && fchdir(dir) == 0, "open");
        must(read(file, buf, sizeof(buf)) > 0 && read(victim, buf, sizeof(buf)) > 0, "read");
        map = mapped(at(f->second, "p/file"), 4096);
        must(strncmp(map, "the file's", 10) == 0, "the mapping says %.24s", map);

        put_at(at(f->mnt, "p/file"), "THE", 0);
        append_text(at(f->mnt, "p/file"), ", longer");
        fixture_wait(f);
        must(fstat(file, &st) == 0 && st.st_size == 32, "the size is %ld", (long)st.st_size);
        memset(buf, 0, sizeof(buf));
        must(pread(file, buf, sizeof(buf), 0) == 32 && strcmp(buf, "THE file's first content, longer") == 0, "it says %s", buf);
        must(strncmp(map, buf, 32) == 0, "the mapping says %.32s", map);
        must(pwrite(file, "WRITTEN", 7, 0) == 7, "write back");
        fixture_wait(f);
        must(pread(file, buf, 7, 0) == 7 && memcmp(buf, "WRITTEN", 7) == 0, "it says %s", buf);

        must(rename(at(f->mnt, "p/file"), at(f->mnt, "p/moved")) == 0 && rename(at(f->mnt, "p/dir"), at(f->mnt, "p/moved dir")) == 0,
             "rename");
        must(unlink(at(f->mnt, "p/other")) == 0, "unlink");
        fixture_wait(f);
        must(pwrite(file, "renamed", 7, 0) == 7, "write to what was renamed");
        must(stat("leaf", &st) == 0 && st.st_size == 4, "the working directory was renamed");
        memset(buf, 0, sizeof(buf));
        must(pread(victim, buf, sizeof(buf) - 1, 0) >= 0 || errno == ESTALE, "the deleted file");
        must(!*buf || strcmp(buf, "the other's") == 0, "the deleted file says %s", buf);
        must(access(at(f->second, "p/other"), F_OK) < 0 && errno == ENOENT, "the deleted file is there");
        must(munmap((void *)map, 4096) == 0 && chdir("/") == 0, "chdir");
        fixture_wait(f);
        must_agree(f, "in the end");
}

/* Without a barrier it shows soon, too. */
struct awaited {
        const char *path, *text;
};

static bool says(void *arg)
{
        const struct awaited *a = arg;
        CLEANUP_FREE char *text = NULL;

        return fd_read_file(AT_FDCWD, a->path, 1024, &text) >= 0 && strcmp(text, a->text) == 0;
}

SEVERAL(edits_show_without_being_asked_for)
{
        struct awaited a = {.path = NULL};
        char text[32];

        put_text(at(f->mnt, "file"), "first");
        for (int i = 0; i < 50; i++) {
                const char *editing = i % 4 < 2 ? f->mnt : f->second, *looking = i % 4 < 2 ? f->second : f->mnt;

                a.path = keep(at(looking, "file"));
                a.text = text;
                snprintf(text, sizeof(text), "version %d%s", i, i % 2 ? " longer" : "");
                put_text(at(editing, "file"), text);
                must(wait_until(says, &a, 30), "%s doesn't show", text);
        }
}

/* Another profile, owner view and no writing: what it shows is the same. */
CASE(several, other_options_show_the_same)
{
        fixture_mount_second(f, "readonly,profile=data,xattr=off,owner=keep");
        make_playground(at(f->mnt, "p"));
        fixture_wait(f);
        must(access(at(f->second, "p/new"), F_OK) < 0, "new");
        for (int i = 0; i < 20; i++) {
                char text[32], buf[32] = "";
                CLEANUP_FD int fd = -1;

                snprintf(text, sizeof(text), "version %d", i);
                put_text(at(f->mnt, "p/new"), text);
                fixture_wait(f);
                fd = open(at(f->second, "p/new"), O_RDONLY | O_CLOEXEC);
                must(fd >= 0 && read(fd, buf, sizeof(buf) - 1) > 0 && strcmp(buf, text) == 0, "it says %s, not %s", buf, text);
                must(open(at(f->second, "p/new"), O_WRONLY | O_CLOEXEC) < 0 && errno == EROFS, "it can be written");
        }
        must_mirror(f);
}

/*
 * All at once, on the same names
 */

struct mixer {
        const struct fixture *f;
        unsigned id;
        bool links;
};

static int mix(void *arg)
{
        const struct mixer *m = arg;
        const char *const sides[] = {m->f->mnt, m->f->second, m->f->src};
        struct dice dice = {m->id + 1};
        CLEANUP_FREE char *dir = strdup(at(sides[m->id % ARRAY_LEN(sides)], "mixed"));

        for (unsigned i = 0; i < MIXED_EDITS; i++)
                (void)edit_once(dir, &dice, m->links);
        return 0;
}

/* Two mounts and the host, on the same few names: nobody waits for ever, and in the end all agree. */
SEVERAL(mixed_edits_never_hang)
{
        struct mixer mixers[MIXERS];
        pid_t pids[MIXERS];
        struct dice dice = {99};
        CLEANUP_FREE char *dir = strdup(at(f->src, "mixed"));

        edit_fill(dir, &dice);
        for (unsigned i = 0; i < MIXERS; i++) {
                /* inotify doesn't tell that a file's other name changed. */
                mixers[i] = (struct mixer){f, i, f->variant.watch == WATCH_BY_FANOTIFY};
                pids[i] = child_start(NULL, mix, &mixers[i]);
        }
        for (unsigned i = 0; i < MIXERS; i++)
                must(child_wait(pids[i]) == 0, "mixer %u", i);
        fixture_wait(f);
        must_agree(f, "after the mix");
}

/* Mounts that come and go while another works: each shows what is there, and none is missed. */
SEVERAL(mounts_come_and_go_in_the_middle_of_it)
{
        struct mixer mixers[2];
        pid_t pids[2];
        struct dice dice = {98};
        CLEANUP_FREE char *dir = strdup(at(f->src, "mixed"));

        edit_fill(dir, &dice);
        for (unsigned i = 0; i < ARRAY_LEN(pids); i++) {
                mixers[i] = (struct mixer){f, i * 3, false}; /* through the first mount */
                pids[i] = child_start(NULL, mix, &mixers[i]);
        }
        for (unsigned i = 0; i < 10; i++) {
                fixture_umount_second(f);
                fixture_mount_second(f, i % 2 ? "transport=uring" : "transport=dev");
                must(access(at(f->second, "mixed/d0"), F_OK) == 0 || errno == ENOENT, "access");
        }
        for (unsigned i = 0; i < ARRAY_LEN(pids); i++)
                must(child_wait(pids[i]) == 0, "mixer %u", i);
        fixture_wait(f);
        must_agree(f, "after all");
}
