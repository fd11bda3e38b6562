/*
 * The model stress, games on names: what a name leads to is always whole, and the thing itself.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/lib/mount.h"
#include "tests/stress/model_race.h"
#include "tests/stress/model_side.h"

#define WORDS_MAX 6000

/* Content that says whose it is, in every word. */
static size_t fill_words(uint32_t *words, unsigned writer, uint32_t seq)
{
        size_t count = 1 + seq * 37 % (seq % 4 ? 60 : WORDS_MAX);

        for (size_t i = 0; i < count; i++)
                words[i] = (writer << 24) | (seq & 0xffffff);
        return count * sizeof(*words);
}

/* Read all that is there; every word must be the first one. The bytes, or -errno. */
static ssize_t read_words(int fd, uint32_t *first, const char *what)
{
        static uint32_t words[WORDS_MAX + 1];
        ssize_t n = pread(fd, words, sizeof(words), 0);

        if (n < 0)
                return -errno;
        errno = 0;
        for (ssize_t i = 0; i < n / 4; i++)
                must(words[i] == words[0], "%s: word %zd of %zd bytes is %x, the first is %x", what, i, n, words[i], words[0]);
        *first = words[0];
        return n;
}

/*
 * Documents: everybody saves his own by renaming over it, everybody reads all of them. Each is whole, and none gets older.
 */

static void save_document(struct racer *r)
{
        static uint32_t words[WORDS_MAX];
        struct done *mine = &r->done[r->id];
        size_t len = fill_words(words, r->id, mine->saved + 1);

        put_file(at(r->root, "save.%u", r->id), words, len);
        must(rename(at(r->root, "save.%u", r->id), at(r->root, "document.%u", r->id)) == 0, "save document %u", r->id);
        mine->saved++;
}

static void read_document(struct racer *r)
{
        unsigned k = dice_roll(&r->dice, RACERS);
        CLEANUP_FD int fd = open(at(r->root, "document.%u", k), O_RDONLY | O_CLOEXEC);
        static uint32_t should[WORDS_MAX];
        uint32_t first = 0;
        ssize_t n;

        if (fd < 0) {
                must(race_is_gone(r, errno) && (errno != ENOENT || r->seen[k] == 0 || r->in_mount), "document %u", k);
                return;
        }
        n = read_words(fd, &first, "document");
        if (n < 0) {
                errno = (int)-n;
                must(race_is_gone(r, errno), "read document %u", k);
                return;
        }
        errno = 0;
        must(n > 0 && first >> 24 == k && (size_t)n == fill_words(should, k, first & 0xffffff), "document %u has %zd bytes of %x", k, n,
             first);
        must((first & 0xffffff) >= r->seen[k], "document %u is %u after %u", k, first & 0xffffff, r->seen[k]);
        r->seen[k] = first & 0xffffff;
}

static void move_document(struct racer *r)
{
        if (dice_roll(&r->dice, 3) == 0)
                save_document(r);
        else
                read_document(r);
}

static bool check_documents(const struct view *v, char *report)
{
        for (unsigned k = 0; k < v->racers; k++) {
                CLEANUP_FD int fd = open(at(v->root, "document.%u", k), O_RDONLY | O_CLOEXEC);
                uint32_t first = (k << 24) | v->done[k].saved;

                if (v->done[k].saved == 0 && fd < 0)
                        continue;
                if (fd < 0 || read_words(fd, &first, "document") <= 0 || first != ((k << 24) | v->done[k].saved)) {
                        snprintf(report, REPORT_MAX / 2, "document %u was saved %u times, there is %x", k, v->done[k].saved, first);
                        return false;
                }
        }
        return true;
}

const struct game game_documents = {"documents", NULL, move_document, check_documents};

/*
 * Files made and removed by everybody under the same few names: a file's bytes are its maker's, and an open one stays who it is.
 */

#define FILE_NAMES 3

static void make_file(struct racer *r, const char *path)
{
        static uint32_t words[WORDS_MAX];
        CLEANUP_FD int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        size_t len = fill_words(words, r->id, dice_roll(&r->dice, 1u << 20));

        if (fd < 0) {
                must(errno == EEXIST || race_is_gone(r, errno), "create %s", path);
                return;
        }
        if (write(fd, words, len) != (ssize_t)len)
                must(race_is_gone(r, errno), "write %s", path);
}

static void read_file(struct racer *r, const char *path)
{
        CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
        uint32_t first = 0, again = 0;
        ssize_t n, m;

        if (fd < 0) {
                must(race_is_gone(r, errno), "open %s", path);
                return;
        }
        n = read_words(fd, &first, path);
        m = read_words(fd, &again, path);
        errno = n < 0 ? (int)-n : m < 0 ? (int)-m : 0;
        must(errno == 0 || race_is_gone(r, errno), "read %s", path);
        must(n <= 0 || m <= 0 || first == again, "%s was %x and is %x", path, first, again);
}

static void move_file(struct racer *r)
{
        const char *path = at(r->root, "file%u", dice_roll(&r->dice, FILE_NAMES));

        switch (dice_roll(&r->dice, 4)) {
        case 0:
                make_file(r, path);
                break;
        case 1:
                must(unlink(path) == 0 || race_is_gone(r, errno), "unlink %s", path);
                break;
        default:
                read_file(r, path);
        }
}

const struct game game_files = {"files", NULL, move_file, NULL};

/*
 * Symlinks: a target says how long it is.
 */

static void move_symlink(struct racer *r)
{
        const char *path = at(r->root, "symlink%u", dice_roll(&r->dice, FILE_NAMES));
        char target[128];
        unsigned filling = dice_roll(&r->dice, 60);
        ssize_t n;

        switch (dice_roll(&r->dice, 4)) {
        case 0:
                snprintf(target, sizeof(target), "%02u:%.*s", filling, (int)filling,
                         "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnop");
                must(symlink(target, path) == 0 || errno == EEXIST || race_is_gone(r, errno), "symlink %s", path);
                break;
        case 1:
                must(unlink(path) == 0 || race_is_gone(r, errno), "unlink %s", path);
                break;
        default:
                n = readlink(path, target, sizeof(target) - 1);
                must(n >= 0 || race_is_gone(r, errno), "readlink %s", path);
                errno = 0;
                must(n < 0 || n == 3 + (target[0] - '0') * 10 + (target[1] - '0'), "%s leads to %.*s", path, (int)n, target);
        }
}

const struct game game_symlinks = {"symlinks", NULL, move_symlink, NULL};

/*
 * Links: everybody gives one file names of his own, and takes them away.
 */

#define LINKS_EACH 4

static void lay_links(const char *root, unsigned racers)
{
        (void)racers;
        put_text(at(root, "hub"), "one file of many names");
}

static void move_link(struct racer *r)
{
        unsigned k = dice_roll(&r->dice, LINKS_EACH);
        const char *path = at(r->root, "link.%u.%u", r->id, k);
        uint32_t *mine = &r->done[r->id].linked;

        if (*mine & (1u << k)) {
                must(unlink(path) == 0, "unlink %s", path);
                *mine &= ~(1u << k);
        } else {
                must(link(at(r->root, "hub"), path) == 0, "link %s", path);
                *mine |= 1u << k;
        }
}

static bool check_links(const struct view *v, char *report)
{
        unsigned count = 1;
        struct stat st;

        for (unsigned k = 0; k < v->racers; k++)
                count += (unsigned)__builtin_popcount(v->done[k].linked);
        if (stat(at(v->root, "hub"), &st) == 0 && st.st_nlink == count)
                return true;
        snprintf(report, REPORT_MAX / 2, "%lu links, there should be %u", (unsigned long)st.st_nlink, count);
        return false;
}

const struct game game_links = {"links", lay_links, move_link, check_links};

/*
 * Directories change places while files come and go in them. That the mount is its source afterwards is all there is to check.
 */

static void lay_directories(const char *root, unsigned racers)
{
        (void)racers;
        must(mkdir(at(root, "da"), 0755) == 0 && mkdir(at(root, "db"), 0755) == 0, "mkdir");
}

static void move_directory(struct racer *r)
{
        const char *a = at(r->root, "da"), *b = at(r->root, "db"), *c = at(r->root, "db/dc");
        const char *mine = at(dice_roll(&r->dice, 2) ? a : b, "of%u", r->id);
        struct stat st;
        int rc;

        switch (dice_roll(&r->dice, 7)) {
        case 0:
                rc = renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE);
                break;
        case 1:
                rc = renameat2(AT_FDCWD, a, AT_FDCWD, c, RENAME_NOREPLACE);
                break;
        case 2:
                rc = renameat2(AT_FDCWD, c, AT_FDCWD, a, RENAME_NOREPLACE);
                break;
        case 3:
                rc = unlink(mine);
                break;
        case 4:
                rc = stat(mine, &st);
                break;
        default:
                rc = open(mine, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
                if (rc >= 0)
                        close(rc);
        }
        /* ELOOP: what the kernel finds in a directory is, by what it has not been told yet, above it. */
        must(rc >= 0 || errno == EEXIST || errno == EINVAL || race_is_gone(r, errno) || (errno == ELOOP && r->in_mount), "directories");
}

const struct game game_directories = {"directories", lay_directories, move_directory, NULL};

/*
 * More files than the agent has descriptors.
 */

static void read_crowd(struct racer *r)
{
        for (unsigned i = 0; i < 20; i++) {
                unsigned k = dice_roll(&r->dice, CROWD);
                char text[64] = "", should[64];
                CLEANUP_FD int fd = open(at(r->crowd, "%u", k), O_RDONLY | O_CLOEXEC);

                must(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0, "crowd %u", k);
                snprintf(should, sizeof(should), CROWD_TEXT, k);
                errno = 0;
                must(strcmp(text, should) == 0, "number %u of the crowd says: %s", k, text);
        }
}

const struct game game_crowd = {"crowd", NULL, read_crowd, NULL};
