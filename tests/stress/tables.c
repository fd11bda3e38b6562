/*
 * The node table, the name index and the descriptor budget under four threads: the same few files are interned, named, opened, pinned and
 * forgotten over and over. Each descriptor is a memfd that says whose it is, so that another node's is noticed at once.
 *
 *   tables [SECONDS]
 */
#include <dirent.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/thread.h"
#include "fs/name.h"
#include "fs/node.h"
#include "fs/slots.h"
#include "tests/lib/child.h"

#define THREADS 4U
#define FILES 200U /* more than there are slots */
#define SHARED 8U  /* on these, half of the work is done */
#define DIRS 4U    /* the files whose numbers are below are directories of names */
#define BUDGET 64U
#define SECONDS 3.0
#define NS_PER_S 1e9
#define CLOCK_EVERY 64U
#define PIN_LOOKS 1000U

static struct node_table *nodes;
static struct name_index *names;
static struct slots *slots;
static unsigned long long deadline;
static _Atomic uint64_t rounds, opened;

static struct ident ident_number(uint32_t number)
{
        struct ident id;
        uint32_t bytes[2] = {number, ~number};

        must(ident_from_handle(1, bytes, sizeof(bytes), &id), "an identity");
        return id;
}

static uint32_t number_of(const struct node *n)
{
        uint32_t number;

        memcpy(&number, n->ident.bytes, sizeof(number));
        return number;
}

/* As the mount does (fs/mount.c). */
static void forget(struct node *n)
{
        if (!node_drop(nodes, n, 1))
                return;
        name_clear_node(names, n);
        slots_forget(slots, n);
        node_recycle(nodes, n);
}

/* The descriptor says whose it is and what it can do. */
static int open_for(const struct node *n, enum slot_mode mode)
{
        uint32_t label[2] = {number_of(n), mode};
        int fd = memfd_create("tables", MFD_CLOEXEC);

        must(fd >= 0, "memfd_create");
        must(pwrite(fd, label, sizeof(label), 0) == sizeof(label), "pwrite");
        atomic_fetch_add(&opened, 1);
        return fd;
}

static void check(const struct node *n, enum slot_mode mode, const struct held *h)
{
        uint32_t label[2];

        must(pread(h->fd, label, sizeof(label), 0) == sizeof(label), "descriptor %d was closed in use", h->fd);
        must(label[0] == number_of(n), "node %u got the descriptor of %u", number_of(n), label[0]);
        must(label[1] >= mode, "a descriptor can do less than asked for");
}

static struct held reach(struct node *n, enum slot_mode mode)
{
        struct held h;

        if (!slots_get(slots, n, mode, &h))
                h = slots_put(slots, n, mode, open_for(n, mode));
        check(n, mode, &h);
        return h;
}

static void use_slot(struct node *n, struct dice *d)
{
        enum slot_mode mode = (enum slot_mode)dice_roll(d, 3);
        struct held h = reach(n, mode);

        switch (dice_roll(d, 16)) {
        case 0:
                (void)slots_pin(slots, n);
                break;
        case 1:
                slots_unpin(slots, n);
                break;
        case 2:
                slots_trim();
                break;
        default:
                break;
        }
        check(n, mode, &h);
        slots_release(slots, &h);
}

/* Thread `self`'s own node, on which nobody else has a pin. */
static struct ident own_ident(unsigned self)
{
        return ident_number(FILES + 1 + self);
}

/* A pin holds, whoever puts a better descriptor in its place meanwhile: others do that only for a node that has one. */
static void use_pin(unsigned self, struct dice *d)
{
        struct ident id = own_ident(self);
        struct node *n = node_intern(nodes, &id, S_IFREG, 0);
        struct held h;

        must(n, "node_intern");
        h = reach(n, SLOT_PATH);
        if (h.slot >= 0 && slots_pin(slots, n)) {
                bool there = false;

                slots_release(slots, &h);
                for (unsigned i = dice_roll(d, 4); i > 0; i--)
                        slots_trim();
                /* It is missed when it is just being replaced. */
                for (unsigned i = 0; i < PIN_LOOKS && !there; i++)
                        there = slots_get(slots, n, SLOT_PATH, &h);
                must(there, "a pinned descriptor was closed");
                check(n, SLOT_PATH, &h);
        }
        slots_release(slots, &h);
        forget(n);
}

static void upgrade(unsigned whose, struct dice *d)
{
        struct ident id = own_ident(whose);
        struct node *n = node_find(nodes, &id);
        struct held h;

        if (!n)
                return;
        if (slots_get(slots, n, SLOT_PATH, &h)) {
                enum slot_mode mode = dice_roll(d, 2) ? SLOT_READ : SLOT_WRITE;
                struct held better = slots_put(slots, n, mode, open_for(n, mode));

                check(n, mode, &better);
                check(n, SLOT_PATH, &h);
                slots_release(slots, &better);
                slots_release(slots, &h);
        }
        forget(n);
}

static void use_names(struct node *n, struct dice *d)
{
        struct ident dir_ident = ident_number(1 + dice_roll(d, DIRS));
        struct node *dir = node_intern(nodes, &dir_ident, S_IFDIR, 0);
        char text[NAME_BYTES_MAX + 1];
        char name[8];
        struct node *other;
        node_id id;
        size_t len;

        must(dir, "node_intern");
        len = (size_t)snprintf(name, sizeof(name), "%u", dice_roll(d, FILES));
        switch (dice_roll(d, 4)) {
        case 0:
                name_clear(names, node_id_of(dir), name, len);
                break;
        case 1:
                name_saw(names, node_id_of(dir), name, len, n);
                break;
        default:
                name_set(names, node_id_of(dir), name, len, n);
                break;
        }
        other = node_hold(nodes, name_belief(names, node_id_of(dir), name, len));
        if (other) {
                must(number_of(other) >= 1 && number_of(other) <= FILES, "a belief in nobody");
                forget(other);
        }
        for (unsigned nth = 0; nth < 4 && (id = name_of_node(names, n, nth, text)) != NODE_NONE; nth++)
                must(strlen(text) >= 1 && strlen(text) <= 3, "a name of nobody");
        forget(dir);
}

static void use_numbers(struct node *n)
{
        node_id id = node_id_of(n);
        struct node *again = node_hold(nodes, id);

        must(again == n, "a number leads elsewhere");
        must(node_get(nodes, id) == n, "a number leads elsewhere");
        forget(again);
        must(!node_hold(nodes, id + ((node_id)1 << 32)), "a number from the future");
}

static bool visit(void *arg, struct node *n)
{
        unsigned *count = arg;

        must(number_of(n) >= 1 && number_of(n) <= FILES + THREADS, "nobody is in the table");
        return ++*count <= FILES + THREADS;
}

static void put(void *arg, struct node *n)
{
        (void)arg;
        forget(n);
}

static void *hammer(void *arg)
{
        unsigned self = (unsigned)(uintptr_t)arg;
        struct dice d = {.state = self + 1};

        for (uint64_t i = 0;; i++) {
                struct ident id = ident_number(1 + dice_roll(&d, dice_roll(&d, 2) ? SHARED : FILES));
                struct node *n;
                unsigned seen = 0;

                if (i % CLOCK_EVERY == 0 && clock_now_ns() >= deadline)
                        break;
                n = node_intern(nodes, &id, S_IFREG, 0);
                must(n, "node_intern");
                must(ident_equal(&n->ident, &id), "interned as somebody else");
                switch (dice_roll(&d, 64)) {
                case 0:
                        node_each(nodes, visit, put, &seen);
                        break;
                case 1:
                        (void)slots_close_idle_writers(slots);
                        break;
                default:
                        use_slot(n, &d);
                        use_names(n, &d);
                        use_numbers(n);
                        break;
                }
                forget(n);
                use_pin(self, &d);
                upgrade(dice_roll(&d, THREADS), &d);
                atomic_fetch_add(&rounds, 1);
        }
        return NULL;
}

static unsigned descriptors(void)
{
        DIR *dir = opendir("/proc/self/fd");
        unsigned count = 0;

        must(dir, "/proc/self/fd");
        while (readdir(dir))
                count++;
        closedir(dir);
        return count;
}

int main(int argc, char **argv)
{
        double seconds = argc > 1 ? atof(argv[1]) : SECONDS;
        unsigned before = descriptors();
        struct slots_stats stats;
        pthread_t threads[THREADS];

        must(node_table_new(&nodes) == 0 && name_index_new(&names) == 0 && slots_new(BUDGET, &slots) == 0, "out of memory");
        deadline = clock_now_ns() + (unsigned long long)(seconds * NS_PER_S);
        for (uintptr_t i = 0; i < THREADS; i++)
                must(thread_start(&threads[i], "hammer", hammer, (void *)i) == 0, "thread_start");
        for (unsigned i = 0; i < THREADS; i++)
                pthread_join(threads[i], NULL);
        slots_stats(slots, &stats);
        printf("%llu rounds, %llu descriptors opened\n", (unsigned long long)rounds, (unsigned long long)opened);
        must(rounds > 0 && opened > 0, "nothing was done");
        must(node_count(nodes) == 0, "%llu nodes are left", (unsigned long long)node_count(nodes));
        must(name_count(names) == 0, "%llu names are left", (unsigned long long)name_count(names));
        must(stats.used == 0, "%llu slots are left", (unsigned long long)stats.used);
        must(stats.pinned == 0, "%llu pins are left", (unsigned long long)stats.pinned);
        must(descriptors() == before, "%u descriptors before, %u now", before, descriptors());
        slots_free(slots);
        name_index_free(names);
        node_table_free(nodes);
        return 0;
}
