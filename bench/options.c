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
        OPT_SELF,
        OPT_SEED,
        OPT_JSON,
        OPT_STRICT,
        OPT_COUNT,
        OPT_HELP,
};

static const struct option long_options[] = {
        {"only", required_argument, NULL, OPT_ONLY},
        {"budget", required_argument, NULL, OPT_BUDGET},
        {"dir", required_argument, NULL, OPT_DIR},
        {"image", no_argument, NULL, OPT_IMAGE},
        {"self", no_argument, NULL, OPT_SELF},
        {"seed", required_argument, NULL, OPT_SEED},
        {"json", required_argument, NULL, OPT_JSON},
        {"strict", no_argument, NULL, OPT_STRICT},
        {"count", required_argument, NULL, OPT_COUNT},
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
                "  --image         put them on a fresh journalled ext4 image, made in DIR (root)\n"
                "  -o OPTS         options for dsfs mount\n"
                "  --self          a bind mount against another one: ratios must be near 1.0\n"
                "  --seed N        another tree, another order\n"
                "  --json FILE     where the results go (%s)\n"
                "  --strict        exit 1 when a floor is missed\n\n"
                "DSFS_BIN names the binary under test (build/dsfs).\n",
                o->program, o->summary, o->budget_s, o->count, o->json);
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

bool options_wants(const struct options *o, const char *name)
{
        size_t len = strlen(name);

        if (!o->only)
                return true;
        for (const char *at = o->only; *at; at += strcspn(at, ","), at += *at == ',')
                if (strcspn(at, ",") == len && !memcmp(at, name, len))
                        return true;
        return false;
}
