/*
 * dsfs doctor: goes through the table of what can be wrong, one sentence and one remedy each; with --fix does what can be done without
 * harm.
 */
#include "sync/agent/cmd.h"

#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cache/base/log.h"
#include "sync/agent/doctor.h"
#include "sync/agent/place.h"
#include "sync/agent/status_gather.h"
#include "sync/agent/term.h"
#include "sync/serve/json.h"

#define DOCTOR_VERSION 1

/* In the order in which they are looked at. */
static const struct doctor_condition conditions[] = {
        {"kernel", "the kernel is too old, or too old for io_uring", false, doctor_kernel},
        {"device", "/dev/fuse is not there or can't be opened", false, doctor_device},
        {"io_uring", "FUSE over io_uring is off or not there", true, doctor_uring},
        {"fusermount3", "users can't mount", false, doctor_fusermount},
        {"allow_other", "users' mounts can't let containers in", false, doctor_allow_other},
        {"files", "too few files may be open", false, doctor_files},
        {"watches", "too few directories can be watched with inotify", false, doctor_watches},
        {"filesystem", "a source is on a network filesystem", false, doctor_filesystem},
        {"configuration", "a configuration file is wrong", false, doctor_configuration},
        {"git", "git does not trust a source (safe.directory), or can't read it", false, doctor_git},
        {"fsmonitor", "git's fsmonitor is on, which mounts can't have", false, doctor_fsmonitor},
        {"disk", "a disk is nearly full", false, doctor_disk},
        {"clock", "files are newer than the clock", false, doctor_clock},
        {"memory", "what is remembered of a source is damaged, given up, or of a source that is gone", true, doctor_memory},
        {"dead mount", "a mount's agent has died", true, doctor_dead},
        {"stale socket", "a dead agent has left its record and socket", true, doctor_records},
        {"mount", "a mount is degraded or broken", false, doctor_live},
        {"propagation", "running containers won't see it when it is mounted again", false, doctor_propagation},
        {"shadowed", "artifacts hide something of a source", false, doctor_shadowed},
        {"proof", "an edit on the host is not read, or not heard of, in a mount", false, doctor_proof},
};

static const struct {
        const char *name;
        enum colour colour;
} levels[] = {
        [DOCTOR_FINE] = {"ok", COLOUR_GOOD},
        [DOCTOR_NOTE] = {"note", COLOUR_WARN},
        [DOCTOR_DEGRADED] = {"degraded", COLOUR_BAD},
        [DOCTOR_FIXED] = {"fixed", COLOUR_GOOD},
};

static void doctor_release(struct doctor *d)
{
        json_decref(d->findings);
        json_decref(d->mounts);
        for (size_t i = 0; i < d->source_count; i++)
                free(d->sources[i]);
        free(d->sources);
        record_list_release(&d->records);
}

void doctor_found(struct doctor *d, enum doctor_level level, char *what, char *remedy)
{
        json_t *f = json_pack("{s:s, s:s, s:o}", "check", d->check, "level", levels[level].name, "text",
                              bytes_to_json(why_text(what), strlen(why_text(what))));

        if (remedy)
                json_object_set_new(f, "fix", bytes_to_json(remedy, strlen(remedy)));
        json_array_append_new(d->findings, f);
        d->degraded = d->degraded || level == DOCTOR_DEGRADED;
        free(what);
        free(remedy);
}

/* Takes `source`. */
static void add_source(struct doctor *d, char *source)
{
        char **grown = realloc(d->sources, (d->source_count + 1) * sizeof(*grown));
        bool known = !source || !grown;

        if (grown)
                d->sources = grown;
        for (size_t i = 0; i < d->source_count && !known; i++)
                known = strcmp(d->sources[i], source) == 0;
        if (known)
                free(source);
        else
                d->sources[d->source_count++] = source;
}

/* Those of mounts, those that are named, and the checkout that we are in. */
static int find_sources(struct doctor *d, char *const *named, size_t count, char **why)
{
        CLEANUP_FREE char *here = getcwd(NULL, 0);

        for (size_t i = 0; i < count; i++) {
                char *source = NULL;

                if (place_source(named[i], &source, why))
                        return -1;
                add_source(d, source);
        }
        for (size_t i = 0; i < d->records.count; i++) {
                if (d->records.records[i].source)
                        add_source(d, strdup(d->records.records[i].source));
        }
        if (here && (access(".git", F_OK) == 0 || access("dsfs.yaml", F_OK) == 0))
                add_source(d, steal_ptr(&here));
        return 0;
}

static void print_findings(const struct doctor *d, const struct term *t)
{
        json_t *findings = json_plain(d->findings);
        size_t i;
        json_t *f;

        json_array_foreach(findings, i, f)
        {
                const char *fix = json_string_value(json_object_get(f, "fix"));
                const char *name = json_string_value(json_object_get(f, "level"));
                size_t level = 0;

                while (level + 1 < ARRAY_LEN(levels) && strcmp(levels[level].name, name) != 0)
                        level++;
                term_print(stdout, t, levels[level].colour, name);
                printf("%*s %s\n", 9 - (int)strlen(name), "", json_string_value(json_object_get(f, "text")));
                if (fix)
                        printf("          → %s\n", fix);
        }
        json_decref(findings);
}

static void print_json(const struct doctor *d)
{
        json_t *root = json_pack("{s:i, s:s, s:O}", "version", DOCTOR_VERSION, "verdict", d->degraded ? "degraded" : "ok", "findings",
                                 d->findings);

        (void)json_dumpf(root, stdout, JSON_INDENT(2));
        printf("\n");
        json_decref(root);
}

static void print_table(void)
{
        for (size_t i = 0; i < ARRAY_LEN(conditions); i++)
                printf("%-14s %-4s %s\n", conditions[i].check, conditions[i].fixes ? "fix" : "", conditions[i].about);
}

static enum exit_code examine(struct doctor *d)
{
        json_t *status = status_gather(d->run, NULL, false);

        if (!status)
                return EXIT_FAILED;
        d->mounts = json_incref(json_object_get(status, "mounts"));
        json_decref(status);
        for (size_t i = 0; i < ARRAY_LEN(conditions); i++) {
                d->check = conditions[i].check;
                conditions[i].look(d);
        }
        return d->degraded ? EXIT_DEGRADED : EXIT_OK;
}

static const struct option long_options[] = {{"fix", no_argument, NULL, 'f'},  {"json", no_argument, NULL, 'j'},
                                             {"list", no_argument, NULL, 'l'}, {"no-proof", no_argument, NULL, 'n'},
                                             {"help", no_argument, NULL, 'h'}, {0}};

static enum exit_code run_doctor(int argc, char **argv)
{
        CLEANUP_FREE char *run = path_runtime();
        CLEANUP_FREE char *why = NULL;
        struct doctor d CLEANUP(doctor_release) = {.run = run, .findings = json_array()};
        enum exit_code code;
        bool as_json = false;
        struct term term;
        int c;

        while ((c = getopt_long(argc, argv, "fjh", long_options, NULL)) != -1) {
                if (c == 'h') {
                        command_help(&cmd_doctor);
                        return EXIT_OK;
                }
                if (c == 'l') {
                        print_table();
                        return EXIT_OK;
                }
                if (c == 'f')
                        d.fix = true;
                else if (c == 'j')
                        as_json = true;
                else if (c == 'n')
                        d.no_proof = true;
                else
                        return command_usage("doctor", "that is no option");
        }
        if (!run || record_list_read(run, &d.records)) {
                log_error("the runtime directory %s can't be read", why_text(run));
                return EXIT_FAILED;
        }
        if (find_sources(&d, argv + optind, (size_t)(argc - optind), &why))
                return command_usage("doctor", "%s", why_text(why));
        (void)term_look(NULL, &term);
        code = examine(&d);
        if (as_json)
                print_json(&d);
        else
                print_findings(&d, &term);
        return code;
}

const struct command cmd_doctor = {
        .name = "doctor",
        .usage = "[SRC…] [--fix] [--no-proof] [--json], or --list",
        .summary = "Check what mounting needs, what was left behind, and prove that it works; --fix puts right what it can",
        .help = "  SRC           look at these sources too, besides those that are mounted and the checkout of the current directory\n"
                "  -f, --fix     enable io_uring, remove dead mounts, what dead agents left, and what was remembered of sources if it is\n"
                "                damaged or they are gone for sure: the directory that they were in is there, on the same file system\n"
                "      --no-proof   don't make a mount of its own, edit it on the host, and time what is read and heard there\n"
                "  -j, --json    for programs (\"version\": 1)\n"
                "      --list    only say what is looked at, and what --fix can put right\n"
                "It exits with 3 if anything is degraded. A note is no reason to: it works, and could be better.\n",
        .run = run_doctor,
};
