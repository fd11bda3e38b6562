/*
 * What shells ask to complete a line, and what the agent says of its own verbs.
 */
#include "sync/serve/client.h"
#include "tests/mount/cli.h"

TestSuite(cli_complete, .init = start, .fini = stop, .timeout = 300);

static void expect_words(const char *const absent, const char *const said[])
{
        for (size_t i = 0; said[i]; i++) {
                CLEANUP_FREE char *line = NULL;

                cr_assert_gt(asprintf(&line, "\n%s\t", said[i]), 0);
                memmove(box.r.out + 1, box.r.out, strlen(box.r.out) + 1);
                box.r.out[0] = '\n';
                cr_assert(strstr(box.r.out, line), "no %s in %s", said[i], box.r.out);
        }
        cr_assert(!absent || !strstr(box.r.out, absent), "%s in %s", absent, box.r.out);
}
#define EXPECT_WORDS(absent, ...) expect_words(absent, (const char *const[]){__VA_ARGS__, NULL})

Test(cli_complete, commands_options_and_values)
{
        expect_exit(0, "complete", "");
        EXPECT_WORDS("prewarm", "mount", "status", "artifacts", "logs", "--version");
        expect_exit(0, "complete", "st");
        EXPECT_WORDS("mount\t", "status");
        expect_exit(0, "complete", "status", "--");
        EXPECT_WORDS("--follow", "--json", "--watch", "--color", "--help");
        expect_exit(0, "complete", "artifacts", "");
        EXPECT_WORDS(NULL, "list", "prune");
        expect_exit(0, "complete", "artifacts", "prune", "--o");
        EXPECT_WORDS("--json", "--older-than", "--orphans");
        expect_exit(0, "complete", "mount", "-o", "ro,profile=d");
        EXPECT_WORDS("source", "ro,profile=data");
        expect_exit(0, "complete", "mount", "-o", "wat");
        EXPECT_WORDS("profile", "watch=");
        expect_exit(0, "complete", "nonesuch", "");
        cr_assert_str_empty(box.r.out);
        expect_exit(0, "complete");
}

Test(cli_complete, names_of_mounts)
{
        expect_exit(0, "mount", box.src, box.mnt, "-o", "name=my app");
        expect_exit(0, "complete", "umount", "");
        EXPECT_WORDS(NULL, "my app");
        expect_said(box.r.out, ":files");
        expect_exit(0, "complete", "status", "x");
        cr_assert_null(strstr(box.r.out, "my app"));
}

Test(cli_complete, the_agent_says_what_can_be_asked_of_it)
{
        CLEANUP_FREE char *run = NULL;
        CLEANUP_FREE char *why = NULL;
        CLEANUP_FREE char *command = NULL;
        CLEANUP_FD int fd = -1;
        struct proc_result r;
        json_t *answer = NULL;
        json_t *v;
        bool answered, seen = false;
        size_t i;
        pid_t pid;

        expect_exit(0, "mount", box.src, box.mnt);
        cr_assert_gt(asprintf(&run, "%s/run/dsfs", box.base), 0);
        cr_assert_gt(asprintf(&command, "cd %s; echo *.sock", run), 0);
        proc_run((const char *const[]){"sh", "-c", command, NULL}, 0, &r);
        trim(r.out);
        fd = client_connect(run, r.out, &pid);
        cr_assert_geq(fd, 0, "%s: %s", r.out, strerror(-fd));
        cr_assert_eq(client_ask(fd, "help", NULL, 60000, &answer, &answered, &why), 0, "%s", why ? why : "?");
        json_array_foreach(json_object_get(answer, "verbs"), i, v)
        {
                seen = seen || strcmp(json_string_value(json_object_get(v, "name")), "wait") == 0;
                cr_assert(*json_string_value(json_object_get(v, "usage")));
        }
        cr_assert(seen && i > 4);
        json_decref(answer);
}
