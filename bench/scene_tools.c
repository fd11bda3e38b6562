/*
 * The parts of the scene that node, python, a C compiler and npm work on.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/npm_packages.h"
#include "bench/tool.h"
#include "bench/workloads.h"
#include "cache/base/err.h"
#include "cache/base/fd.h"

enum {
        PYTHON_PACKAGE = 25,
        C_HEADERS = 40,
        C_HEADERS_EACH = 15,
        C_FUNCTIONS = 8,
        TEXT_MAX = 32 << 10,
};

/* Text in the making; what doesn't fit is an error when it is written. */
struct text {
        size_t len;
        char bytes[TEXT_MAX];
};

PRINTF_LIKE(2, 3) static void add(struct text *t, const char *format, ...)
{
        size_t room = sizeof t->bytes - t->len;
        va_list args;
        int n;

        va_start(args, format);
        n = vsnprintf(t->bytes + t->len, room, format, args);
        va_end(args);
        t->len = n < 0 || (size_t)n >= room ? sizeof t->bytes : t->len + (size_t)n;
}

PRINTF_LIKE(3, 4) static int write_text(struct text *t, int dir, const char *format, ...)
{
        CLEANUP_FD int fd = -1;
        size_t len = t->len;
        char path[128];
        va_list args;

        t->len = 0;
        va_start(args, format);
        vsnprintf(path, sizeof path, format, args);
        va_end(args);
        if (len >= sizeof t->bytes)
                return -EFBIG;
        fd = openat(dir, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        return fd < 0 ? -errno : fd_write_full(fd, t->bytes, len);
}

PRINTF_LIKE(2, 3) static int make_dir(int dir, const char *format, ...)
{
        char path[128];
        va_list args;

        va_start(args, format);
        vsnprintf(path, sizeof path, format, args);
        va_end(args);
        return mkdirat(dir, path, 0755) ? -errno : 0;
}

/* Makes and opens a directory of `parent`. */
static int part(const char *parent, const char *name)
{
        CLEANUP_FREE char *path = NULL;
        int fd;

        if (asprintf(&path, "%s/%s", parent, name) < 0)
                return -ENOMEM;
        if (mkdir(path, 0755) || (fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
                return -errno;
        return fd;
}

/* A package.json, an index, and a module that the index wants: what require() looks for in a package's directory. */
static int write_node_package(struct text *t, int dir, unsigned i)
{
        int err = make_dir(dir, "node_modules/package-%u", i);

        if (!err)
                err = make_dir(dir, "node_modules/package-%u/lib", i);
        add(t, "{\"name\": \"package-%u\", \"version\": \"1.0.0\", \"main\": \"index.js\"}\n", i);
        if (!err)
                err = write_text(t, dir, "node_modules/package-%u/package.json", i);
        add(t, "'use strict';\nmodule.exports = require('./lib/value').value + 1;\n");
        if (!err)
                err = write_text(t, dir, "node_modules/package-%u/index.js", i);
        add(t, "'use strict';\n");
        for (unsigned line = 0; line < 8 + i % 24; line++)
                add(t, "exports.helper%u = function (a, b) { return a * %u + b; };\n", line, line);
        add(t, "exports.value = %u;\n", i);
        return err ? err : write_text(t, dir, "node_modules/package-%u/lib/value.js", i);
}

int scene_make_node(struct scene *sc)
{
        CLEANUP_FREE struct text *t = calloc(1, sizeof *t);
        CLEANUP_FD int dir = part(sc->source, "node");
        int err = t ? dir < 0 ? dir : make_dir(dir, "node_modules") : -ENOMEM;

        for (unsigned i = 0; !err && i < sc->sizes.node_packages; i++)
                err = write_node_package(t, dir, i);
        if (err)
                return err;
        add(t, "let sum = 0;\nfor (let i = 0; i < %u; i++)\n  sum += require('package-' + i);\nconsole.log(sum);\n",
            sc->sizes.node_packages);
        return write_text(t, dir, "main.js");
}

static int write_python_module(struct text *t, int dir, unsigned i)
{
        unsigned package = i / PYTHON_PACKAGE;
        int err = 0;

        if (i % PYTHON_PACKAGE == 0) {
                err = make_dir(dir, "package_%u", package);
                if (!err)
                        err = write_text(t, dir, "package_%u/__init__.py", package);
        }
        for (unsigned line = 0; line < 4 + i % 12; line++)
                add(t, "def helper_%u(a, b):\n    return a * %u + b\n", line, line);
        add(t, "value = %u\n", i);
        return err ? err : write_text(t, dir, "package_%u/module_%u.py", package, i);
}

/* What python itself says it is: $PATH may hold a script that chooses a version each time. */
static int find_python(struct scene *sc)
{
        const char *const ask[] = {"python3", "-c", "import sys; print(sys.executable, end='')", NULL};

        return tool_capture(ask, &sc->python) ? -EIO : 0;
}

int scene_make_python(struct scene *sc)
{
        CLEANUP_FREE struct text *t = calloc(1, sizeof *t);
        CLEANUP_FD int dir = part(sc->source, "python");
        int err = t ? dir < 0 ? dir : find_python(sc) : -ENOMEM;
        CLEANUP_FREE char *path = NULL;

        for (unsigned i = 0; !err && i < sc->sizes.python_modules; i++)
                err = write_python_module(t, dir, i);
        add(t, "from importlib import import_module\nprint(sum(import_module(f'package_{i // %d}.module_{i}').value for i in range(%u)))\n",
            PYTHON_PACKAGE, sc->sizes.python_modules);
        if (!err)
                err = write_text(t, dir, "main.py");
        if (err)
                return err;
        if (asprintf(&path, "%s/python", sc->source) < 0)
                return -ENOMEM;

        const char *const compile[] = {sc->python, "-m", "compileall", "-q", path, NULL};

        return tool_run(compile) ? -EIO : 0;
}

static int write_c_file(struct text *t, int dir, unsigned i)
{
        for (unsigned h = 0; h < C_HEADERS_EACH; h++)
                add(t, "#include \"header_%u.h\"\n", (i * 7 + h * 3) % C_HEADERS);
        for (unsigned f = 0; f < C_FUNCTIONS; f++)
                add(t,
                    "int file_%u_%u(struct thing_0 *t, int n)\n{\n\tfor (int i = 0; i < n; i++)\n\t\tt->values[i %% 16] += n * %u;\n"
                    "\treturn t->values[n %% 16];\n}\n",
                    i, f, f);
        return write_text(t, dir, "file_%u.c", i);
}

int scene_make_c(struct scene *sc)
{
        CLEANUP_FREE struct text *t = calloc(1, sizeof *t);
        CLEANUP_FD int dir = part(sc->source, "c");
        int err = t ? dir < 0 ? dir : 0 : -ENOMEM;

        for (unsigned h = 0; !err && h < C_HEADERS; h++) {
                add(t, "#pragma once\n%s", h ? "#include \"header_0.h\"\n" : "");
                add(t, "struct thing_%u { int values[16]; struct thing_%u *next; };\n", h, h);
                for (unsigned f = 0; f < C_FUNCTIONS; f++)
                        add(t, "int header_%u_%u(struct thing_%u *t, int n);\n", h, f, h);
                err = write_text(t, dir, "header_%u.h", h);
        }
        for (unsigned i = 0; !err && i < sc->sizes.c_files; i++)
                err = write_c_file(t, dir, i);
        if (err)
                return err;
        add(t, "OBJS := $(patsubst %%.c,$(O)/%%.o,$(wildcard *.c))\n$(O)/lib.a: $(OBJS)\n\tar rcs $@ $^\n"
               "$(O)/%%.o: %%.c\n\tgcc -O1 -MMD -c -o $@ $<\n");
        return write_text(t, dir, "Makefile");
}

/* package.json and its lock are in the source, what they name is in npm's cache: an installation asks nobody. */
int scene_make_npm(struct scene *sc, const char *top)
{
        CLEANUP_FD int dir = part(sc->source, "npm");
        char count[16], files[16];
        char *to;

        if (dir < 0)
                return dir;
        if (asprintf(&to, "%s/npm", sc->source) < 0)
                return -ENOMEM;
        sc->npm = (struct npm_project){.name = "npm", .from = to, .files = (size_t)sc->sizes.npm_packages * sc->sizes.npm_files};
        if (asprintf(&sc->npm_cache, "%s/npm-cache", top) < 0)
                return -ENOMEM;
        snprintf(count, sizeof count, "%u", sc->sizes.npm_packages);
        snprintf(files, sizeof files, "%u", sc->sizes.npm_files);

        const char *const make[] = {"node", "-e", npm_packages_script, to, count, files, NULL};
        const char *const fill[] = {"sh", "-c", "npm cache add --cache \"$1\" \"$0\"/*.tgz && rm \"$0\"/*.tgz", to, sc->npm_cache, NULL};

        return tool_run(make) || tool_run(fill) ? -EIO : 0;
}
