/*
 * dsfs docker-plugin: its volumes, their users, and what is wrong in a request.
 */
#include "tests/mount/plugin.h"

/*
 * Volumes
 */

Test(cli_plugin, says_what_it_is)
{
        json_t *answer = ask_json("Plugin.Activate", NULL);

        cr_assert_str_eq(json_string_value(json_array_get(json_object_get(answer, "Implements"), 0)), "VolumeDriver");
        json_decref(answer);
        answer = ask_json("VolumeDriver.Capabilities", json_object());
        cr_assert_str_eq(json_string_value(json_object_get(json_object_get(answer, "Capabilities"), "Scope")), "local");
        json_decref(answer);
}

Test(cli_plugin, a_volume_is_mounted_while_somebody_uses_it)
{
        const char *where;
        json_t *answer;

        create("app", NULL, NULL);
        answer = ask_json("VolumeDriver.Path", json_pack("{s:s}", "Name", "app"));
        cr_assert_str_eq(json_string_value(json_object_get(answer, "Mountpoint")), "");
        json_decref(answer);
        where = mount_volume("app", "c1");
        expect_content(where, "greeting", "hello\n");
        mount_volume("app", "c2");
        mount_volume("app", "c2");
        cr_assert_eq(users("app"), 2);
        ask_well("VolumeDriver.Unmount", user("app", "c1"));
        ask_well("VolumeDriver.Unmount", user("app", "c1"));
        cr_assert(is_dsfs(where), "the other one has it still");
        answer = ask_json("VolumeDriver.List", json_object());
        cr_assert_str_eq(json_string_value(json_object_get(json_array_get(json_object_get(answer, "Volumes"), 0), "Mountpoint")), where);
        json_decref(answer);
        ask_well("VolumeDriver.Unmount", user("app", "c2"));
        cr_assert_not(is_mounted(where));
        cr_assert_lt(access(where, F_OK), 0, "the place is left");
        ask_well("VolumeDriver.Remove", json_pack("{s:s}", "Name", "app"));
        ask_badly("VolumeDriver.Get", json_pack("{s:s}", "Name", "app"), "there is no volume app");
        expect_nothing_left();
}

Test(cli_plugin, what_is_wrong_is_said_in_a_sentence)
{
        create("app", "uid", "1000");
        create("app", "uid", "1000");
        ask_badly("VolumeDriver.Create", json_pack("{s:s, s:{s:s}}", "Name", "app", "Opts", "source", box.src),
                  "there is a volume app already");
        ask_badly("VolumeDriver.Create", json_pack("{s:s, s:n}", "Name", "b", "Opts"), "the option source is missing");
        ask_badly("VolumeDriver.Create", json_pack("{s:s, s:{s:s}}", "Name", "b", "Opts", "source", "/nowhere/at/all"),
                  "the source /nowhere/at/all does not exist");
        ask_badly("VolumeDriver.Create", json_pack("{s:s, s:{s:s}}", "Name", "b", "Opts", "source", plugin.log), "is not a directory");
        ask_badly("VolumeDriver.Create", json_pack("{s:s, s:{s:s, s:s}}", "Name", "b", "Opts", "source", box.src, "sauce", "x"),
                  "there is no option sauce; there are: source");
        ask_badly("VolumeDriver.Create",
                  json_pack("{s:s, s:{s:s, s:s}}", "Name", "b", "Opts", "source", box.src, "config", "/nowhere.yaml"), "/nowhere.yaml");
        ask_badly("VolumeDriver.Create", json_pack("{s:s}", "Name", "a/b"), "a volume's name is");
        ask_badly("VolumeDriver.Mount", user("b", "c1"), "there is no volume b");
        ask_badly("VolumeDriver.Mount", json_pack("{s:s}", "Name", "app"), "no \"ID\"");
        ask_badly("VolumeDriver.Remove", json_pack("{s:s}", "Name", "b"), "there is no volume b");
}

/* Its client sees no error in a good status, and would go on. */
Test(cli_plugin, podman_is_told_by_the_status)
{
        json_decref(ask_json_as("*/*", 500, "VolumeDriver.Mount", user("app", "c1")));
        json_decref(ask_json_as("*/*", 200, "VolumeDriver.List", json_object()));
}

Test(cli_plugin, a_source_that_goes_is_missed_at_the_mount)
{
        create("app", NULL, NULL);
        remove_tree(box.src);
        ask_badly("VolumeDriver.Mount", user("app", "c1"), "does not exist");
        cr_assert_eq(users("app"), 0);
}

Test(cli_plugin, a_volume_has_a_configuration_of_its_own)
{
        char config[160];
        const char *where;

        snprintf(config, sizeof(config), "%s/own.yaml", box.base);
        put(box.base, "own.yaml", "version: 1\nartifacts:\n  - path: greeting\n    route: hidden\n");
        create("app", "config", config);
        where = mount_volume("app", "c1");
        cr_assert_lt(access(at(where, "greeting"), F_OK), 0, "it is hidden");
        ask_well("VolumeDriver.Unmount", user("app", "c1"));
}

Test(cli_plugin, volumes_of_one_source_are_mounts_of_one_agent)
{
        const char *first, *second;
        struct stat st;

        create("one", "uid", "1000");
        create("two", "uid", "4242");
        first = mount_volume("one", "c1");
        second = mount_volume("two", "c2");
        cr_assert_eq(stat(at(first, "greeting"), &st), 0);
        cr_assert_eq(st.st_uid, 1000);
        cr_assert_eq(stat(at(second, "greeting"), &st), 0);
        cr_assert_eq(st.st_uid, 4242);
        cr_assert_eq(agent_of("one"), agent_of("two"));
        put(first, "made", "here\n");
        expect_content(second, "made", "here\n");
        ask_well("VolumeDriver.Unmount", user("one", "c1"));
        expect_content(second, "made", "here\n");
        ask_well("VolumeDriver.Unmount", user("two", "c2"));
        expect_nothing_left();
}

#define CROWD 6
#define ROUNDS 5
static const char *const crowd_volumes[] = {"one", "two", "three"};

/* While he has it, it is mounted, whatever the others do. */
static int come_and_go(void *arg)
{
        const unsigned *who = arg;

        for (unsigned round = 0; round < ROUNDS; round++) {
                const char *name = crowd_volumes[(*who + round) % ARRAY_LEN(crowd_volumes)];
                char id[32];
                const char *where;
                bool read;

                snprintf(id, sizeof(id), "c%u-%u", *who, round);
                where = mount_volume(name, id);
                read = access(at(where, "greeting"), R_OK) == 0;
                ask_well("VolumeDriver.Unmount", user(name, id));
                if (!read)
                        return 1;
        }
        return 0;
}

Test(cli_plugin, many_may_come_and_go_at_once)
{
        static unsigned who[CROWD];
        pid_t pids[CROWD];

        for (size_t i = 0; i < ARRAY_LEN(crowd_volumes); i++)
                create(crowd_volumes[i], NULL, NULL);
        for (unsigned i = 0; i < CROWD; i++) {
                who[i] = i;
                pids[i] = child_start(NULL, come_and_go, &who[i]);
        }
        for (unsigned i = 0; i < CROWD; i++)
                cr_assert_eq(child_wait(pids[i]), 0, "%u", i);
        for (size_t i = 0; i < ARRAY_LEN(crowd_volumes); i++)
                cr_assert_eq(users(crowd_volumes[i]), 0);
        expect_nothing_left();
}
