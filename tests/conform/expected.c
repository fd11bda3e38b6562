/*
 * Are the differences between the mount and its backing those that are expected, all of them and no others? The table is in
 * differences.c; packaging/manual/differences.md tells users of each by the same key.
 */
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/base/fd.h"
#include "tests/conform/conform.h"

#define DIFFERENCES_MAX 128
#define MANUAL_MAX (1 << 20)

/* In this combination. */
static struct {
        size_t tried, seen;
} counts[DIFFERENCES_MAX];

static bool matches(const char *pattern, const char *text)
{
        return fnmatch(pattern, text, FNM_EXTMATCH) == 0;
}

/* A bind mount is the same as its backing. */
static bool none_expected(void)
{
        const char *bind = getenv("DSFS_TEST_BIND");

        return bind && *bind == '1';
}

static void judge(const struct difference *d, struct unlike *unlike, size_t count, size_t *seen)
{
        bool found = false;

        for (size_t i = 0; i < count; i++)
                if (matches(d->want, unlike[i].want) && matches(d->have, unlike[i].have))
                        unlike[i].expected = found = true;
        for (size_t i = 0; found && d->rest && i < count; i++)
                unlike[i].expected = true;
        *seen += found;
}

size_t differences_judge(const struct combination *c, const char *trial, struct unlike *unlike, size_t count)
{
        size_t unexpected = 0;

        must(difference_count <= DIFFERENCES_MAX, "DIFFERENCES_MAX");
        for (size_t i = 0; i < difference_count && !none_expected(); i++) {
                const struct difference *d = &differences[i];

                if ((d->fit && !d->fit(c)) || !matches(d->trial, trial))
                        continue;
                counts[i].tried++;
                if (count)
                        judge(d, unlike, count, &counts[i].seen);
        }
        for (size_t i = 0; i < count; i++)
                unexpected += !unlike[i].expected;
        return unexpected;
}

void differences_check_seen(const struct combination *c, struct tally *tally)
{
        char name[64];

        combination_name(c, name, sizeof(name));
        for (size_t i = 0; i < difference_count; i++) {
                const struct difference *d = &differences[i];

                if (counts[i].tried && !counts[i].seen) {
                        printf("%s: an expected difference is not there: %s: %s, want: %s have: %s\n", name, d->key, d->trial, d->want,
                               d->have);
                        tally->failed++;
                }
                counts[i].tried = counts[i].seen = 0;
        }
}

void differences_check_manual(struct tally *tally)
{
        const char *path = getenv("DSFS_DIFFERENCES");
        CLEANUP_FREE char *text = NULL;
        char *next_section;

        path = path ? path : "packaging/manual/differences.md";
        must(fd_read_file(AT_FDCWD, path, MANUAL_MAX, &text) > 0, "%s", path);
        next_section = strstr(text, "\n## ");
        if (next_section)
                *next_section = '\0';
        for (size_t i = 0; i < difference_count; i++) {
                char heading[128];

                snprintf(heading, sizeof(heading), "| `%s` |", differences[i].key);
                if (!strstr(text, heading)) {
                        printf("%s doesn't tell of %s\n", path, differences[i].key);
                        tally->failed++;
                }
        }
        for (const char *p = text; (p = strstr(p, "\n| `")); p++) {
                size_t i = 0, len = strcspn(p + 4, "`");

                while (i < difference_count && (strlen(differences[i].key) != len || strncmp(differences[i].key, p + 4, len) != 0))
                        i++;
                if (i == difference_count) {
                        printf("%s tells of %.*s, which is not expected\n", path, (int)len, p + 4);
                        tally->failed++;
                }
        }
}
