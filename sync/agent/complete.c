#include "sync/agent/complete.h"

#include <ctype.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "sync/agent/config_keys.h"

#define HELP_MAX 65536
#define ARGS 4
#define ITEM_INDENT 6 /* an option without a letter stands that far in */

static void offer(const char *prefix, const char *word, size_t len, const char *about)
{
        if (len >= strlen(prefix) && strncmp(word, prefix, strlen(prefix)) == 0)
                printf("%.*s\t%.*s\n", (int)len, word, (int)strcspn(about, "\n"), about);
}

/* What `--help` prints: a new text, or NULL. */
static char *help_of(const struct command *c, const char *verb)
{
        char *argv[ARGS] = {(char *)c->name, (char *)(verb ? verb : "--help"), verb ? (char *)"--help" : NULL};
        CLEANUP_FD int fd = memfd_create("help", MFD_CLOEXEC);
        CLEANUP_FD int out = dup(STDOUT_FILENO);
        char *text = NULL;

        if (fd < 0 || out < 0 || fflush(stdout) || dup2(fd, STDOUT_FILENO) < 0)
                return NULL;
        optind = 0;
        (void)c->run(verb ? ARGS - 1 : ARGS - 2, argv);
        (void)fflush(stdout);
        (void)dup2(out, STDOUT_FILENO);
        (void)fd_read_file(AT_FDCWD, fd_proc_path(fd).text, HELP_MAX, &text);
        return text;
}

/* What stands behind an option and its argument. */
static const char *about_option(const char *at)
{
        while (*at == '-' || *at == ',' || (*at == ' ' && at[1] == '-')) {
                at += *at == ' ';
                at += strcspn(at, " ,\n");
                at += *at == ',';
        }
        if (*at == ' ' && isupper((unsigned char)at[1]))
                at += 1 + strcspn(at + 1, " \n");
        return at + strspn(at, " ");
}

/* The options that a line of help begins with. */
static void offer_options(const char *prefix, const char *line)
{
        const char *at = line;
        const char *about = about_option(line);

        while (*at == '-') {
                size_t len = strcspn(at, " ,\n");

                offer(prefix, at, len, about);
                at += len;
                at += strspn(at, ", ");
        }
}

/* Of each line that begins with options, or with a verb (a small letter). */
static void offer_from_help(const char *prefix, const char *help, bool options)
{
        for (const char *line = help; line; line = strchr(line, '\n')) {
                size_t indent;

                line += *line == '\n';
                indent = strspn(line, " ");
                if (options && (indent == 2 || indent == ITEM_INDENT) && line[indent] == '-')
                        offer_options(prefix, line + indent);
                else if (!options && indent == 2 && islower((unsigned char)line[2])) {
                        const char *word = line + 2;
                        size_t len = strcspn(word, " \n");

                        offer(prefix, word, len, word + len + strspn(word + len, " "));
                }
        }
}

/* "profile=data,owner=k": of the part behind the last comma. */
static void offer_keys(const char *word)
{
        const char *part = strrchr(word, ',') ? strrchr(word, ',') + 1 : word;
        const char *value = strchr(part, '=');
        size_t count;
        const struct config_key *keys = config_keys(&count);

        for (size_t i = 0; i < count; i++) {
                const struct config_key *k = &keys[i];
                CLEANUP_FREE char *whole = text_new("%.*s%s%s", (int)(part - word), word, k->name, k->kind == CONFIG_BARE ? "" : "=");

                if (!(k->setters & CONFIG_COMMAND) || !whole)
                        continue;
                if (!value)
                        offer(word, whole, strlen(whole), k->about ? k->about : "");
                else if (k->choices && strlen(k->name) == (size_t)(value - part) && strncmp(k->name, part, strlen(k->name)) == 0)
                        for (const struct config_choice *c = k->choices; c->word; c++) {
                                CLEANUP_FREE char *choice = text_new("%.*s%s", (int)(value + 1 - word), word, c->word);

                                if (choice)
                                        offer(word, choice, strlen(choice), "");
                        }
        }
}

static void offer_mounts(const char *prefix)
{
        CLEANUP_FREE char *run = path_runtime();
        struct record_list l CLEANUP(record_list_release) = {0};

        if (!run || record_list_read(run, &l))
                return;
        for (size_t i = 0; i < l.count; i++) {
                const char *name = l.records[i].name;

                /* A line of its own it must fit on. */
                if (name && !strpbrk(name, "\t\n"))
                        offer(prefix, name, strlen(name), l.records[i].source ? l.records[i].source : "");
        }
}

static const struct command *find(const struct command *const commands[], size_t count, const char *name)
{
        for (size_t i = 0; i < count; i++) {
                if (strcmp(commands[i]->name, name) == 0 && commands[i]->summary)
                        return commands[i];
        }
        return NULL;
}

/* Whether its arguments begin with a verb. */
static bool has_verbs(const struct command *c)
{
        return strncmp(c->usage, "VERB", 4) == 0 || islower((unsigned char)c->usage[0]);
}

enum exit_code complete_words(const struct command *const commands[], size_t count, char *const words[], size_t word_count)
{
        const char *last = word_count ? words[word_count - 1] : "";
        const char *before = word_count > 1 ? words[word_count - 2] : "";
        const struct command *c = word_count > 1 ? find(commands, count, words[0]) : NULL;
        CLEANUP_FREE char *help = NULL;
        const char *verb;

        if (word_count <= 1) {
                for (size_t i = 0; i < count; i++) {
                        if (commands[i]->summary)
                                offer(last, commands[i]->name, strlen(commands[i]->name), commands[i]->summary);
                }
                offer(last, "--help", strlen("--help"), "Say what the commands are");
                offer(last, "--version", strlen("--version"), "Say which this is");
                return EXIT_OK;
        }
        if (!c)
                return EXIT_OK;
        verb = strncmp(c->usage, "VERB", 4) == 0 && word_count > 2 ? words[1] : NULL;
        help = help_of(c, verb);
        if (!help)
                return EXIT_FAILED;
        if (strcmp(before, "-o") == 0 || strcmp(before, "--options") == 0) {
                offer_keys(last);
        } else if (*last == '-') {
                offer_from_help(last, help, true);
                offer(last, "--help", strlen("--help"), "Say what it does");
        } else if (has_verbs(c) && word_count == 2) {
                offer_from_help(last, help, false);
        } else {
                if (strncmp(help, "usage:", 6) == 0 && memmem(help, strcspn(help, "\n"), "NAME", 4))
                        offer_mounts(last);
                printf(":files\n");
        }
        return EXIT_OK;
}
