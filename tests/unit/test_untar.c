/*
 * Archives of unknown origin: what real tars write is unpacked as they unpack it; what would be made or reached outside is refused; and
 * whatever bytes there are, nothing outside is touched.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "sync/agent/untar.h"
#include "tests/lib/mount.h"
#include "tests/lib/tar.h"

#define MUTATIONS 300

static char base[64];

static void fail(const char *message)
{
        cr_assert_fail("%s", message);
}

static void start(void)
{
        test_on_fail(fail);
        area_new_base(base, sizeof(base));
        must(mkdir(at(base, "root"), 0755) == 0, "mkdir");
        put_text(at(base, "canary"), "alive");
}

static void stop(void)
{
        remove_tree(base);
}

TestSuite(untar, .init = start, .fini = stop, .timeout = 120);

static int unpack(const char *archive, char **why)
{
        CLEANUP_FD int in = open(archive, O_RDONLY | O_CLOEXEC);
        CLEANUP_FD int root = open(at(base, "root"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        must(in >= 0 && root >= 0, "%s", archive);
        return untar(in, root, why);
}

static const char *output(const char *script)
{
        static char out[65536];

        must(child_exec((const char *const[]){"bash", "-euc", script, "test", base, NULL}, NULL, NULL, out, sizeof(out)) == 0, "%s",
             script);
        return out;
}

/* Everything but the root is as it was. */
static void expect_outside_untouched(void)
{
        cr_assert_str_eq(output("cd $1; ls -A | sort; cat canary; stat -c %h canary"), "a.tar\ncanary\nroot\nalive1\n");
}

/*
 * What tars write
 */

static const char make_tree[] =
        "cd $1; mkdir -p in/deep/er 'in/odd\n name'; echo one >in/deep/er/file; ln in/deep/er/file in/hard;"
        "ln -s ../nowhere in/deep/link; echo run >in/run; chmod 755 in/run; chmod 600 in/hard;"
        "long=$(printf 'n%.0s' {1..180}); mkdir in/$long; echo far >in/$long/$long;"
        "ln -s $long/$long in/far; ln in/$long/$long in/$long.hard; head -c 100000 /dev/zero >in/zeros; touch in/empty;"
        "touch -d @1400000000 in/empty in/deep/er in;";
/* Times by the second; a directory's size and links are its filesystem's own. */
static const char describe[] =
        "find . -type d -printf '%P %y %m %T@\\n' -o -printf '%P %y %m %s %n %T@ %l\\n' | sed 's/\\([0-9]\\{10\\}\\)\\.[0-9]*/\\1/'"
        "| LC_ALL=C sort; find . -type f -print0 | LC_ALL=C sort -z | xargs -0 cat | cksum";

struct format {
        char name[16];
};

ParameterizedTestParameters(untar, unpacks_what_tar_writes)
{
        static struct format formats[] = {{"ustar-plain"}, {"gnu"}, {"pax"}, {"oldgnu"}};

        return cr_make_param_array(struct format, formats, ARRAY_LEN(formats));
}

ParameterizedTest(struct format *f, untar, unpacks_what_tar_writes)
{
        CLEANUP_FREE char *why = NULL;
        bool plain = strcmp(f->name, "ustar-plain") == 0;
        char script[4096];
        const char *want;

        snprintf(script, sizeof(script), "%s %s tar -C in --format=%s -cf a.tar .; cd in; %s", make_tree,
                 plain ? "rm -r in/n* in/far;" : "", plain ? "ustar" : f->name, describe);
        want = keep(output(script));
        cr_assert_eq(unpack(at(base, "a.tar"), &why), 0, "%s", why);
        snprintf(script, sizeof(script), "cd $1/root; %s", describe);
        cr_assert_str_eq(output(script), want);
}

Test(untar, a_later_member_takes_an_earlier_ones_place)
{
        CLEANUP_FREE char *why = NULL;
        struct tar_out t;

        tar_open(&t, at(base, "a.tar"));
        tar_add(&t, '0', "f", NULL, "first");
        tar_add(&t, '2', "g", "../canary", NULL);
        tar_add(&t, '0', "f", NULL, "second");
        tar_add(&t, '0', "g", NULL, "a file, not through the link");
        tar_close(&t);
        cr_assert_eq(unpack(at(base, "a.tar"), &why), 0, "%s", why);
        cr_assert_str_eq(output("cat $1/root/f"), "second");
        expect_outside_untouched();
}

Test(untar, set_id_bits_are_dropped)
{
        CLEANUP_FREE char *why = NULL;

        output("cd $1; mkdir in; touch in/f; chmod 6755 in/f; mkdir in/d; chmod 7777 in/d; tar -C in -cf a.tar .");
        cr_assert_eq(unpack(at(base, "a.tar"), &why), 0, "%s", why);
        cr_assert_str_eq(output("stat -c %a $1/root/f $1/root/d"), "755\n777\n");
}

/*
 * What they don't
 */

struct member {
        char type;
        char name[64], link[64];
};

struct hostile {
        char what[48];
        char said[48];
        struct member members[3];
};

static struct hostile hostile[] = {
        {"an absolute name", "absolute", {{'0', "/tmp/untar-was-here", ""}}},
        {"an absolute directory", "absolute", {{'5', "/tmp/untar-was-here", ""}}},
        {"a name that leads up", "upwards", {{'0', "../evil", ""}}},
        {"a name that leads up later", "upwards", {{'0', "a/b/../../../evil", ""}}},
        {"only dots", "upwards", {{'0', "..", ""}}},
        {"a directory that leads up", "upwards", {{'5', "a/..", ""}}},
        {"a name through a link", "no directory", {{'2', "out", ".."}, {'0', "out/evil", ""}}},
        {"a name through an absolute link", "no directory", {{'2', "out", "/"}, {'0', "out/tmp/evil", ""}}},
        {"a directory through a link", "no directory", {{'2', "out", ".."}, {'5', "out/evil", ""}}},
        {"a link through a link", "no directory", {{'2', "out", ".."}, {'2', "out/evil", "x"}}},
        {"a directory that is a link", "no directory", {{'2', "out", ".."}, {'5', "out", ""}, {'0', "out/evil", ""}}},
        {"a hard link upwards", "upwards", {{'1', "evil", "../canary"}}},
        {"an absolute hard link", "absolute", {{'1', "evil", "/etc/passwd"}}},
        {"a hard link through a link", "not in the archive", {{'2', "out", ".."}, {'1', "evil", "out/canary"}}},
        {"a hard link to nothing", "not in the archive", {{'1', "evil", "nothing"}}},
        {"a hard link to a directory", "not in the archive", {{'5', "d", ""}, {'1', "evil", "d"}}},
        {"a character device", "device", {{'3', "null", ""}}},
        {"a block device", "device", {{'4', "disk", ""}}},
        {"a fifo", "fifo", {{'6', "pipe", ""}}},
        {"a kind of its own", "kind", {{'Z', "what", ""}}},
        {"a file in place of a directory", "directory", {{'5', "d", ""}, {'0', "d", ""}}},
        {"a file in a file", "no directory", {{'0', "f", ""}, {'0', "f/g", ""}}},
        {"no name", "no name", {{'0', "", ""}}},
        {"a dot as a file", "no name", {{'0', ".", ""}}},
};

ParameterizedTestParameters(untar, refuses)
{
        return cr_make_param_array(struct hostile, hostile, ARRAY_LEN(hostile));
}

ParameterizedTest(struct hostile *h, untar, refuses)
{
        CLEANUP_FREE char *why = NULL;
        struct tar_out t;
        int rc;

        tar_open(&t, at(base, "a.tar"));
        tar_add(&t, '0', "fine", NULL, "fine");
        for (size_t i = 0; i < ARRAY_LEN(h->members) && h->members[i].type; i++) {
                const struct member *m = &h->members[i];

                tar_add(&t, m->type, m->name, m->link, m->type == '0' ? "evil" : NULL);
        }
        tar_close(&t);
        rc = unpack(at(base, "a.tar"), &why);
        cr_assert_eq(rc, -EINVAL, "%s: %d", h->what, rc);
        cr_assert(why && strstr(why, h->said), "%s: %s", h->what, why);
        expect_outside_untouched();
        cr_assert_neq(access("/tmp/untar-was-here", F_OK), 0);
        cr_assert_neq(access("/tmp/evil", F_OK), 0);
}

Test(untar, refuses_what_is_cut_off)
{
        CLEANUP_FREE char *text = NULL;
        ssize_t len;

        output("cd $1; mkdir in; head -c 3000 /dev/zero >in/f; echo x >in/g; tar --format=pax -C in -cf a.tar .");
        len = fd_read_file(AT_FDCWD, at(base, "a.tar"), 1 << 20, &text);
        cr_assert_gt(len, 0);
        for (size_t cut = 0; cut < 5632; cut += 128) {
                CLEANUP_FREE char *why = NULL;

                put_file(at(base, "a.tar"), text, cut);
                cr_assert_eq(unpack(at(base, "a.tar"), &why), -EINVAL, "cut to %zu", cut);
        }
        put_file(at(base, "a.tar"), text, (size_t)len);
        {
                CLEANUP_FREE char *why = NULL;

                cr_assert_eq(unpack(at(base, "a.tar"), &why), 0, "%s", why);
        }
}

/* Valid archives with bytes changed; half of the time the checksum of each header is put right again. */
Test(untar, whatever_the_bytes_nothing_outside_is_touched)
{
        CLEANUP_FREE char *text = NULL;
        struct dice dice = {.state = 42};
        char script[4096];
        ssize_t len;
        int taken = 0;

        snprintf(script, sizeof(script),
                 "%s for f in pax gnu; do tar -C in --exclude=zeros --format=$f -cf $f.tar .; done; cat gnu.tar pax.tar", make_tree);
        output(script);
        output("cd $1; head -c -10240 gnu.tar >a.tar; cat pax.tar >>a.tar; rm -r gnu.tar pax.tar in");
        len = fd_read_file(AT_FDCWD, at(base, "a.tar"), 1 << 20, &text);
        cr_assert_gt(len, 4096);
        for (int i = 0; i < MUTATIONS; i++) {
                CLEANUP_FREE unsigned char *bytes = malloc((size_t)len);
                CLEANUP_FREE char *why = NULL;
                unsigned changes = 1 + dice_roll(&dice, 4);
                bool right = dice_roll(&dice, 2);

                memcpy(bytes, text, (size_t)len);
                while (changes-- > 0) {
                        size_t where = dice_roll(&dice, (unsigned)len);

                        bytes[where] = "\0/.17250\xff\x80"[dice_roll(&dice, 10)];
                        if (right)
                                tar_sum(bytes + where / 512 * 512);
                }
                put_file(at(base, "a.tar"), bytes, (size_t)len);
                taken += unpack(at(base, "a.tar"), &why) == 0;
                remove_tree(at(base, "root"));
                must(mkdir(at(base, "root"), 0755) == 0, "mkdir");
        }
        cr_assert_gt(taken, 0, "no archive was taken at all");
        expect_outside_untouched();
}
