/*
 * The subscriber's side of the event stream: servers that are not ours.
 */
#include "tests/unit/stream.h"

/*
 * The subscriber's side: a server that is not ours
 */

static int serve_lines(const char *text, struct subscriber **ret)
{
        CLEANUP_FREE char *why = NULL;
        int ends[2];

        cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
        cr_assert_eq(subscriber_new_fd(ends[0], &(struct subscriber_wish){0}, ret, &why), 0);
        cr_assert_eq(send(ends[1], text, strlen(text), 0), (ssize_t)strlen(text));
        return ends[1];
}

Test(stream, half_a_line_is_waited_for)
{
        struct subscriber *s;
        CLEANUP_FREE char *why = NULL;
        const struct event *e;
        CLEANUP_FD int fd = serve_lines("{\"kind\":\"fresh\",\"clo", &s);

        cr_assert_eq(subscriber_next(s, 0, &e, &why), -EAGAIN);
        cr_assert_gt(send(fd, "ck\":\"c:1\"}\n{", 13, 0), 0);
        cr_assert_str_eq(next(s)->clock, "c:1");
        cr_assert_eq(subscriber_next(s, 0, &e, &why), -EAGAIN);
        fd_close(&fd);
        expect_hung_up(s);
        subscriber_free(s);
}

Test(stream, kinds_to_come_are_passed_over)
{
        struct subscriber *s;
        CLEANUP_FD int fd = serve_lines("{\"kind\":\"later\",\"n\":1}\n{\"kind\":\"end\",\"why\":\"all\",\"more\":{}}\n", &s);

        cr_assert_geq(fd, 0);
        expect(s, EVENT_OTHER);
        expect(s, EVENT_END);
        subscriber_free(s);
}

Test(stream, a_server_that_talks_nonsense_is_not_believed)
{
        static const char *const lines[] = {
                "nonsense\n",
                "{}\n",
                "{\"kind\":1}\n",
                "{\"kind\":\"created\",\"clock\":\"c\"}\n",
                "{\"kind\":\"created\",\"clock\":\"c\",\"path\":\"\\\\x\"}\n",
                "{\"kind\":\"created\",\"clock\":\"c\",\"path\":\"\"}\n",
                "{\"kind\":\"created\",\"path\":\"a\"}\n",
                "{\"kind\":\"settled\",\"clock\":\"c\",\"changes\":-1}\n",
                "{\"kind\":\"settled\",\"clock\":\"c\",\"git\":7}\n",
                "{\"kind\":\"cut\"}\n",
        };

        for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
                struct subscriber *s;
                CLEANUP_FREE char *why = NULL;
                const struct event *e;
                CLEANUP_FD int fd = serve_lines(lines[i], &s);

                cr_assert_geq(fd, 0);
                cr_assert_eq(subscriber_next(s, PATIENCE_MS, &e, &why), -EPROTO, "%s", lines[i]);
                cr_assert(why);
                subscriber_free(s);
        }
}

Test(stream, a_server_that_never_ends_a_line_is_left)
{
        struct subscriber *s;
        CLEANUP_FREE char *why = NULL;
        CLEANUP_FREE char *flood = malloc(EVENT_LINE_MAX + 1);
        const struct event *e;
        CLEANUP_FD int fd = -1;

        memset(flood, ' ', EVENT_LINE_MAX);
        flood[EVENT_LINE_MAX] = '\0';
        fd = serve_lines(flood, &s);
        cr_assert_eq(subscriber_next(s, PATIENCE_MS, &e, &why), -EPROTO);
        subscriber_free(s);
}
