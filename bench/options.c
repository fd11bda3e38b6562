#include "bench/options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
        OPT_ONLY = 256,
        OPT_BUDGET,
        OPT_DIR,
        OPT_IMAGE,
        OPT_NO_IMAGE,
        OPT_SELF,
        OPT_SEED,
        OPT_JSON,
        OPT_STRICT,
        OPT_COUNT,
        OPT_PROFILES,
        OPT_PEERS,
        OPT_SMOKE,
        OPT_HELP,
};

static const struct option long_options[] = {
        {"only", required_argument, NULL, OPT_ONLY},
        {"budget", required_argument, NULL, OPT_BUDGET},
        {"dir", required_argument, NULL, OPT_DIR},
        {"image", no_argument, NULL, OPT_IMAGE},
        {"no-image", no_argument, NULL, OPT_NO_IMAGE},
        {"self", no_argument, NULL, OPT_SELF},
        {"seed", required_argument, NULL, OPT_SEED},
        {"json", required_argument, NULL, OPT_JSON},
        {"strict", no_argument, NULL, OPT_STRICT},
        {"count", required_argument, NULL, OPT_COUNT},
        {"profiles", required_argument, NULL, OPT_PROFILES},
        {"peers", required_argument, NULL, OPT_PEERS},
        {"smoke", no_argument, NULL, OPT_SMOKE},
        {"help", no_argument, NULL, OPT_HELP},
        {NULL, 0, NULL, 0},
};

static void usage(const struct options *o, FILE *out)
{
        fprintf(out,
                "%s: %s\n\n"
                "  --only A,B      only these\n"
                "  --budget S      seconds for all of it (%.0f)\n"
                "  --count N       samples of a kind (%u; latency only)\n"
                "  --dir DIR       where the trees live ($TMPDIR or /tmp)\n"
                "  --image         put them on a fresh journalled ext4 image, made in DIR (root); --no-image: don't\n"
                "  -o OPTS         options for dsfs mount\n"
                "  --self          a bind mount against another one: ratios must be near 1.0\n"
                "  --seed N        another tree, another order\n"
                "  --json FILE     where the results go (%s)\n"
                "  --strict        exit 1 when a floor is missed\n",
                o->program, o->summary, o->budget_s, o->count, o->json);
        if (o->profiles)
                fprintf(out,
                        "  --profiles A,B  dsfs profiles (%s)\n"
                        "  --peers A,B     others to compare with: all, none, or some of %s (%s)\n"
                        "  --smoke         tiny trees, one round, no figures to believe: does it work?\n",
                        o->profiles, o->all_peers, o->peers);
        fputs("\nDSFS_BIN names the binary under test (build/dsfs).\n", out);
}

static double number(const struct options *o, const char *text, double least)
{
        char *end;
        double value = strtod(text, &end);

        if (end == text || *end || !(value >= least)) {
                fprintf(stderr, "%s: '%s' is not a number of at least %g\n", o->program, text, least);
                exit(2);
        }
        return value;
}

static void take(struct options *o, int opt)
{
        switch (opt) {
        case OPT_ONLY:
                o->only = optarg;
                break;
        case OPT_BUDGET:
                o->budget_s = number(o, optarg, 1);
                break;
        case OPT_COUNT:
                o->count = (unsigned)number(o, optarg, 1);
                break;
        case OPT_DIR:
                o->dir = optarg;
                break;
        case OPT_IMAGE:
                o->image = true;
                break;
        case OPT_NO_IMAGE:
                o->image = false;
                break;
        case OPT_PROFILES:
                o->profiles = optarg;
                break;
        case OPT_PEERS:
                o->peers = optarg;
                break;
        case OPT_SMOKE:
                o->smoke = true;
                break;
        case OPT_SELF:
                o->self = true;
                break;
        case OPT_SEED:
                o->seed = (uint64_t)number(o, optarg, 0);
                break;
        case OPT_JSON:
                o->json = optarg;
                break;
        case OPT_STRICT:
                o->strict = true;
                break;
        case 'o':
                o->mount_opts = optarg;
                break;
        case OPT_HELP:
                usage(o, stdout);
                exit(0);
        default:
                usage(o, stderr);
                exit(2);
        }
}

void options_parse(struct options *o, int argc, char **argv)
{
        int opt;

        o->seed = 1;
        o->dsfs = getenv("DSFS_BIN");
        if (!o->dsfs || !*o->dsfs)
                o->dsfs = "build/dsfs";
        o->dir = getenv("TMPDIR");
        if (!o->dir || !*o->dir)
                o->dir = "/tmp";
        while ((opt = getopt_long(argc, argv, "o:", long_options, NULL)) != -1)
                take(o, opt);
        if (optind < argc) {
                fprintf(stderr, "%s: unexpected '%s'\n", o->program, argv[optind]);
                exit(2);
        }
        if (!o->self && strchr(o->dsfs, '/') && access(o->dsfs, X_OK)) {
                fprintf(stderr, "%s: %s can't be run: build it, or name one in DSFS_BIN\n", o->program, o->dsfs);
                exit(2);
        }
}

bool options_lists(const char *list, const char *name)
{
        size_t len = strlen(name);

        for (const char *at = list; *at; at += strcspn(at, ","), at += *at == ',')
                if (strcspn(at, ",") == len && !memcmp(at, name, len))
                        return true;
        return false;
}

bool options_wants(const struct options *o, const char *name)
{
        return !o->only || options_lists(o->only, name);
}
