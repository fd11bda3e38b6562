/* A list of git's patterns may be anything: it makes as many rules for its directory as for the whole, which can be compiled. The first
 * byte says how deep the directory is; its name is full of what means something in patterns. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "sync/agent/ignore_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Once below the directory: what is said by "!" in the one is said by the route in the other. */
static void compare(const struct rule_list *own, const struct rule_list *whole, const char *dir)
{
        const struct rule_list *first[] = {own}, *second[] = {whole};
        struct rules *near, *far;
        static const char *const names[] = {"a", "a.o", "build", "!x", "[a", "\\"};

        if (own->count != whole->count || rule_list_compile(first, 1, &near) || rule_list_compile(second, 1, &far) ||
            rules_move_root(far, dir))
                abort();
        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                for (int is_dir = 0; is_dir < 2; is_dir++) {
                        const struct rule *n = rules_find(near, rules_root(near), names[i], strlen(names[i]), is_dir);
                        const struct rule *f = rules_find(far, rules_root(far), names[i], strlen(names[i]), is_dir);

                        if ((n && n->route == RULE_ARTIFACT) != (f && f->route == RULE_ARTIFACT))
                                abort();
                }
        }
        rules_free(near);
        rules_free(far);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const char *const dirs[] = {"", "a", "a*/[b]", "\\/!c/d"};
        const char *dir = dirs[size ? data[0] % ARRAY_LEN(dirs) : 0];
        struct rule_list own = {0}, whole = {0};
        int fd = memfd_create("list", MFD_CLOEXEC);

        if (fd < 0 || (size > 1 && fd_write_full(fd, data + 1, size - 1)))
                abort();
        if (ignore_read(AT_FDCWD, fd_proc_path(fd).text, true, dir, "x", &own, &whole))
                abort();
        compare(&own, &whole, dir);
        rule_list_release(&own);
        rule_list_release(&whole);
        close(fd);
        return 0;
}
