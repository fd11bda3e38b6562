#include "sync/agent/ignore_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"

#define BYTE_ORDER_MARK "\xef\xbb\xbf"

/* `len` bytes of a path with a backslash before what would mean something in a pattern: a new text, or NULL. */
static char *quoted(const char *path, size_t len)
{
        char *text = malloc(2 * len + 1);
        size_t n = 0;

        for (size_t i = 0; text && i < len; i++) {
                if (path[i] && strchr("*?[\\", path[i]))
                        text[n++] = '\\';
                text[n++] = path[i];
        }
        if (text)
                text[n] = '\0';
        return text;
}

const char *ignore_exactly(struct rule_list *l, const char *mark, const char *dir, const char *path, size_t len, const char *end)
{
        CLEANUP_FREE char *above = quoted(dir, strlen(dir));
        CLEANUP_FREE char *name = quoted(path, len);

        if (!above || !name)
                return NULL;
        return rule_list_text(l, "%s/%s%s%s%s", mark, above, *above && *name ? "/" : "", name, end);
}

const char *ignore_anchor(struct rule_list *l, const char *dir, const char *pattern)
{
        CLEANUP_FREE char *above = quoted(dir, strlen(dir));
        const char *mark = *pattern == '!' ? "!" : "", *body = pattern + strlen(mark);
        size_t len = strlen(body);

        /* Nothing matches an empty one, and it must stay so. */
        if (!*dir || !len)
                return rule_list_text(l, "%s", pattern);
        if (!above)
                return NULL;
        /* Without an inner slash it goes for all directories below. */
        if (!memchr(body, '/', len - 1))
                return rule_list_text(l, "%s/%s/**/%s", mark, above, body);
        return rule_list_text(l, "%s/%s/%s", mark, above, body + (*body == '/'));
}

/* Spaces at the end go, unless a backslash is before them. */
static void trim(char *line)
{
        char *last = NULL;

        for (char *at = line; *at; at++) {
                if (*at == ' ') {
                        last = last ? last : at;
                        continue;
                }
                last = NULL;
                if (*at == '\\' && !*++at)
                        return;
        }
        if (last)
                *last = '\0';
}

static int add_line(const char *line, const char *dir, const char *where, struct rule_list *own, struct rule_list *whole)
{
        bool no = *line == '!';
        struct rule r = {.route = no ? RULE_SOURCE : RULE_ARTIFACT, .origin = where};
        int rc;

        /* A second "!" is a byte of the name. */
        r.pattern = rule_list_text(own, "%s%s", no && line[1] == '!' ? "\\" : "", line + no);
        rc = rule_list_add(own, r);
        r.pattern = ignore_anchor(whole, dir, line);
        return rc ? rc : rule_list_add(whole, r);
}

/* `bytes` is NUL-terminated, and is changed. */
static int add_lines(char *bytes, size_t len, const char *dir, const char *origin, struct rule_list *own, struct rule_list *whole)
{
        char *end = bytes + len, *next;
        size_t number = 0;
        int rc = 0;

        if (len >= strlen(BYTE_ORDER_MARK) && memcmp(bytes, BYTE_ORDER_MARK, strlen(BYTE_ORDER_MARK)) == 0)
                bytes += strlen(BYTE_ORDER_MARK);
        for (char *line = bytes; line < end && rc == 0; line = next) {
                char *stop = memchr(line, '\n', (size_t)(end - line));

                stop = stop ? stop : end;
                next = stop + 1;
                *stop = '\0';
                number++;
                if (stop > line && stop[-1] == '\r')
                        stop[-1] = '\0';
                trim(line);
                if (*line && *line != '#')
                        rc = add_line(line, dir, rule_list_text(whole, "%s:%zu", origin, number), own, whole);
        }
        return rc;
}

int ignore_read(int at, const char *name, bool follow, const char *dir, const char *origin, struct rule_list *own, struct rule_list *whole)
{
        CLEANUP_FD int fd = openat(at, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | (follow ? 0 : O_NOFOLLOW));
        CLEANUP_FREE char *bytes = NULL;
        struct stat st;
        ssize_t len;

        if (fd < 0)
                return errno == ENOTDIR || errno == ELOOP || errno == EACCES ? -ENOENT : -errno;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -ENOENT;
        len = fd_read_file(AT_FDCWD, fd_proc_path(fd).text, IGNORE_BYTES_MAX, &bytes);
        return len < 0 ? (int)len : add_lines(bytes, (size_t)len, dir, origin, own, whole);
}
