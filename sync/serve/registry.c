#include "sync/serve/registry.h"

#include <errno.h>
#include <string.h>

#include "sync/serve/json.h"
#include "sync/serve/why.h"

static const struct verb *find_verb(const struct registry *r, const char *name)
{
        for (size_t i = 0; i < r->count; i++) {
                if (strcmp(r->verbs[i].name, name) == 0)
                        return &r->verbs[i];
        }
        return NULL;
}

static int unknown_verb(const struct registry *r, char **why)
{
        CLEANUP_FREE char *names = NULL;

        for (size_t i = 0; i < r->count; i++) {
                CLEANUP_FREE char *before = names;

                names = text_new("%s%s%s", before ? before : "", before ? ", " : "", r->verbs[i].name);
        }
        return why_set(why, -ENOSYS, "no such verb; there are: %s", why_text(names));
}

int request_parse(const struct registry *r, const char *line, size_t len, struct request *ret, char **why)
{
        json_error_t error;
        json_t *root = json_loadb(line, len, JSON_REJECT_DUPLICATES, &error);
        json_t *verb = json_object_get(root, "verb");
        json_t *args = json_object_get(root, "args");
        int rc = 0;

        if (!root)
                rc = why_set(why, -EINVAL, "not a line of JSON: %s at byte %d", error.text, error.position);
        else if (!json_is_string(verb))
                rc = why_set(why, -EINVAL, "a request is an object with a \"verb\"");
        else if (args && !json_is_object(args))
                rc = why_set(why, -EINVAL, "\"args\" is an object");
        if (rc == 0) {
                const struct verb *found = find_verb(r, json_string_value(verb));

                if (found) {
                        ret->verb = found;
                        ret->args = args ? json_incref(args) : json_object();
                } else {
                        rc = unknown_verb(r, why);
                }
        }
        json_decref(root);
        return rc;
}

void request_release(struct request *q)
{
        json_decref(q->args);
        q->args = NULL;
}

char *answer_line(int rc, json_t *result, const char *why)
{
        CLEANUP_FREE char *text = NULL;
        const char *sentence = why_text(why);
        json_t *answer;

        if (rc == 0)
                answer = json_pack("{s:b, s:o}", "ok", 1, "result", result);
        else
                answer = json_pack("{s:b, s:i, s:o}", "ok", 0, "errno", -rc, "error", bytes_to_json(sentence, strlen(sentence)));
        text = json_dumps(answer, JSON_COMPACT);
        json_decref(answer);
        return text ? text_new("%s\n", text) : NULL;
}
