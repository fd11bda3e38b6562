/*
 * Who may do what: permission checks as other users and groups, umask, set-gid and sticky directories, set-uid bits, and whose the
 * files are that a container makes.
 */
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/mount/case.h"

#define OWNER 4242
#define STRANGER 7777
#define TEAM 5000
#define RACES 400
#define SECRET "the host's"

/* The sources below belong to OWNER, so what he creates is his with the mount and without. */
static const struct variant owned[] = {
        {.backing = ON_EXT4, .transport = BY_URING, .watch = WATCH_BY_FANOTIFY, .owner = OWNER},
        {.backing = ON_EXT4, .transport = BY_DEV, .watch = WATCH_BY_INOTIFY, .owner = OWNER},
        {.backing = ON_TMPFS, .transport = BY_URING, .watch = WATCH_BY_INOTIFY, .owner = OWNER},
        {.backing = ON_TMPFS, .transport = BY_DEV, .watch = WATCH_BY_FANOTIFY, .owner = OWNER},
};

static const struct who owner = {.uid = OWNER, .gid = OWNER};
static const struct who stranger = {.uid = STRANGER, .gid = STRANGER};
static const struct who team_member = {.uid = STRANGER, .gid = STRANGER, .group_count = 2, .groups = {9, TEAM}};

static void make_file(const char *root, const char *name, uid_t uid, gid_t gid, mode_t mode)
{
        const char *path = at(root, "%s", name);

        put_text(path, "text");
        must(chown(path, uid, gid) == 0 && chmod(path, mode) == 0, "%s", path);
}

static void make_dir(const char *root, const char *name, uid_t uid, gid_t gid, mode_t mode)
{
        const char *path = at(root, "%s", name);

        must(mkdir(path, 0755) == 0 && chown(path, uid, gid) == 0 && chmod(path, mode) == 0, "%s", path);
}

/* The same things on both sides, made on the host: chown is not the mount's to do. */
static void prepare(struct fixture *f, void (*make)(const char *root))
{
        make(f->plain);
        make(f->src);
        fixture_wait(f);
}

static void make_modes(const char *root)
{
        make_file(root, "owners", 0, 0, 0600);
        make_file(root, "groups", 0, TEAM, 0060);
        make_file(root, "others", 0, 0, 0006);
        make_file(root, "not groups", 0, TEAM, 0606);
        make_file(root, "all", 0, 0, 0666);
        make_file(root, "program", 0, TEAM, 0710);
        make_dir(root, "closed", 0, 0, 0700);
        make_file(root, "closed/f", 0, 0, 0666);
        make_dir(root, "searchable", 0, 0, 0711);
        make_file(root, "searchable/f", 0, 0, 0644);
        make_dir(root, "team", 0, TEAM, 0770);
        make_file(root, "team/f", OWNER, TEAM, 0664);
        make_file(root, "strangers", STRANGER, STRANGER, 0200);
}

static void try_modes(struct script *s)
{
        static const char *const names[] = {"owners",   "groups",     "others",       "not groups", "all",    "program",  "closed",
                                            "closed/f", "searchable", "searchable/f", "team",       "team/f", "strangers"};

        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                SAY(s, "%s:\n", names[i]);
                DO_FD(s, open(names[i], O_RDONLY | O_CLOEXEC));
                DO_FD(s, open(names[i], O_WRONLY | O_CLOEXEC));
                DO(s, eaccess(names[i], R_OK));
                DO(s, eaccess(names[i], W_OK));
                DO(s, eaccess(names[i], X_OK));
                DO(s, access(names[i], X_OK));
                DO(s, truncate(names[i], 3));
                DO(s, chmod(names[i], 0777));
                DO(s, utimensat(AT_FDCWD, names[i], (struct timespec[]){{1, 1}, {2, 2}}, 0));
                DO(s, rename(names[i], "elsewhere"));
                DO(s, unlink(names[i]));
        }
        DO(s, mkdir("mine", 0777));
        DO(s, mkdir("searchable/mine", 0777));
        DO(s, symlink("x", "closed/link"));
        DO(s, link("all", "team/hard"));
        DO(s, chown("strangers", STRANGER, TEAM));
}

static void as_stranger_and_team(struct script *s)
{
        as_user(s, &stranger, try_modes);
}

CASE(perms, strangers_may_what_the_modes_say)
{
        prepare(f, make_modes);
        oracle_compare(f, as_stranger_and_team);
}

static void try_team(struct script *s)
{
        DO_FD(s, open("groups", O_RDWR));
        DO_FD(s, open("not groups", O_RDONLY));
        DO_FD(s, open("team/f", O_RDWR));
        DO(s, eaccess("program", X_OK));
        DO(s, chdir("team"));
        DO_FD(s, open("f", O_WRONLY | O_TRUNC));
        DO(s, rename("f", "g"));
        DO(s, unlink("g"));
}

static void as_team_member(struct script *s)
{
        as_user(s, &stranger, try_team);
        as_user(s, &team_member, try_team);
}

CASE(perms, supplementary_groups_count)
{
        prepare(f, make_modes);
        oracle_compare(f, as_team_member);
}

static void create_with_umasks(struct script *s)
{
        static const mode_t masks[] = {0, 022, 027, 077, 0777};

        for (size_t i = 0; i < ARRAY_LEN(masks); i++) {
                umask(masks[i]);
                close(DO_FD(s, open(at("work", "file%zu", i), O_RDWR | O_CREAT, 0666)));
                DO(s, mkdir(at("work", "dir%zu", i), 0777));
                DO(s, mknod(at("work", "node%zu", i), S_IFREG | 0666, 0));
                DO(s, mkfifo(at("work", "fifo%zu", i), 0666));
                DO(s, symlink("x", at("work", "link%zu", i)));
                close(DO_FD(s, open("work", O_RDWR | O_TMPFILE, 0666)));
                say_stat(s, at("work", "file%zu", i));
                say_stat(s, at("work", "dir%zu", i));
                say_stat(s, at("work", "node%zu", i));
        }
}

static void as_owner_with_umasks(struct script *s)
{
        as_user(s, &owner, create_with_umasks);
}

static void make_work(const char *root)
{
        make_dir(root, "work", OWNER, OWNER, 0777);
}

CASE_WITH(perms, umask_is_honoured, owned)
{
        prepare(f, make_work);
        oracle_compare(f, as_owner_with_umasks);
}

static void make_setgid(const char *root)
{
        make_dir(root, "work", OWNER, OWNER, 02775);
}

static void create_in_setgid(struct script *s)
{
        DO(s, mkdir("work/sub", 0755));
        DO(s, mkdir("work/sub/sub", 0700));
        close(DO_FD(s, open("work/sub/f", O_RDWR | O_CREAT, 0644)));
        say_stat(s, "work/sub");
        say_stat(s, "work/sub/sub");
        say_stat(s, "work/sub/f");
}

static void as_owner_in_setgid(struct script *s)
{
        as_user(s, &owner, create_in_setgid);
}

CASE_WITH(perms, setgid_directories_pass_on, owned)
{
        prepare(f, make_setgid);
        oracle_compare(f, as_owner_in_setgid);
}

static void make_sticky(const char *root)
{
        make_dir(root, "tmp", 0, 0, 01777);
        make_file(root, "tmp/roots", 0, 0, 0666);
        make_file(root, "tmp/strangers", STRANGER, STRANGER, 0666);
        make_file(root, "tmp/owners", OWNER, OWNER, 0666);
}

static void try_sticky(struct script *s)
{
        DO(s, unlink("tmp/roots"));
        DO(s, rename("tmp/roots", "tmp/x"));
        DO(s, unlink("tmp/owners"));
        DO(s, rename("tmp/strangers", "tmp/owners"));
        DO(s, rename("tmp/strangers", "tmp/renamed"));
        DO(s, unlink("tmp/renamed"));
}

static void as_stranger_in_sticky(struct script *s)
{
        as_user(s, &stranger, try_sticky);
}

CASE(perms, sticky_directories_protect)
{
        prepare(f, make_sticky);
        oracle_compare(f, as_stranger_in_sticky);
}

static void make_setuid(const char *root)
{
        static const char *const names[] = {"write", "truncate", "ftruncate", "otrunc", "read", "fallocate", "append"};

        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                make_file(root, names[i], 0, 0, 06777);
                make_file(root, at("", "%s nox", names[i]) + 1, 0, 0,
                          04666); /* 02666: FUSE keeps the bit, having been defined before VFS dropped it */
        }
        make_file(root, "chown", 0, 0, 06777);
}

static void write_setuid(struct script *s, const char *suffix)
{
        char buf[4];
        int fd = DO_FD(s, open(at(".", "write%s", suffix), O_RDWR));

        DO(s, pwrite(fd, "x", 1, 0));
        say_fstat(s, fd);
        DO(s, truncate(at(".", "truncate%s", suffix), 1));
        say_stat(s, at(".", "truncate%s", suffix));
        fd = DO_FD(s, open(at(".", "ftruncate%s", suffix), O_RDWR));
        DO(s, ftruncate(fd, 2));
        say_fstat(s, fd);
        fd = DO_FD(s, open(at(".", "otrunc%s", suffix), O_RDWR | O_TRUNC));
        say_fstat(s, fd);
        fd = DO_FD(s, open(at(".", "read%s", suffix), O_RDONLY));
        DO(s, read(fd, buf, sizeof(buf)));
        say_fstat(s, fd);
        fd = DO_FD(s, open(at(".", "append%s", suffix), O_WRONLY | O_APPEND));
        DO(s, write(fd, "x", 1));
        say_fstat(s, fd);
        fd = DO_FD(s, open(at(".", "fallocate%s", suffix), O_RDWR));
        DO(s, fallocate(fd, 0, 0, 100));
        say_fstat(s, fd);
}

static void write_setuids(struct script *s)
{
        write_setuid(s, "");
        write_setuid(s, " nox");
}

static void as_stranger_on_setuid(struct script *s)
{
        as_user(s, &stranger, write_setuids);
        DO(s, chown("chown", 0, 0));
        say_stat(s, "chown");
}

CASE(perms, setuid_bits_go_with_another_users_write)
{
        prepare(f, make_setuid);
        oracle_compare(f, as_stranger_on_setuid);
}

struct race {
        struct gate *gate;
        const char *mnt;
        int errors[RACES]; /* of open(); 0: it gave a descriptor */
        bool leaked[RACES];
};

/* Somewhere within what a request takes, so that the host's file turns up at each moment of it. */
static void spin(struct dice *dice)
{
        static atomic_uint spun;

        for (unsigned n = dice_roll(dice, 20000); n; n--)
                atomic_fetch_add_explicit(&spun, 1, memory_order_relaxed);
}

static int create_against_the_host(void *arg)
{
        struct race *race = arg;
        struct dice dice = {1};

        for (int i = 0; i < RACES; i++) {
                char text[sizeof(SECRET)] = "";
                CLEANUP_FD int fd = -1;

                gate_pass(race->gate);
                spin(&dice);
                fd = open(at(race->mnt, "race/%d", i), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
                race->errors[i] = fd < 0 ? errno : 0;
                gate_pass(race->gate); /* by now the host has written */
                race->leaked[i] = fd >= 0 && (pread(fd, text, sizeof(text) - 1, 0) > 0 || pwrite(fd, "mine", 4, 0) != 4);
        }
        return 0;
}

/* True if it was the host that made the file. */
static bool create_on_the_host(const char *path)
{
        CLEANUP_FD int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

        must(fd >= 0 || errno == EEXIST, "%s", path);
        must(fd < 0 || fd_write_full(fd, SECRET, strlen(SECRET)) == 0, "%s", path);
        return fd >= 0;
}

CASE(perms, creating_what_the_host_just_made_opens_only_what_one_may)
{
        static bool hosts[RACES];
        struct race *race = shared_new(sizeof(*race));
        struct who user = {.uid = 1000, .gid = 1000};
        struct dice dice = {2};
        pid_t pid;

        make_dir(f->src, "race", 0, 0, 0777);
        must(chmod(at(f->src, "race"), 0777) == 0, "chmod");
        fixture_wait(f);
        race->gate = gate_new(2);
        race->mnt = f->mnt;
        pid = child_start(&user, create_against_the_host, race);
        for (int i = 0; i < RACES; i++) {
                gate_pass(race->gate);
                spin(&dice);
                hosts[i] = create_on_the_host(at(f->src, "race/%d", i));
                gate_pass(race->gate);
        }
        must(child_wait(pid) == 0, "the user");
        for (int i = 0; i < RACES; i++) {
                errno = race->errors[i];
                must(race->errors[i] == (hosts[i] ? EACCES : 0), "race %d, the file is %s", i, hosts[i] ? "the host's" : "ours");
                must(!race->leaked[i], "race %d: what it opened is not what it made", i);
        }
        fixture_wait(f);
        must_mirror(f);
}
