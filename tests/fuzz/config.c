/* A configuration file may be anything, above all a checkout's: it is taken whole, or refused with a place in it. The first byte says whose
 * it is. What is taken makes rules, and options that are taken again. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sync/agent/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_taken(struct config *c, bool checkout)
{
        const struct rule_list *lists[] = {&c->keep, &c->artifacts};
        char *text = config_options_text(c, true), *why = NULL;
        struct mount_options again;
        struct rules *rules;

        if (rule_list_compile(lists, 2, &rules))
                abort();
        for (size_t i = 0; i < c->keep.count + c->artifacts.count; i++)
                if (!rules_can_match(rules, i))
                        abort();
        rules_free(rules);
        mount_options_init(&again);
        if (mount_options_parse(&again, text, &why) || again.overlay_budget != c->options.overlay_budget ||
            again.coherence != c->options.coherence || again.profile != c->options.profile)
                abort();
        if (checkout && (strstr(text, "owner") || strstr(text, "profile")))
                abort();
        mount_options_release(&again);
        free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct config_file file = {.path = "x", .checkout = size && (data[0] & 1)};
        struct config *c = config_new("/");
        char *why = NULL;
        int rc;

        if (!c)
                abort();
        rc = size ? config_take_bytes(c, &file, (const char *)data + 1, size - 1, &why) : -EINVAL;
        if (rc == 0)
                check_taken(c, file.checkout);
        else if (size && (rc != -EINVAL || !why || strncmp(why, "x:", 2) != 0))
                abort();
        free(why);
        config_free(c);
        return 0;
}
