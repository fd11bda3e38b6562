#include "sync/run/choices.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "cache/base/err.h"
#include "sync/serve/why.h"

#define GRACE_MS 5000
#define GRACE_MAX_S 86400
#define DEBOUNCE_MAX_MS 3600000
#define MS_PER_S 1000

const char run_help[] =
        "  NAME|MNT         by default the mount that the current directory belongs to, else the only one\n"
        "  --on GLOB        what counts, as a line of a .gitignore at the source's root has it; may be repeated (everything)\n"
        "  --ignore GLOB    ... and what of it doesn't; may be repeated\n"
        "  --origin WHOSE   host: what is changed through a mount doesn't count, so a command at work in one doesn't run itself\n"
        "                   again (the default); any: all changes count\n"
        "  --busy WHAT      when something changes while the command runs: restart it (the default); queue: let it end, then run\n"
        "                   it once more; ignore: what changes meanwhile is its own work; signal: send it --signal and no more\n"
        "  --signal NAME    what asks it to stop (TERM)\n"
        "  --grace SECONDS  how long it may take to stop before it is killed (5)\n"
        "  --debounce MS    what changes within so many ms after a change is one with it (0: what has settled is run for at once)\n"
        "  --postpone       don't run it before something has changed\n"
        "  --once           run it once, when something has changed, and exit as it does\n"
        "  --clear          clear the screen before each run\n"
        "  -q, --quiet      don't say what has changed and how the command ended\n"
        "  --socket PATH    where the events are (in a container: .dsfs/events.sock, found by walking up from here)\n"
        "\n"
        "The command finds DSFS_WHY (start, change, anything), DSFS_CHANGED (the first path, relative to DSFS_ROOT) and\n"
        "DSFS_CHANGED_FILE (a file with all of them, each ended by a NUL) in its environment. It has a process group of its own and,\n"
        "while it runs, the terminal; nothing in the group outlives dsfs run. INT, TERM, HUP and QUIT are passed on and end dsfs run\n"
        "with the command, a second one kills it; TSTP, CONT, WINCH, USR1 and USR2 are passed on.\n"
        "\n"
        "Exit codes: the command's own (128 + N if signal N ended it) after a signal, Ctrl-C or --once; 128 + N if it didn't run then;\n"
        "126 if it can't be executed, 127 if it isn't there; 2 for wrong usage; 4 if there is no such mount, or the mount has ended;\n"
        "1 for another failure.\n";

static const struct option long_options[] = {{"on", required_argument, NULL, 'o'},       {"ignore", required_argument, NULL, 'i'},
                                             {"origin", required_argument, NULL, 'w'},   {"busy", required_argument, NULL, 'b'},
                                             {"signal", required_argument, NULL, 's'},   {"grace", required_argument, NULL, 'g'},
                                             {"debounce", required_argument, NULL, 'd'}, {"postpone", no_argument, NULL, 'p'},
                                             {"once", no_argument, NULL, '1'},           {"clear", no_argument, NULL, 'c'},
                                             {"quiet", no_argument, NULL, 'q'},          {"socket", required_argument, NULL, 'S'},
                                             {"help", no_argument, NULL, 'h'},           {0}};

static int read_word(const char *option, const char *text, const char *const words[], size_t count, int *ret, char **why)
{
        for (size_t i = 0; i < count; i++) {
                if (strcmp(text, words[i]) == 0) {
                        *ret = (int)i;
                        return 0;
                }
        }
        return why_set(why, -EINVAL, count == 2 ? "--%s %s: allowed are %s and %s" : "--%s %s: allowed are %s, %s, %s and %s", option, text,
                       words[0], words[1], count > 2 ? words[2] : "", count > 3 ? words[3] : "");
}

static int read_number(const char *option, const char *text, double max, double factor, int64_t *ret, char **why)
{
        char *end = NULL;
        double value = strtod(text, &end);

        if (end == text || *end || !isfinite(value) || value < 0 || value > max)
                return why_set(why, -EINVAL, "--%s %s: allowed is a number, 0 to %.0f", option, text, max);
        *ret = (int64_t)(value * factor);
        return 0;
}

static int read_signal(const char *text, int *ret, char **why)
{
        const char *name = strncmp(text, "SIG", 3) == 0 ? text + 3 : text;
        char *end = NULL;
        long number = strtol(text, &end, 10);

        for (int i = 1; i < SIGRTMIN; i++) {
                const char *known = sigabbrev_np(i);

                if ((known && strcmp(known, name) == 0) || (end != text && !*end && number == i)) {
                        *ret = i;
                        return 0;
                }
        }
        return why_set(why, -EINVAL, "--signal %s: allowed is a signal's name or number, as TERM or 15", text);
}

static int read_option(struct choices *c, int option, const char *text, char **why)
{
        static const char *const origins[] = {"any", "host"};
        static const char *const busy[] = {
                [BUSY_RESTART] = "restart", [BUSY_QUEUE] = "queue", [BUSY_IGNORE] = "ignore", [BUSY_SIGNAL] = "signal"};
        struct run_task *t = &c->task;
        int word = 0, rc = 0;

        switch (option) {
        case 'w':
                rc = read_word("origin", text, origins, ARRAY_LEN(origins), &word, why);
                t->select.host_only = word;
                return rc;
        case 'b':
                rc = read_word("busy", text, busy, ARRAY_LEN(busy), &word, why);
                t->rules.busy = (enum busy)word;
                return rc;
        case 's':
                return read_signal(text, &t->rules.signal, why);
        case 'g':
                return read_number("grace", text, GRACE_MAX_S, MS_PER_S, &t->rules.grace_ms, why);
        case 'd':
                return read_number("debounce", text, DEBOUNCE_MAX_MS, 1, &t->rules.debounce_ms, why);
        case 'p':
                t->rules.postpone = true;
                return 0;
        case '1':
                t->rules.once = true;
                return 0;
        case 'c':
                t->clear = true;
                return 0;
        case 'q':
                t->quiet = true;
                return 0;
        case 'S':
                c->socket = text;
                return 0;
        case 'h':
                c->help = true;
                return 0;
        default:
                return why_set(why, -EINVAL, "that is no option");
        }
}

/* The arguments before "--"; what is behind it is the command's. */
static int read_options(struct choices *c, int argc, char **argv, char **why)
{
        const char **on = c->patterns, **ignore = c->patterns + argc;
        int option, rc = 0;

        optind = 0;
        while (rc == 0 && !c->help && (option = getopt_long(argc, argv, "qh", long_options, NULL)) != -1) {
                if (option == 'o')
                        on[c->task.select.on_count++] = optarg;
                else if (option == 'i')
                        ignore[c->task.select.ignore_count++] = optarg;
                else
                        rc = read_option(c, option, optarg, why);
        }
        c->task.select.on = on;
        c->task.select.ignore = ignore;
        if (rc || c->help)
                return rc;
        if (argc - optind > 1)
                return why_set(why, -EINVAL, "at most one mount can be named; the command comes after \"--\"");
        c->mount = argv[optind];
        return 0;
}

int choices_read(int argc, char **argv, struct choices *ret, char **why)
{
        struct choices c = {.task = {.rules = {.signal = SIGTERM, .grace_ms = GRACE_MS}, .select = {.host_only = true}}};
        int own = 1, rc;

        while (own < argc && strcmp(argv[own], "--") != 0)
                own++;
        c.patterns = calloc(2 * (size_t)argc + 1, sizeof(*c.patterns));
        if (!c.patterns)
                return why_set(why, -ENOMEM, "out of memory");
        if (own < argc) {
                /* getopt_long() sees an array that ends here. */
                argv[own] = NULL;
                c.task.argv = argv + own + 1;
        }
        rc = read_options(&c, own, argv, why);
        if (rc == 0 && !c.help && (!c.task.argv || !c.task.argv[0]))
                rc = why_set(why, -EINVAL, "what to run comes after \"--\": dsfs run --on '*.py' -- COMMAND");
        if (rc == 0 && c.task.rules.busy == BUSY_SIGNAL && c.task.rules.signal == SIGKILL)
                rc = why_set(why, -EINVAL, "--busy signal with KILL ends it: --busy restart runs it again");
        if (rc) {
                choices_release(&c);
                return rc;
        }
        *ret = c;
        return 0;
}

void choices_release(struct choices *c)
{
        free(steal_ptr(&c->patterns));
}
