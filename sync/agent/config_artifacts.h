/*
 * The lists of a configuration: what is an artifact, and what is kept. Checked here, so that a pattern that can't mean anything is refused
 * where it is written.
 */
#pragma once

#include "sync/agent/config_doc.h"
#include "sync/agent/rule_list.h"

struct config_scope {
        const char *file;   /* for messages */
        const char *origin; /* the same, shortly: the origin of rules is this and the line */
};

/* Append the rules of `artifacts`. 0; -EINVAL or -ENOMEM and *why. */
int config_take_artifacts(const struct config_scope *scope, const struct doc_node *n, struct rule_list *l, char **why);

/* Put the patterns of `keep` in place of those before. As above. */
int config_take_keep(const struct config_scope *scope, const struct doc_node *n, struct rule_list *l, char **why);

/* What is kept unless somebody says otherwise. 0 or -ENOMEM. */
int config_add_default_keep(struct rule_list *l);
