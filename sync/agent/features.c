#include "sync/agent/features.h"

#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <jansson.h>
#include <lmdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <uv.h>
#include <xxhash.h>
#include <yaml.h>

#include "cache/base/fd.h"
#include "sync/serve/why.h"

/* FUSE_NOTIFY_INC_EPOCH came with it. */
#define EPOCH_MAJOR 6
#define EPOCH_MINOR 16
#define URING_SWITCH "/sys/module/fuse/parameters/enable_uring"

static const char *uring(void)
{
        CLEANUP_FREE char *text = NULL;

        if (fd_read_file(AT_FDCWD, URING_SWITCH, 64, &text) < 0)
                return "no (this kernel has none)";
        return text[0] == 'Y' || text[0] == '1' ? "yes" : "off (`dsfs doctor --fix`)";
}

/* Or newer. */
static bool is_linux(int major, int minor)
{
        struct utsname u;
        int have_major, have_minor;

        if (uname(&u) < 0 || sscanf(u.release, "%d.%d", &have_major, &have_minor) != 2)
                return false;
        return have_major > major || (have_major == major && have_minor >= minor);
}

char *features_text(void)
{
        int major, minor, patch;
        int yaml_major, yaml_minor, yaml_patch;
        unsigned xxh = XXH_versionNumber();

        (void)mdb_version(&major, &minor, &patch);
        yaml_get_version(&yaml_major, &yaml_minor, &yaml_patch);
        return text_new("libraries: libfuse %s, libuv %s, lmdb %d.%d.%d, xxhash %u.%u.%u, jansson %s, libyaml %d.%d.%d\n"
                        "io_uring: %s; passthrough (profile=data): %s; epoch: %s\n",
                        fuse_pkgversion(), uv_version_string(), major, minor, patch, xxh / 10000, xxh / 100 % 100, xxh % 100,
                        jansson_version_str(), yaml_major, yaml_minor, yaml_patch, uring(), geteuid() == 0 ? "yes" : "as root",
                        is_linux(EPOCH_MAJOR, EPOCH_MINOR) ? "yes" : "from Linux 6.16 on");
}
