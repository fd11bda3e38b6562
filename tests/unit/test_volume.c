/*
 * Volumes of the plugin: their options, and their records.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "sync/agent/volume.h"
#include "sync/agent/volume_store.h"
#include "tests/lib/mount.h"

#define BOOT "b-1"

static void expect_options(json_t *options, const char *want)
{
        CLEANUP_FREE char *why = NULL;
        struct volume_wish w;

        cr_assert_eq(volume_wish_parse(options, &w, &why), 0, "%s", why_text(why));
        cr_assert_str_eq(w.source, "/src");
        cr_assert_str_eq(w.options, want);
        volume_wish_release(&w);
        json_decref(options);
}

static void expect_wrong(json_t *options, const char *why_part)
{
        CLEANUP_FREE char *why = NULL;
        struct volume_wish w;

        cr_assert_eq(volume_wish_parse(options, &w, &why), -EINVAL);
        cr_assert(strstr(why, why_part), "\"%s\" does not say \"%s\"", why, why_part);
        json_decref(options);
}

Test(volume, options_are_those_of_a_mount)
{
        expect_options(json_pack("{s:s}", "source", "/src"), "");
        expect_options(json_pack("{s:s, s:s, s:s}", "uid", "1000", "source", "/src", "gid", "4242"), "view_uid=1000,view_gid=4242");
        expect_options(json_pack("{s:s, s:s, s:s}", "source", "/src", "readonly", "", "profile", "data"), "profile=data,readonly");
        expect_options(json_pack("{s:s, s:s, s:s}", "source", "/src", "ro", "on", "name", "x"), "ro=on,name=x");
}

Test(volume, wrong_options_are_named_with_the_right_ones)
{
        expect_wrong(json_pack("{s:s, s:s}", "source", "/src", "sauce", "x"),
                     "there is no option sauce; there are: source, config, uid, gid, ");
        expect_wrong(json_pack("{s:s, s:s}", "source", "/src", "artifacts", "x"), "there is no option artifacts");
        expect_wrong(json_pack("{s:s, s:s}", "source", "/src", "profile", "fast"), "profile=fast: allowed is source, data");
        expect_wrong(json_pack("{s:s, s:s}", "source", "/src", "uid", ""), "the option uid needs a value: a number");
        expect_wrong(json_pack("{s:s, s:s}", "source", "/src", "name", "a,readonly=off"), "no comma");
        expect_wrong(json_pack("{s:s, s:s, s:s}", "source", "/src", "uid", "1", "view_uid", "1"), "are the same");
        expect_wrong(json_pack("{s:s, s:i}", "source", "/src", "uid", 1), "the option uid is not a text");
        expect_wrong(json_pack("{s:s}", "source", "src"), "source=src: an absolute path is needed");
        expect_wrong(json_pack("{s:s, s:s}", "source", "/src", "config", "x.yaml"), "config=x.yaml: an absolute path is needed");
        expect_wrong(json_object(), "the option source is missing");
        expect_wrong(json_null(), "the option source is missing");
        expect_wrong(NULL, "the option source is missing");
        expect_wrong(json_array(), "no object");
}

Test(volume, names_are_what_docker_allows)
{
        char name[VOLUME_NAME_MAX + 2];

        cr_assert(volume_name_ok("app") && volume_name_ok("0_a.b-C"));
        cr_assert_not(volume_name_ok("") || volume_name_ok(".") || volume_name_ok("..") || volume_name_ok("a/b") || volume_name_ok("-a") ||
                      volume_name_ok("a b") || volume_name_ok("\xc3\xa4"));
        memset(name, 'a', sizeof(name));
        name[VOLUME_NAME_MAX + 1] = '\0';
        cr_assert_not(volume_name_ok(name));
        name[VOLUME_NAME_MAX] = '\0';
        cr_assert(volume_name_ok(name));
}

static struct volume *make(void)
{
        CLEANUP_FREE char *why = NULL;
        json_t *options = json_pack("{s:s, s:s}", "source", "/src", "uid", "7");
        struct volume *v;

        cr_assert_eq(volume_new("app", options, 1700000000, &v, &why), 0, "%s", why_text(why));
        json_decref(options);
        return v;
}

static char *text_of(struct volume *v)
{
        json_object_set_new(v->users, "c1", json_integer(1700000001));
        return volume_to_text(v, v->users, BOOT);
}

Test(volume, a_record_comes_back_as_it_was)
{
        CLEANUP_FREE char *why = NULL;
        struct volume *v = make();
        struct volume *back;
        CLEANUP_FREE char *text = text_of(v);

        cr_assert_eq(volume_from_text("app", text, strlen(text), BOOT, &back, &why), 0, "%s", why_text(why));
        cr_assert_str_eq(back->created, "2023-11-14T22:13:20Z");
        cr_assert_str_eq(back->wish.options, "view_uid=7");
        cr_assert(json_equal(back->options, v->options) && json_equal(back->users, v->users));
        volume_free(back);
        volume_free(v);
}

Test(volume, users_of_another_boot_are_void)
{
        CLEANUP_FREE char *why = NULL;
        struct volume *v = make();
        struct volume *back;
        CLEANUP_FREE char *text = text_of(v);

        cr_assert_eq(volume_from_text("app", text, strlen(text), "b-2", &back, &why), 0, "%s", why_text(why));
        cr_assert_eq(json_object_size(back->users), 0);
        volume_free(back);
        volume_free(v);
}

Test(volume, records_that_are_none_are_refused)
{
        static const char *const wrong[] = {
                "",
                "[]",
                "{\"version\":2,\"name\":\"app\",\"created\":\"x\",\"options\":{\"source\":\"/src\"},\"boot\":\"b-1\",\"users\":{}}",
                "{\"version\":1,\"name\":\"other\",\"created\":\"x\",\"options\":{\"source\":\"/src\"},\"boot\":\"b-1\",\"users\":{}}",
                "{\"version\":1,\"name\":\"app\",\"created\":\"x\",\"options\":{\"source\":\"/src\"},\"boot\":\"b-1\",\"users\":{\"\":1}}",
                "{\"version\":1,\"name\":\"app\",\"created\":\"x\",\"options\":{\"source\":\"/"
                "src\"},\"boot\":\"b-1\",\"users\":{\"a\":\"b\"}}",
                "{\"version\":1,\"name\":\"app\",\"created\":\"x\",\"options\":{\"source\":7},\"boot\":\"b-1\",\"users\":{}}",
                "{\"version\":1,\"name\":\"app\",\"created\":\"x\",\"options\":{\"source\":\"/src\"},\"boot\":\"b-1\"}",
                "{\"version\":1,\"name\":\"app\",\"created\":\"0123456789012345678901234567890123456789\",\"options\":{\"source\":\"/"
                "src\"},"
                "\"boot\":\"b-1\",\"users\":{}}",
        };

        for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
                CLEANUP_FREE char *why = NULL;
                struct volume *v;

                cr_assert_eq(volume_from_text("app", wrong[i], strlen(wrong[i]), BOOT, &v, &why), -EINVAL, "%s", wrong[i]);
                cr_assert(why && *why);
        }
}

/*
 * On disk
 */

static void take(void *arg, struct volume *v)
{
        struct volume **ret = arg;

        cr_assert_null(*ret, "a second one: %s", v->name);
        *ret = v;
}

Test(volume, the_store_keeps_one_record_a_name_and_forgets_what_is_removed)
{
        char base[64], dir[96];
        CLEANUP_FREE char *why = NULL;
        struct volume_store s = {.fd = -1}, second = {.fd = -1};
        struct volume *v = make();
        struct volume *back = NULL;
        CLEANUP_FREE char *text = NULL;

        area_new_base(base, sizeof(base));
        snprintf(dir, sizeof(dir), "%s/state/plugin/volumes", base);
        cr_assert_eq(volume_store_open(dir, &s, &why), 0, "%s", why_text(why));
        cr_assert_eq(volume_store_open(dir, &second, &why), -EBUSY);
        text = volume_to_text(v, v->users, s.boot);
        for (int i = 0; i < 2; i++)
                cr_assert_eq(volume_store_write(&s, "app", text, &why), 0);
        put_text(at(dir, "broken.json"), "{");
        put_text(at(dir, "app.json.new"), "half a rec");
        volume_store_close(&s);
        cr_assert_eq(volume_store_open(dir, &s, &why), 0);
        cr_assert_eq(volume_store_load(&s, take, &back), 0);
        cr_assert(back && strcmp(back->name, "app") == 0);
        cr_assert_eq(access(at(dir, "broken.json"), F_OK), 0, "what isn't understood stays");
        for (int i = 0; i < 2; i++)
                cr_assert_eq(volume_store_remove(&s, "app", &why), 0);
        volume_free(back);
        back = NULL;
        cr_assert_eq(volume_store_load(&s, take, &back), 0);
        cr_assert_null(back);
        volume_store_close(&s);
        volume_free(v);
        remove_tree(base);
}
