#include "sync/agent/disks.h"

#include <stdint.h>
#include <sys/statvfs.h>

#include "cache/base/err.h"
#include "sync/agent/shell.h"
#include "sync/serve/why.h"

#define MIB (1024.0 * 1024.0)
/* Nearly full: both of them. */
#define LEFT_PERCENT 5
#define LEFT_BYTES (1ULL << 30)
/* Full, for whoever builds something: so little, and of files none. */
#define FULL_BYTES (1ULL << 20)

static bool has_few_bytes(const struct statvfs *fs, bool full)
{
        uint64_t left = (uint64_t)fs->f_bavail * fs->f_frsize;

        return left < (full ? FULL_BYTES : LEFT_BYTES) && fs->f_bavail < fs->f_blocks / (100 / LEFT_PERCENT);
}

static bool has_few_files(const struct statvfs *fs, bool full)
{
        return fs->f_files && (full ? fs->f_favail == 0 : fs->f_favail < fs->f_files / 100);
}

char *disk_complaint(const char *path, const char *what, bool full, char **fix)
{
        CLEANUP_FREE char *word = shell_word(path);
        struct statvfs fs;

        *fix = NULL;
        if (statvfs(path, &fs) < 0 || fs.f_blocks == 0)
                return NULL;
        if (has_few_bytes(&fs, full)) {
                *fix = text_new("free some: `dsfs artifacts prune --all --dry-run` says what past generations and snapshots would give "
                                "back; df -h %s",
                                why_text(word));
                return text_new("the disk of %s (%s) is %s: %.0f MiB are left", path, what, full ? "full" : "nearly full",
                                (double)fs.f_bavail * (double)fs.f_frsize / MIB);
        }
        if (has_few_files(&fs, full)) {
                *fix = text_new("remove files that nobody needs; df -i %s", why_text(word));
                return text_new("the disk of %s (%s) has %s room for more files: %llu inodes are left", path, what, full ? "no" : "hardly",
                                (unsigned long long)fs.f_favail);
        }
        return NULL;
}
