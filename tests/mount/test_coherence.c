/*
 * Edits on the host show in the mount, whole and at once, after the barrier; whatever the kernel had cached before.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/mount/edits.h"

#define CHECKOUT_FILES 1000
#define BOTH_ROUNDS 25

CASE(coherence, every_kind_of_edit_shows)
{
        for (size_t i = 0; i < ARRAY_LEN(edits); i++) {
                struct trace *want = trace_new(), *have = trace_new();
                char dir[16];

                snprintf(dir, sizeof(dir), "play%zu", i);
                make_playground(at(f->src, "%s", dir));
                fixture_wait(f);
                must_mirror(f);
                look_for_absent(at(f->mnt, "%s", dir));
                make_edit(&edits[i], at(f->src, "%s", dir));
                fixture_wait(f);
                tree_describe(want, at(f->src, "%s", dir), TREE_IDENTITY);
                tree_describe(have, at(f->mnt, "%s", dir), TREE_IDENTITY);
                trace_must_equal(want, have, edits[i].name);
                trace_free(want);
                trace_free(have);
        }
        must_mirror(f);
}

/* A container holds descriptors, a mapping and a working directory; the host edits, renames and deletes what they are of. */
CASE(coherence, held_files_follow)
{
        CLEANUP_FD int file = -1, dir = -1, victim = -1;
        char buf[64] = "";
        struct stat st;

        make_playground(at(f->src, "p"));
        fixture_wait(f);
        file = open(at(f->mnt, "p/file"), O_RDWR | O_CLOEXEC);
        victim = open(at(f->mnt, "p/other"), O_RDONLY | O_CLOEXEC);
        dir = open(at(f->mnt, "p/dir/deep"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        must(file >= 0 && victim >= 0 && dir >= 0 && fchdir(dir) == 0, "open");
        must(read(file, buf, sizeof(buf)) > 0 && read(victim, buf, sizeof(buf)) > 0, "read");

        put_text(at(f->src, "p/file"), "short");
        append_text(at(f->src, "p/file"), "er and longer again");
        fixture_wait(f);
        must(fstat(file, &st) == 0 && st.st_size == 24, "the size is %ld", (long)st.st_size);
        memset(buf, 0, sizeof(buf));
        must(pread(file, buf, sizeof(buf), 0) == 24 && strcmp(buf, "shorter and longer again") == 0, "it says %s", buf);

        must(rename(at(f->src, "p/file"), at(f->src, "p/moved")) == 0, "rename");
        must(rename(at(f->src, "p/dir"), at(f->src, "p/moved dir")) == 0, "rename");
        fixture_wait(f);
        must(pwrite(file, "WRITTEN", 7, 0) == 7, "write to what was renamed");
        must(stat("leaf", &st) == 0 && st.st_size == 4, "the working directory was renamed");
        must(faccessat(dir, "leaf", F_OK, 0) == 0, "the held directory was renamed");
        put_text("made here", "in the renamed directory");
        must(stat(at(f->src, "p/moved dir/deep/made here"), &st) == 0, "on the host");

        put_text(at(f->src, "p/.other"), "the new other");
        must(rename(at(f->src, "p/.other"), at(f->src, "p/other")) == 0, "rename over");
        fixture_wait(f);
        memset(buf, 0, sizeof(buf));
        must(pread(victim, buf, sizeof(buf) - 1, 0) >= 0 || errno == ESTALE, "the replaced file");
        must(!*buf || strcmp(buf, "the other's") == 0, "the replaced file says %s", buf);
        must(chdir("/") == 0, "chdir");
        must_mirror(f);
}

/* Out of the source, where the watch may be blind, and back with other things in it; while somebody works in what was below. */
CASE(coherence, a_directory_that_comes_back_shows_what_it_has_now)
{
        CLEANUP_FD int held = -1, gone = -1;
        struct stat st, now;

        make_playground(at(f->src, "p"));
        fixture_wait(f);
        held = open(at(f->mnt, "p/dir/deep/leaf"), O_RDONLY | O_CLOEXEC);
        gone = open(at(f->mnt, "p/other"), O_RDONLY | O_CLOEXEC);
        must(held >= 0 && gone >= 0 && chdir(at(f->mnt, "p/dir/deep")) == 0 && stat(at(f->mnt, "p/file"), &st) == 0, "open");
        must(rename(at(f->src, "p"), at(f->src, "../out")) == 0, "move out");
        fixture_wait(f);
        must(rename(at(f->src, "../out/dir/deep"), at(f->src, "../out/dir/was deep")) == 0, "rename");
        must(mkdir(at(f->src, "../out/dir/deep"), 0755) == 0, "mkdir");
        put_text(at(f->src, "../out/dir/deep/leaf"), "another leaf");
        put_text(at(f->src, "../out/.file"), "another file");
        must(rename(at(f->src, "../out/.file"), at(f->src, "../out/file")) == 0, "rename");
        must(unlink(at(f->src, "../out/other")) == 0, "unlink");
        must(rename(at(f->src, "../out"), at(f->src, "p")) == 0, "move back");
        fixture_wait(f);
        must(stat(at(f->mnt, "p/dir/deep/leaf"), &now) == 0 && stat(at(f->src, "p/dir/deep/leaf"), &st) == 0, "stat");
        must(now.st_size == st.st_size, "the leaf has %ld bytes", (long)now.st_size);
        must(stat(at(f->mnt, "p/other"), &now) < 0 && errno == ENOENT, "what was deleted outside");
        must(chdir("/") == 0, "chdir");
        must_mirror(f);
}

/* When the watch gets to see the change, the name by which it was done is gone. */
CASE(coherence, a_file_changed_through_a_link_that_goes)
{
        char text[16] = "";

        put_text(at(f->src, "kept"), "before");
        must(link(at(f->src, "kept"), at(f->src, "link")) == 0, "link");
        fixture_wait(f);
        must_mirror(f);
        must(kill(f->pid, SIGSTOP) == 0, "stop");
        {
                CLEANUP_FD int fd = open(at(f->src, "link"), O_WRONLY | O_CLOEXEC);

                must(write(fd, "after!", 6) == 6 && unlink(at(f->src, "link")) == 0, "write");
        }
        must(kill(f->pid, SIGCONT) == 0, "continue");
        fixture_wait(f);
        {
                CLEANUP_FD int fd = open(at(f->mnt, "kept"), O_RDONLY | O_CLOEXEC);

                must(read(fd, text, sizeof(text) - 1) == 6, "read");
        }
        must(strcmp(text, "after!") == 0, "it says %s", text);
        must_mirror(f);
}

/* A working directory that the host deletes: errors, no hang, and a new one of that name works. */
CASE(coherence, a_deleted_working_directory)
{
        struct stat st;

        make_playground(at(f->src, "p"));
        fixture_wait(f);
        must(chdir(at(f->mnt, "p/dir/deep")) == 0 && stat("leaf", &st) == 0, "chdir");
        remove_tree(at(f->src, "p"));
        fixture_wait(f);
        must(stat("leaf", &st) < 0 && (errno == ENOENT || errno == ESTALE), "what was deleted is there");
        must(open("new", O_WRONLY | O_CREAT, 0644) < 0 && (errno == ENOENT || errno == ESTALE), "created in the deleted");
        make_playground(at(f->src, "p"));
        fixture_wait(f);
        must(chdir(at(f->mnt, "p/dir/deep")) == 0 && stat("leaf", &st) == 0, "the new one");
        must(chdir("/") == 0, "chdir");
        must_mirror(f);
}

/*
 * Both sides at once
 */

struct side {
        const char *root, *name, *others;
        unsigned seed;
        struct gate *edited, *looked;
        struct fixture *f;
};

static void edit_some(const struct side *s, struct dice *dice, unsigned round)
{
        for (unsigned i = 0; i < 20; i++) {
                unsigned k = dice_roll(dice, 10);
                char text[64];

                snprintf(text, sizeof(text), "%s round %u edit %u", s->name, round, i);
                switch (dice_roll(dice, 5)) {
                case 0:
                        unlink(at(s->root, "shared/%s-%u", s->name, k));
                        break;
                case 1:
                        put_text(at(s->root, "shared/.%s", s->name), text);
                        must(rename(at(s->root, "shared/.%s", s->name), at(s->root, "shared/%s-%u", s->name, k)) == 0, "rename");
                        break;
                case 2:
                        rename(at(s->root, "shared/%s-%u", s->name, k), at(s->root, "shared/%s-%u", s->name, (k + 1) % 10));
                        break;
                default:
                        put_text(at(s->root, "shared/%s-%u", s->name, k), text);
                }
        }
}

static int edit_side(void *arg)
{
        struct side *s = arg;
        struct dice dice = {s->seed};

        for (unsigned round = 0; round < BOTH_ROUNDS; round++) {
                edit_some(s, &dice, round);
                gate_pass(s->edited);
                gate_pass(s->looked);
        }
        return 0;
}

CASE(coherence, both_sides_at_once)
{
        struct gate *edited = gate_new(3), *looked = gate_new(3);
        struct side host = {keep(f->src), "host", "mount", 1, edited, looked, f};
        struct side mount = {keep(f->mnt), "mount", "host", 2, edited, looked, f};
        pid_t a, b;

        must(mkdir(at(f->src, "shared"), 0755) == 0, "mkdir");
        fixture_wait(f);
        a = child_start(NULL, edit_side, &host);
        b = child_start(NULL, edit_side, &mount);
        for (unsigned round = 0; round < BOTH_ROUNDS; round++) {
                gate_pass(edited);
                fixture_wait(f);
                must_mirror(f);
                gate_pass(looked);
        }
        must(child_wait(a) == 0 && child_wait(b) == 0, "the editors");
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

CASE(coherence, edits_show_without_being_asked_for)
{
        struct awaited a = {.path = keep(at(f->mnt, "file"))};
        char text[32];

        put_text(at(f->src, "file"), "first");
        for (int i = 0; i < 50; i++) {
                snprintf(text, sizeof(text), "version %d%s", i, i % 2 ? " longer" : "");
                a.text = text;
                put_text(at(f->src, "file"), text);
                must(wait_until(says, &a, 30), "%s doesn't show", text);
        }
}
