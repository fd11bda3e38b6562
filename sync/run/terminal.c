#include "sync/run/terminal.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "cache/base/fd.h"

void terminal_init(struct terminal *t)
{
        *t = (struct terminal){.fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY)};
        t->has_modes = t->fd >= 0 && tcgetattr(t->fd, &t->modes) == 0;
}

void terminal_release(struct terminal *t)
{
        fd_close(&t->fd);
}

bool terminal_is_ours(const struct terminal *t)
{
        return t->fd >= 0 && tcgetpgrp(t->fd) == getpgrp();
}

void terminal_lend(struct terminal *t, pid_t group)
{
        t->lent = tcsetpgrp(t->fd, group) == 0;
}

void terminal_take_back(struct terminal *t, bool modes)
{
        if (!t->lent)
                return;
        t->lent = false;
        (void)tcsetpgrp(t->fd, getpgrp());
        if (modes && t->has_modes)
                (void)tcsetattr(t->fd, TCSADRAIN, &t->modes);
}

void terminal_stop_us(void)
{
        struct sigaction was, now = {.sa_handler = SIG_DFL};
        sigset_t stop;

        (void)sigemptyset(&stop);
        (void)sigaddset(&stop, SIGTSTP);
        (void)sigaction(SIGTSTP, &now, &was);
        (void)kill(0, SIGTSTP);
        /* It is delivered here. */
        (void)sigprocmask(SIG_UNBLOCK, &stop, NULL);
        (void)sigprocmask(SIG_BLOCK, &stop, NULL);
        (void)sigaction(SIGTSTP, &was, NULL);
}
