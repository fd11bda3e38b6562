/*
 * What the commands of dsfs-client share.
 */
#pragma once

enum client_code {
        CLIENT_OK = 0,
        CLIENT_FAILED = 1,
        CLIENT_USAGE = 2,
        CLIENT_DEGRADED = 3,
        CLIENT_ABSENT = 4, /* not in a mount, or nobody serves it */
};

/* Where `name` (".dsfs/…") of the mount around us is; with `socket`, beside that. The caller frees it; *root too, unless NULL: the mount's
 * root, if it was looked for. NULL: it was said why there is none. */
char *client_place(const char *socket, const char *name, char **root);

/* Say what is wrong with a command's arguments. */
int client_usage(const char *command, const char *why);

/* argv[0] is the command's name. The exit code. */
int client_events(int argc, char **argv);
int client_wait(int argc, char **argv);
int client_status(int argc, char **argv);
