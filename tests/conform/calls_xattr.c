/*
 * Extended attributes in each namespace.
 */
#include <errno.h>
#include <string.h>
#include <sys/xattr.h>

#include "cache/base/fd.h"
#include "tests/conform/calls.h"

#define VALUE_MAX 65537

struct attr_calls_of {
        int (*set)(const char *path, const char *name, const void *value, size_t size, int flags);
        ssize_t (*get)(const char *path, const char *name, void *value, size_t size);
        ssize_t (*list)(const char *path, char *list, size_t size);
        int (*remove)(const char *path, const char *name);
};
static const struct attr_calls_of follow = {setxattr, getxattr, listxattr, removexattr};
static const struct attr_calls_of nofollow = {lsetxattr, lgetxattr, llistxattr, lremovexattr};

static void say_list(struct trial *t, const struct attr_calls_of *x)
{
        char list[4096];
        ssize_t n = x->list(t->path, list, sizeof(list));
        size_t count = 0, sum = 0;

        /* In no particular order. */
        for (char *p = list; n > 0 && p < list + n; p += strlen(p) + 1, count++)
                for (char *c = p; *c; c++)
                        sum += (unsigned char)*c * (size_t)(c - p + 1);
        TRY(t, "listxattr", n);
        TELL(t, "%zu names, sum %zu\n", count, sum);
        TRY(t, "listxattr 0", x->list(t->path, NULL, 0));
}

static void use(struct trial *t, const struct attr_calls_of *x, const char *name)
{
        char back[64];
        ssize_t n;

        TRY(t, "getxattr", x->get(t->path, name, back, sizeof(back)));
        TRY(t, "setxattr replace", x->set(t->path, name, "one", 3, XATTR_REPLACE));
        TRY(t, "setxattr create", x->set(t->path, name, "first", 5, XATTR_CREATE));
        TRY(t, "setxattr create", x->set(t->path, name, "second", 6, XATTR_CREATE));
        TRY(t, "setxattr", x->set(t->path, name, "third", 5, 0));
        TRY(t, "setxattr both", x->set(t->path, name, "x", 1, XATTR_CREATE | XATTR_REPLACE));
        n = TRY(t, "getxattr", x->get(t->path, name, back, sizeof(back)));
        if (n > 0)
                TELL(t, "it says %.*s\n", (int)n, back);
        TRY(t, "getxattr 0", x->get(t->path, name, NULL, 0));
        TRY(t, "getxattr 1", x->get(t->path, name, back, 1));
        say_list(t, x);
        if (t->call->b)
                return;
        TRY(t, "removexattr", x->remove(t->path, name));
        TRY(t, "removexattr", x->remove(t->path, name));
        say_list(t, x);
}

static void xattr_it(struct trial *t)
{
        use(t, t->call->a ? &nofollow : &follow, t->call->s);
}

static void xattr_long_name(struct trial *t)
{
        char name[300] = "user.";

        memset(name + 5, 'x', (size_t)t->call->a - 5);
        TRY(t, "setxattr", setxattr(t->path, name, "v", 1, 0));
        TRY(t, "getxattr", getxattr(t->path, name, NULL, 0));
}

static void xattr_size(struct trial *t)
{
        static char value[VALUE_MAX];

        TRY(t, "setxattr", setxattr(t->path, "user.v", value, (size_t)t->call->a, 0));
        TRY(t, "getxattr", getxattr(t->path, "user.v", value, sizeof(value)));
        TRY(t, "getxattr 0", getxattr(t->path, "user.v", NULL, 0));
}

static void caps_it(struct trial *t)
{
        /* cap_net_raw+ep, revision 2 */
        static const unsigned char caps[20] = {1, 0, 0, 2, 0, 0x20};
        char back[64];

        TRY(t, "setxattr", setxattr(t->path, "security.capability", caps, sizeof(caps), 0));
        TRY(t, "getxattr", getxattr(t->path, "security.capability", back, sizeof(back)));
        say_list(t, &follow);
}

#define XATTR(name)                                                                                                                        \
        {                                                                                                                                  \
                "xattr:" name, xattr_it, 0, 0, name, NULL, NULL, NULL                                                                      \
        }
#define LXATTR(name)                                                                                                                       \
        {                                                                                                                                  \
                "lxattr:" name, xattr_it, 1, 1, name, NULL, NULL, NULL                                                                     \
        }
#define XATTR_SIZE(size)                                                                                                                   \
        {                                                                                                                                  \
                "xattr size:" #size, xattr_size, (size), 0, NULL, NULL, NULL, NULL                                                         \
        }
#define XATTR_NAME(len)                                                                                                                    \
        {                                                                                                                                  \
                "xattr name:" #len, xattr_long_name, (len), 0, NULL, NULL, NULL, NULL                                                      \
        }

const struct call xattr_calls[] = {
        XATTR("user.a"),
        XATTR("trusted.a"),
        XATTR("security.a"),
        XATTR("system.posix_acl_access"),
        XATTR("system.posix_acl_default"),
        XATTR("system.a"),
        XATTR("nonsense.a"),
        XATTR("user."),
        XATTR(""),
        LXATTR("user.a"),
        LXATTR("trusted.a"),
        LXATTR("security.a"),
        XATTR_NAME(255),
        XATTR_NAME(256),
        XATTR_SIZE(0),
        XATTR_SIZE(1000),
        XATTR_SIZE(65536),
        XATTR_SIZE(65537),
        {"xattr:security.capability", caps_it, 0, 0, NULL, NULL, NULL, NULL},
};
const size_t xattr_call_count = ARRAY_LEN(xattr_calls);
