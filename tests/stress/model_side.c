#include "tests/stress/model_side.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/lib/mount.h"

#define LONG_AGO (1ll << 30) /* what operations set as times is before it, the clock is after */

void side_init(struct side *p, bool in_mount, bool inotify)
{
        *p = (struct side){.in_mount = in_mount, .inotify = inotify};
        for (unsigned i = 0; i < OP_HANDS; i++)
                p->hands[i] = (struct hand){.fd = -1, .map_fd = -1};
}

static void hand_unmap(struct hand *h)
{
        if (h->map)
                munmap(h->map, h->map_len);
        h->map = NULL;
        fd_close(&h->map_fd);
}

void side_release(struct side *p)
{
        for (unsigned i = 0; i < OP_HANDS; i++) {
                hand_unmap(&p->hands[i]);
                fd_close(&p->hands[i].fd);
        }
}

static bool is_nameless(int fd)
{
        struct stat st;

        return fd >= 0 && fstat(fd, &st) == 0 && (st.st_nlink == 0 || (S_ISDIR(st.st_mode) && st.st_nlink < 2));
}

static bool is_dir(int fd)
{
        struct stat st;

        return fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);
}

void side_settle(struct side *p, struct side *model, bool by_mount, bool dirs_only)
{
        for (unsigned i = 0; i < OP_HANDS; i++) {
                struct hand *h = &model->hands[i];
                bool open = is_nameless(h->fd), mapped = is_nameless(h->map_fd);

                if (by_mount) {
                        h->nameless = open;
                        h->map_nameless = mapped;
                        continue;
                }
                if (open && !h->nameless && (!dirs_only || is_dir(h->fd))) {
                        fd_close(&h->fd);
                        fd_close(&p->hands[i].fd);
                }
                if (mapped && !h->map_nameless && !dirs_only) {
                        hand_unmap(h);
                        hand_unmap(&p->hands[i]);
                }
        }
}

bool side_is_mute(const struct side *p, int fd)
{
        return p->inotify && !p->in_mount && is_nameless(fd);
}

const char *side_path(const struct side *p, const char *rel)
{
        return at(p->root, "%s", rel);
}

void answer_say(struct answer *a, const char *fmt, ...)
{
        size_t len = strlen(a->text);
        va_list args;

        va_start(args, fmt);
        vsnprintf(a->text + len, sizeof(a->text) - len, fmt, args);
        va_end(args);
}

void answer_call(struct answer *a, const char *what, long ret)
{
        if (ret < 0)
                answer_say(a, " %s=%s", what, strerrorname_np(errno));
        else
                answer_say(a, " %s=%ld", what, ret);
}

void answer_stat(struct answer *a, const struct stat *st)
{
        answer_say(a, " mode=%o", st->st_mode);
        if (a->vague && S_ISDIR(st->st_mode))
                return;
        answer_say(a, " links=%lu", (unsigned long)st->st_nlink);
        if (!S_ISDIR(st->st_mode))
                answer_say(a, " size=%lld", (long long)st->st_size);
        if (st->st_mtim.tv_sec < LONG_AGO)
                answer_say(a, " mtime=%lld.%09ld", (long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec);
}

static void look_at(struct side *p, const char *rel, struct answer *a)
{
        struct stat st;

        answer_say(a, "; %s", rel);
        if (lstat(side_path(p, rel), &st) < 0)
                answer_say(a, " %s", strerrorname_np(errno));
        else
                answer_stat(a, &st);
}

void side_act(struct side *p, const struct op *op, struct answer *a)
{
        const struct op_kind *k = op_kind(op);
        struct stat st;

        a->doubt = false;
        a->vague = p->vague;
        *a->text = '\0';
        errno = 0;
        k->act(p, op, a);
        if (!op->look)
                return;
        if (k->fields & OP_AT)
                look_at(p, op->path, a);
        if (k->fields & OP_TO)
                look_at(p, op->to, a);
        if ((k->fields & OP_H) && fstat(p->hands[op->h].fd, &st) == 0) {
                answer_say(a, "; hand %u", op->h);
                answer_stat(a, &st);
        }
}

void pattern_fill(char *buf, size_t len, uint32_t salt)
{
        uint32_t state = salt * 2654435761u + 1;

        for (size_t i = 0; i < len; i++) {
                if (i % 16 == 0)
                        state = state * 1664525u + 1013904223u;
                buf[i] = (char)(1 + (state + i) % 255);
        }
}

char *scratch(void)
{
        static char buf[BYTES_MAX];

        return buf;
}
