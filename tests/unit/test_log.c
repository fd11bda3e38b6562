/*
 * The log: no place fills it, its file stays bounded whoever writes to it, and the journal is told priorities.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/log.h"

static char dir[64], path[96], old[104];

static void start(void)
{
        const char *tmp = getenv("TMPDIR");

        snprintf(dir, sizeof(dir), "%s/log.XXXXXX", tmp ? tmp : "/tmp");
        cr_assert(mkdtemp(dir));
        snprintf(path, sizeof(path), "%s/agent.log", dir);
        snprintf(old, sizeof(old), "%s.1", path);
}

static void stop(void)
{
        (void)unlink(path);
        (void)unlink(old);
        (void)rmdir(dir);
}

TestSuite(log, .init = start, .fini = stop);

static void repeat(int n)
{
        log_info("again and again, number %d", n);
}

Test(log, a_place_that_repeats_itself_is_cut_short)
{
        CLEANUP_FREE char *text = NULL;
        size_t lines = 0;

        cr_assert_eq(log_open_file(path), 0);
        for (int i = 0; i < 1000; i++)
                repeat(i);
        log_warn("another place");
        cr_assert_gt(fd_read_file(AT_FDCWD, path, 1 << 20, &text), 0);
        for (const char *p = text; (p = strchr(p, '\n')); p++)
                lines++;
        cr_assert_eq(lines, LOG_BURST + 1, "%s", text);
        cr_assert(strstr(text, "number 0\n") && strstr(text, "another place"), "%s", text);
}

Test(log, a_name_makes_no_line_of_its_own)
{
        CLEANUP_FREE char *text = NULL;

        cr_assert_eq(log_open_file(path), 0);
        log_info("%s: it is there", "a\n2026-01-01T00:00:00.000Z error \033[2Jb\177\t");
        cr_assert_gt(fd_read_file(AT_FDCWD, path, 1 << 20, &text), 0);
        cr_assert(strstr(text, "info a?2026-01-01T00:00:00.000Z error ?[2Jb?\t: it is there\n"), "%s", text);
        cr_assert_eq(strchr(text, '\n'), text + strlen(text) - 1);
}

/* Two descriptors stand for two processes with one log. */
Test(log, the_file_is_put_aside_when_it_is_large)
{
        CLEANUP_FREE char *text = NULL;
        CLEANUP_FD int fd = open(path, O_WRONLY | O_CREAT, 0600);
        struct stat st;

        cr_assert_eq(ftruncate(fd, LOG_FILE_BYTES), 0);
        cr_assert_eq(log_open_file(path), 0);
        log_info("the first");
        log_info("the second");
        cr_assert_eq(stat(old, &st), 0);
        cr_assert_eq(st.st_size, LOG_FILE_BYTES);
        cr_assert_gt(fd_read_file(AT_FDCWD, path, 1 << 20, &text), 0);
        cr_assert(strstr(text, "info the first\n") && strstr(text, "the second\n"), "%s", text);
}

Test(log, what_another_process_put_aside_stays)
{
        struct stat st;

        cr_assert_eq(log_open_file(path), 0);
        log_info("mine");
        cr_assert_eq(truncate(path, LOG_FILE_BYTES), 0);
        cr_assert_eq(rename(path, old), 0);
        close(open(path, O_WRONLY | O_CREAT, 0600));
        log_info("mine again");
        cr_assert_eq(stat(old, &st), 0);
        cr_assert_eq(st.st_size, LOG_FILE_BYTES);
        cr_assert_eq(stat(path, &st), 0);
        cr_assert_gt(st.st_size, 0);
        cr_assert_lt(st.st_size, 200);
}

static void say_to(int fd, bool as_journal)
{
        pid_t pid = fork();
        int status;

        if (pid == 0) {
                char stream[64];
                struct stat st;

                (void)dup2(fd, STDERR_FILENO);
                (void)fstat(STDERR_FILENO, &st);
                snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
                         (unsigned long long)st.st_ino + (as_journal ? 0 : 1));
                setenv("JOURNAL_STREAM", stream, 1);
                log_warn("careful");
                log_error("bad");
                _exit(0);
        }
        cr_assert_eq(waitpid(pid, &status, 0), pid);
}

Test(log, the_journal_is_told_priorities)
{
        int ends[2];
        char text[256] = "";

        cr_assert_eq(pipe(ends), 0);
        say_to(ends[1], true);
        cr_assert_gt(read(ends[0], text, sizeof(text) - 1), 0);
        cr_assert_str_eq(text, "<4>careful\n<3>bad\n");
        say_to(ends[1], false);
        memset(text, 0, sizeof(text));
        cr_assert_gt(read(ends[0], text, sizeof(text) - 1), 0);
        cr_assert_str_eq(text, "dsfs: warning: careful\ndsfs: error: bad\n");
}
