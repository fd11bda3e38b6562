/*
 * The line that asks: what is a request, and that nothing else hurts.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "cache/base/err.h"
#include "sync/serve/registry.h"
#include "tests/lib/child.h"

#define ROUNDS 50000

static int never(void *arg, const json_t *args, json_t **ret, char **why)
{
        (void)arg;
        (void)args;
        (void)ret;
        (void)why;
        abort();
}

static const struct verb verbs[] = {{"ping", "{}", VERB_QUICK, never}, {"wait", "{}", VERB_BLOCKING, never}};
static const struct registry registry = {.verbs = verbs, .count = ARRAY_LEN(verbs)};

static int parse(const char *line, size_t len)
{
        struct request q = {0};
        char *why = NULL;
        int rc = request_parse(&registry, line, len, &q, &why);

        if (rc) {
                cr_assert(why && *why, "a refusal has a reason");
                cr_assert_null(q.args);
        } else {
                cr_assert(q.verb == &verbs[0] || q.verb == &verbs[1]);
                cr_assert(json_is_object(q.args));
        }
        request_release(&q);
        free(why);
        return rc;
}

Test(request, names_a_verb)
{
        struct request q = {0};
        char *why = NULL;
        const char *line = "{\"verb\": \"wait\", \"args\": {\"timeout_ms\": 5}}";

        cr_assert_eq(request_parse(&registry, line, strlen(line), &q, &why), 0);
        cr_assert_eq(q.verb, &verbs[1]);
        cr_assert_eq(json_integer_value(json_object_get(q.args, "timeout_ms")), 5);
        request_release(&q);
}

Test(request, needs_no_arguments)
{
        const char *line = "{\"verb\":\"ping\"}";

        cr_assert_eq(parse(line, strlen(line)), 0);
}

Test(request, an_unknown_verb_names_those_there_are)
{
        struct request q = {0};
        char *why = NULL;
        const char *line = "{\"verb\":\"nonesuch\"}";

        cr_assert_eq(request_parse(&registry, line, strlen(line), &q, &why), -ENOSYS);
        cr_assert(strstr(why, "ping, wait"), "%s", why);
        free(why);
}

Test(request, anything_else_is_refused)
{
        static const char *const bad[] = {
                "",
                " ",
                "ping",
                "{",
                "{}",
                "[]",
                "null",
                "1",
                "\"ping\"",
                "{\"verb\":1}",
                "{\"verb\":null}",
                "{\"verb\":\"ping\",\"args\":[]}",
                "{\"verb\":\"ping\",\"args\":1}",
                "{\"verb\":\"ping\"} x",
                "{\"verb\":\"ping\",\"verb\":\"wait\"}",
                "{\"verb\":\"pi\\u0000ng\"}",
                "{\"verb\":\"\xff\"}",
                "{'verb':'ping'}",
                "{\"Verb\":\"ping\"}",
                "\xef\xbb\xbf{\"verb\":\"ping\"}",
        };

        for (size_t i = 0; i < ARRAY_LEN(bad); i++)
                cr_assert_lt(parse(bad[i], strlen(bad[i])), 0, "taken: %s", bad[i]);
        cr_assert_lt(parse("{\"verb\":\"ping\"}\0", 16), 0, "a NUL byte is no blank");
}

Test(request, deep_nesting_is_refused)
{
        CLEANUP_FREE char *deep = malloc(REQUEST_MAX);

        memset(deep, '[', REQUEST_MAX);
        cr_assert_lt(parse(deep, REQUEST_MAX), 0);
}

/* Random bytes, and requests with a few bytes changed, cut or doubled. */
Test(request, garbage_never_hurts)
{
        static const char *const corpus[] = {
                "{\"verb\":\"ping\",\"args\":{}}",
                "{\"verb\":\"wait\",\"args\":{\"timeout_ms\":1e9}}",
                "{\"verb\":\"status\",\"args\":{\"a\":[1,2,{\"b\":\"\\ud83d\\ude00\"}]}}",
                "{\"args\":{\"x\":-0.0},\"verb\":\"ping\"}",
        };
        struct dice d = {.state = 7};
        unsigned taken = 0;

        for (int round = 0; round < ROUNDS; round++) {
                char line[256];
                size_t len = dice_roll(&d, 128);
                unsigned changes = dice_roll(&d, 4);

                for (size_t i = 0; i < len; i++)
                        line[i] = (char)dice_roll(&d, 256);
                if (round % 4) {
                        const char *seed = corpus[dice_roll(&d, ARRAY_LEN(corpus))];

                        len = strlen(seed);
                        memcpy(line, seed, len);
                        for (unsigned i = 0; i < changes; i++)
                                line[dice_roll(&d, (unsigned)len)] = (char)dice_roll(&d, 256);
                        len -= changes == 3 ? dice_roll(&d, (unsigned)len) : 0;
                }
                taken += parse(line, len) == 0;
        }
        /* Unchanged ones are among them: the test does reach the other side. */
        cr_assert_gt(taken, ROUNDS / 20);
        cr_assert_lt(taken, ROUNDS);
}

Test(answer, is_one_line)
{
        CLEANUP_FREE char *good = answer_line(0, json_pack("{s:s}", "name", "a\nb"), NULL);
        CLEANUP_FREE char *bad = answer_line(-EBUSY, NULL, "in use: \xff");

        cr_assert_eq(strchr(good, '\n'), good + strlen(good) - 1);
        cr_assert_str_eq(bad, "{\"ok\":false,\"errno\":16,\"error\":\"in use: \\\\xff\"}\n");
}
