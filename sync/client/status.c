/*
 * dsfs-client status: the agent's own words about this mount, which it keeps in .dsfs/status.json.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "cache/base/fd.h"
#include "cache/base/log.h"
#include "sync/client/client.h"
#include "sync/run/in_mount.h"

#define STATUS_MAX (8 << 20)

static const struct {
        const char *name;
        enum client_code code;
} verdicts[] = {{"ok", CLIENT_OK}, {"degraded", CLIENT_DEGRADED}, {"broken", CLIENT_FAILED}};

static const char *shown(const json_t *mount, const char *key)
{
        const char *text = json_string_value(json_object_get(mount, key));

        return text ? text : "-";
}

static int print(const json_t *status)
{
        /* The whole of `dsfs status --json`, or the one mount of it. */
        const json_t *mounts = json_object_get(status, "mounts");
        const json_t *mount = json_array_size(mounts) ? json_array_get(mounts, 0) : status;
        const char *verdict = shown(mount, "verdict");
        json_t *warning;
        size_t i;

        printf("%s: %s\n", shown(mount, "name"), verdict);
        printf("  content      %s%s\n", shown(mount, "root_hash"),
               json_is_true(json_object_get(mount, "root_hash_pending")) ? " (changes wait)" : "");
        printf("  clock        %s\n", shown(mount, "clock"));
        json_array_foreach(json_object_get(mount, "warnings"), i, warning)
        {
                printf("  note         %s\n", json_string_value(warning) ? json_string_value(warning) : "-");
        }
        for (i = 0; i < ARRAY_LEN(verdicts); i++) {
                if (strcmp(verdicts[i].name, verdict) == 0)
                        return verdicts[i].code;
        }
        return CLIENT_FAILED;
}

static int show(const char *place, bool as_json)
{
        CLEANUP_FREE char *text = NULL;
        ssize_t n = fd_read_file(AT_FDCWD, place, STATUS_MAX, &text);
        json_t *status;
        int code;

        if (n < 0) {
                log_error("%s can't be read: %s", place, strerror((int)-n));
                return CLIENT_ABSENT;
        }
        status = json_loadb(text, (size_t)n, 0, NULL);
        if (!status) {
                log_error("%s is not what this version understands", place);
                return CLIENT_FAILED;
        }
        if (as_json) {
                fwrite(text, 1, (size_t)n, stdout);
                code = CLIENT_OK;
        } else {
                code = print(status);
        }
        json_decref(status);
        return code;
}

static const struct option long_options[] = {
        {"json", no_argument, NULL, 'j'}, {"socket", required_argument, NULL, 'S'}, {"help", no_argument, NULL, 'h'}, {0}};

int client_status(int argc, char **argv)
{
        CLEANUP_FREE char *place = NULL;
        const char *socket = NULL;
        bool as_json = false;
        int c;

        while ((c = getopt_long(argc, argv, "jh", long_options, NULL)) != -1) {
                switch (c) {
                case 'j':
                        as_json = true;
                        break;
                case 'S':
                        socket = optarg;
                        break;
                case 'h':
                        printf("usage: dsfs-client status [--json] [--socket PATH]\n\nSay whether the mount is in step with its source: "
                               "ok, degraded "
                               "(exit 3) or broken (exit 1).\n\n"
                               "  -j, --json     everything, for programs\n"
                               "  --socket PATH  of the mount that has its .dsfs/events.sock there\n");
                        return CLIENT_OK;
                default:
                        return client_usage("status", "that is no option");
                }
        }
        if (optind < argc)
                return client_usage("status", "nothing can be named");
        place = client_place(socket, IN_MOUNT_STATUS, NULL);
        return place ? show(place, as_json) : CLIENT_ABSENT;
}
