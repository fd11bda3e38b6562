/* Requests on the control socket: any bytes are a request for one of the verbs, with an object, or are refused with a sentence; and what is
 * answered is one line of JSON, whatever the sentence holds. */
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sync/serve/registry.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int run(void *arg, const json_t *args, json_t **ret, char **why)
{
        (void)arg;
        (void)args;
        (void)ret;
        (void)why;
        abort();
}

static const struct verb verbs[] = {
        {"ping", "{}", VERB_QUICK, run}, {"wait", "{…}", VERB_BLOCKING, run}, {"stop", "{…}", VERB_URGENT, run}};
static const struct registry registry = {.verbs = verbs, .count = sizeof(verbs) / sizeof(verbs[0])};

static void check_answer(char *line)
{
        size_t len = line ? strlen(line) : 0;
        json_t *answer;

        if (len < 2 || strchr(line, '\n') != line + len - 1)
                abort();
        answer = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
        if (!json_is_object(answer))
                abort();
        json_decref(answer);
        free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct request q = {0};
        char *why = NULL;
        char *sentence;
        int rc;

        if (size > REQUEST_MAX)
                return 0;
        rc = request_parse(&registry, (const char *)data, size, &q, &why);
        if (rc == 0 && (q.verb < verbs || q.verb >= verbs + registry.count || !json_is_object(q.args) || why))
                abort();
        if (rc < 0 && (!why || !*why))
                abort();
        check_answer(rc ? answer_line(rc, NULL, why) : answer_line(0, json_incref(q.args), NULL));
        request_release(&q);
        free(why);
        sentence = strndup((const char *)data, size);
        if (sentence)
                check_answer(answer_line(-1, NULL, sentence));
        free(sentence);
        return 0;
}
