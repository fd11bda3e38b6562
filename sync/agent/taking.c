#include "sync/agent/taking.h"

#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/thread.h"
#include "sync/agent/mountinfo.h"
#include "sync/agent/place.h"
#include "sync/agent/record.h"
#include "sync/serve/client.h"
#include "sync/serve/json.h"

#define ASK_MS 60000
/* How long an agent may take to start or to end, and how often that is looked at. */
#define PATIENCE_NS 30000000000ULL
#define STEP_MS 10

void making_release(struct making *m)
{
        mount_options_release(&m->options);
        free(m->options_text);
        config_free(m->config);
        free(m->source);
        free(m->mountpoint);
        free(m->run);
        free(m->name);
        fd_close(&m->claim);
}

/*
 * Name and place
 */

static bool name_is_taken(const struct record_list *records, const char *name, const char *but_by)
{
        for (size_t i = 0; i < records->count; i++) {
                const struct record *r = &records->records[i];

                if (r->alive && r->name && strcmp(r->name, name) == 0 && (!but_by || strcmp(r->id, but_by) != 0))
                        return true;
        }
        return false;
}

/* The folder's name, with a piece of the source's identity if another source has it; and a number from the source's second mount on. */
static char *free_name(const struct making *m, const struct record_list *records)
{
        const char *folder = strrchr(m->source, '/') + 1;
        CLEANUP_FREE char *plain = strdup(*folder ? folder : "root");
        CLEANUP_FREE char *name = NULL;

        if (plain && name_is_taken(records, plain, m->id)) {
                CLEANUP_FREE char *taken = plain;

                plain = text_new("%s-%.8s", taken, m->id);
        }
        name = plain ? strdup(plain) : NULL;
        for (unsigned n = 2; name && name_is_taken(records, name, NULL); n++) {
                free(name);
                name = text_new("%s.%u", plain, n);
        }
        return steal_ptr(&name);
}

static int choose_name(struct making *m, const struct record_list *records, char **why)
{
        if (m->options.name && name_is_taken(records, m->options.name, NULL))
                return why_set(why, -EEXIST, "the name %s is taken by another mount; choose one that `dsfs status` does not list",
                               m->options.name);
        m->name = m->options.name ? strdup(m->options.name) : free_name(m, records);
        return m->name ? 0 : why_set(why, -ENOMEM, "out of memory");
}

/* <runtime directory>/mnt/<name>, made if it isn't there. */
static int make_default_place(struct making *m, bool *made, char **why)
{
        CLEANUP_FREE char *mnt = text_new("%s/mnt", m->run);
        CLEANUP_FREE char *real = NULL;
        int rc;

        if (!mnt)
                return why_set(why, -ENOMEM, "out of memory");
        rc = path_make_private(mnt, why);
        if (rc)
                return rc;
        real = realpath(mnt, NULL);
        m->mountpoint = real ? text_new("%s/%s", real, m->name) : NULL;
        if (!m->mountpoint)
                return why_set(why, -errno, "%s can't be reached: %s", mnt, strerror(errno));
        m->own_place = true;
        if (mkdir(m->mountpoint, 0755) == 0) {
                *made = true;
        } else if (errno != EEXIST) {
                rc = -errno;
                return why_set(why, rc, "the mount point %s can't be made: %s", m->mountpoint, strerror(-rc));
        }
        return 0;
}

/* A name, and a place where it may be mounted, cleared of what the dead left there. */
static int choose(struct making *m, const struct record_list *records, bool *made, char **why)
{
        bool dead = false;
        int rc = choose_name(m, records, why);

        if (rc == 0 && !m->mountpoint)
                rc = make_default_place(m, made, why);
        if (rc == 0)
                rc = place_check(m->source, m->mountpoint, records, &dead, why);
        if (rc == 0 && dead)
                rc = place_recover(m->mountpoint, records, why);
        return rc;
}

/* As if choose() had not been called. */
static void choose_again(struct making *m, bool made)
{
        if (made)
                (void)rmdir(m->mountpoint);
        free(steal_ptr(&m->name));
        if (m->own_place)
                free(steal_ptr(&m->mountpoint));
        m->own_place = false;
}

/*
 * An agent that there is
 */

static int ending(const struct making *m, char **why)
{
        return why_set(why, -EAGAIN, "%s is just being mounted or unmounted by another command; `dsfs status` shows it soon", m->source);
}

/* Its answer decides; none at all means that it is starting or ending, which is -EAGAIN. */
static int ask_agent(struct making *m, char **why)
{
        char socket[SOURCE_ID_TEXT + 5];
        const char *text = m->options_text ? m->options_text : "";
        CLEANUP_FD int fd = -1;
        bool answered = false;
        json_t *answer = NULL;
        struct stat here = {0};
        int rc;

        record_socket_name(m->id, socket);
        fd = client_connect(m->run, socket, &m->agent);
        if (fd < 0)
                return fd == -ENOENT || fd == -ECONNREFUSED
                               ? ending(m, why)
                               : why_set(why, fd, "the agent of %s can't be asked: %s", m->source, strerror(-fd));
        (void)stat("/proc/self/ns/mnt", &here);
        rc = client_ask(fd, "mount",
                        json_pack("{s:o, s:o, s:o, s:b, s:I}", "mountpoint", bytes_to_json(m->mountpoint, strlen(m->mountpoint)), "name",
                                  bytes_to_json(m->name, strlen(m->name)), "options", bytes_to_json(text, strlen(text)), "own_place",
                                  (int)m->own_place, "namespace", (json_int_t)here.st_ino),
                        ASK_MS, &answer, &answered, why);
        json_decref(answer);
        if ((answered && (rc == -ESHUTDOWN || rc == -EAGAIN)) || (!answered && rc && rc != -ETIMEDOUT)) {
                free(steal_ptr(why));
                return ending(m, why);
        }
        return rc;
}

/*
 * None, or a dead one
 */

/* What the dead agent of this source left elsewhere. If that was its only mount, it has moved; of several, the others are waiting for a
 * `dsfs mount` of their own, which heals them for those who still look at them. */
static void clear_old_places(const struct making *m, const struct record_list *records)
{
        const struct record *first = NULL;
        size_t count = 0;

        for (size_t i = 0; i < records->count; i++) {
                if (strcmp(records->records[i].id, m->id) != 0)
                        continue;
                first = first ? first : &records->records[i];
                count++;
        }
        for (size_t i = 0; i < count; i++) {
                CLEANUP_FREE char *why = NULL;
                unsigned removed;

                if (!first[i].mountpoint || strcmp(first[i].mountpoint, m->mountpoint) == 0)
                        continue;
                if (count > 1)
                        (void)place_recover(first[i].mountpoint, records, &why);
                else if (place_remove_dead(first[i].mountpoint, records, &removed) == 0 && first[i].own_place)
                        (void)rmdir(first[i].mountpoint);
        }
}

static int claim_source(struct making *m, const struct record_list *records, char **why)
{
        struct record_mount mine = {.name = m->name, .mountpoint = m->mountpoint, .own_place = m->own_place};
        int rc;

        clear_old_places(m, records);
        m->claim = record_claim(m->run, m->id);
        if (m->claim == -EBUSY)
                return ending(m, why);
        if (m->claim < 0)
                return why_set(why, m->claim, "%s can't be written to: %s", m->run, strerror(-m->claim));
        rc = record_write(m->run, m->id, &m->claim, 0, m->source, &mine, 1);
        if (rc) {
                record_drop(m->run, m->id);
                return why_set(why, rc, "%s can't be written to: %s", m->run, strerror(-rc));
        }
        return 0;
}

/*
 * Both
 */

static const struct record *record_of(const struct record_list *records, const char *id)
{
        for (size_t i = 0; i < records->count; i++) {
                if (strcmp(records->records[i].id, id) == 0)
                        return &records->records[i];
        }
        return NULL;
}

/* Whether an agent that lives has this place in its record, but nothing is mounted there: not yet, or not any more. */
static bool is_changing(const struct making *m, const struct record_list *records)
{
        struct mount_list mounts;
        bool found = false;

        if (!m->mountpoint || mount_list_read(&mounts))
                return false;
        for (size_t i = 0; i < records->count && !found; i++) {
                const struct record *r = &records->records[i];

                found = r->alive && r->mountpoint && strcmp(r->mountpoint, m->mountpoint) == 0 && !mount_at(&mounts, m->mountpoint);
        }
        mount_list_release(&mounts);
        return found;
}

static int take_gated(struct making *m, const struct record_list *records, bool *joined, char **why)
{
        const struct record *agent = record_of(records, m->id);
        bool made = false;
        int rc;

        m->agent = agent ? agent->pid : 0;
        *joined = agent && agent->alive;
        if (is_changing(m, records) || (*joined && !agent->source))
                return ending(m, why);
        rc = choose(m, records, &made, why);
        if (rc == 0)
                rc = *joined ? ask_agent(m, why) : claim_source(m, records, why);
        if (rc)
                choose_again(m, made);
        return rc;
}

static int take_once(struct making *m, bool *joined, char **why)
{
        struct record_list records;
        CLEANUP_FD int gate = record_gate(m->run);
        int rc = gate < 0 ? gate : record_list_read(m->run, &records);

        if (rc)
                return why_set(why, rc, "the runtime directory %s can't be read: %s", m->run, strerror(-rc));
        rc = take_gated(m, &records, joined, why);
        record_list_release(&records);
        return rc;
}

/* Let the agent get on: until it ends, or for a moment. */
static void step(pid_t agent)
{
        CLEANUP_FD int pidfd = agent > 0 ? (int)syscall(SYS_pidfd_open, agent, 0) : -1;
        struct pollfd p = {.fd = pidfd, .events = POLLIN};

        (void)poll(&p, 1, STEP_MS);
}

int making_take(struct making *m, bool *joined, char **why)
{
        unsigned long long deadline = clock_now_ns() + PATIENCE_NS;
        int rc = path_make_private(m->run, why);

        if (rc)
                return rc;
        while ((rc = take_once(m, joined, why)) == -EAGAIN && clock_now_ns() < deadline) {
                free(steal_ptr(why));
                step(m->agent);
        }
        return rc;
}

void making_leave(struct making *m, bool failed)
{
        CLEANUP_FD int gate = record_gate(m->run);

        (void)gate;
        if (failed && m->own_place)
                (void)rmdir(m->mountpoint);
        record_drop(m->run, m->id);
}
