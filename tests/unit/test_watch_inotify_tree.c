/* The tree of watched directories, by hand and against a plain model. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "sync/watch_inotify_tree.h"
#include "tests/lib/child.h"

static const struct ident nobody;
static struct watch_tree tree;

static void make(void)
{
        cr_assert_eq(watch_tree_init(&tree), 0);
        tree.root = watch_tree_add(&tree, 1, &nobody);
}

static void release(void)
{
        watch_tree_release(&tree);
}

TestSuite(watch_inotify_tree, .init = make, .fini = release);

static struct watch_dir *put(int wd, struct watch_dir *parent, const char *name)
{
        struct watch_dir *d = watch_tree_add(&tree, wd, &nobody);

        cr_assert_eq(watch_tree_place(&tree, d, parent, name, strlen(name)), 0);
        return d;
}

static struct watch_dir *child(struct watch_dir *parent, const char *name)
{
        return watch_tree_child(&tree, parent, name, strlen(name));
}

Test(watch_inotify_tree, a_moved_directory_takes_what_is_below_it)
{
        struct watch_dir *a = put(2, tree.root, "a");
        struct watch_dir *b = put(3, a, "b");
        struct watch_dir *c = put(4, tree.root, "c");

        cr_assert_eq(watch_tree_place(&tree, a, c, "longer name", 11), 0);
        cr_assert_null(child(tree.root, "a"));
        cr_assert_eq(child(c, "longer name"), a);
        cr_assert_eq(child(a, "b"), b);
        cr_assert_eq(b->parent, a);
}

Test(watch_inotify_tree, who_is_replaced_is_nowhere_but_known)
{
        struct watch_dir *a = put(2, tree.root, "a");
        struct watch_dir *b = put(3, tree.root, "a");

        cr_assert_eq(child(tree.root, "a"), b);
        cr_assert_null(a->parent);
        cr_assert_eq(watch_tree_find(&tree, 2), a);
        watch_tree_remove(&tree, a);
        cr_assert_null(watch_tree_find(&tree, 2));
        cr_assert_eq(tree.count, 2);
}

Test(watch_inotify_tree, nothing_is_placed_below_itself)
{
        struct watch_dir *a = put(2, tree.root, "a");
        struct watch_dir *b = put(3, a, "b");

        cr_assert_eq(watch_tree_place(&tree, a, b, "a", 1), -ELOOP);
        cr_assert_eq(watch_tree_place(&tree, a, a, "a", 1), -ELOOP);
        cr_assert_eq(child(tree.root, "a"), a);
}

Test(watch_inotify_tree, what_was_below_the_removed_is_nowhere)
{
        struct watch_dir *a = put(2, tree.root, "a");
        struct watch_dir *b = put(3, a, "b");
        struct watch_dir *c = put(4, a, "c");

        watch_tree_remove(&tree, a);
        cr_assert_null(b->parent);
        cr_assert_null(c->parent);
        cr_assert_null(child(tree.root, "a"));
}

/* Where each directory is, as an array says it. */
#define DIRS 400
struct where {
        bool known;
        int parent; /* -1: nowhere */
        char name[16];
};

static bool model_below(const struct where *m, int parent, int d)
{
        while (parent > 0 && parent != d)
                parent = m[parent].parent;
        return parent == d;
}

static void model_unplace_at(struct where *m, int parent, const char *name)
{
        for (int i = 1; i < DIRS; i++)
                if (m[i].known && m[i].parent == parent && strcmp(m[i].name, name) == 0)
                        m[i].parent = -1;
}

static void model_place(struct where *m, struct dice *dice)
{
        int parent = (int)dice_roll(dice, DIRS);
        int d = 1 + (int)dice_roll(dice, DIRS - 1);
        struct watch_dir *at = watch_tree_find(&tree, d + 1);
        char name[16];
        int rc;

        snprintf(name, sizeof(name), "n%u", dice_roll(dice, 8));
        if (!m[parent].known)
                return;
        if (!m[d].known) {
                cr_assert_null(at);
                at = watch_tree_add(&tree, d + 1, &nobody);
                m[d] = (struct where){.known = true, .parent = -1};
        }
        rc = watch_tree_place(&tree, at, watch_tree_find(&tree, parent + 1), name, strlen(name));
        if (model_below(m, parent, d)) {
                cr_assert_eq(rc, -ELOOP);
                return;
        }
        cr_assert_eq(rc, 0);
        model_unplace_at(m, parent, name);
        m[d].parent = parent;
        strcpy(m[d].name, name);
}

static void model_remove(struct where *m, int d)
{
        if (!m[d].known)
                return;
        watch_tree_remove(&tree, watch_tree_find(&tree, d + 1));
        m[d].known = false;
        for (int i = 1; i < DIRS; i++)
                if (m[i].known && m[i].parent == d)
                        m[i].parent = -1;
}

static void compare(const struct where *m)
{
        size_t count = 0;

        for (int i = 1; i < DIRS; i++) {
                struct watch_dir *d = watch_tree_find(&tree, i + 1);

                cr_assert_eq(d != NULL, m[i].known);
                if (!d)
                        continue;
                count++;
                cr_assert_eq(d->parent ? d->parent->wd - 1 : -1, m[i].parent);
                if (d->parent)
                        cr_assert_eq(child(d->parent, m[i].name), d);
        }
        cr_assert_eq(tree.count, count + 1);
}

Test(watch_inotify_tree, agrees_with_a_plain_model)
{
        static struct where m[DIRS] = {{.known = true, .parent = -1}};
        struct dice dice = {.state = 1};

        for (int step = 0; step < 20000; step++) {
                if (dice_roll(&dice, 5))
                        model_place(m, &dice);
                else
                        model_remove(m, 1 + (int)dice_roll(&dice, DIRS - 1));
                if (step % 100 == 0)
                        compare(m);
        }
        watch_tree_forget_places(&tree);
        for (int i = 1; i < DIRS; i++)
                m[i].parent = -1;
        compare(m);
}
