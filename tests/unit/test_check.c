#include "tests/unit/cache_case.h"

#include "cache/base/fd.h"
#include "cache/check.h"

#define PAGE 4096U
#define META_LAST_TXN 144U /* in a meta's page: the transaction number */
#define FILES 400

TestSuite(check, .init = setup, .fini = teardown, .timeout = SECONDS);

/* A memory with branches and with free pages. */
static char *make_data(size_t *size)
{
        struct cache *c = open_memory(dir, CACHE_FRESH);
        char *bytes;
        ssize_t n;

        for (int i = 0; i < FILES; i++)
                put_text(at(src, "file%d", i), "x");
        scan(c);
        for (int i = 0; i < FILES; i += 2) {
                must(unlink(at(src, "file%d", i)) == 0, "unlink");
                update(c, at("", "file%d", i) + 1);
        }
        cache_close(c);
        n = fd_read_file(AT_FDCWD, at(dir, "data.mdb"), 1U << 24, &bytes);
        must(n > 0, "data.mdb");
        *size = (size_t)n;
        return bytes;
}

Test(check, a_memory_that_was_closed_is_whole)
{
        size_t size;
        char *bytes = make_data(&size);

        cr_assert_null(check_lmdb(bytes, size));
        free(bytes);
}

Test(check, what_is_cut_off_is_not)
{
        size_t size;
        char *bytes = make_data(&size);

        for (size_t n = 0; n < 4 * PAGE; n += 97)
                cr_assert_not_null(check_lmdb(bytes, n), "%zu bytes", n);
        free(bytes);
}

/* LMDB finds the meta of a transaction by whether its number is odd. */
Test(check, metas_are_of_two_transactions_one_after_the_other)
{
        size_t size;
        char *bytes = make_data(&size);
        uint64_t txn[2], changed;

        for (int i = 0; i < 2; i++)
                memcpy(&txn[i], bytes + i * PAGE + META_LAST_TXN, sizeof(txn[i]));
        cr_assert(txn[0] + 1 == txn[1] || txn[1] + 1 == txn[0], "%lu %lu: the test looks elsewhere", txn[0], txn[1]);
        for (uint64_t more = 1; more < 5; more++) {
                changed = (txn[0] > txn[1] ? txn[0] : txn[1]) + more;
                memcpy(bytes + PAGE + META_LAST_TXN, &changed, sizeof(changed));
                cr_assert_not_null(check_lmdb(bytes, size), "%lu", more);
        }
        free(bytes);
}

Test(check, nodes_lie_side_by_side)
{
        size_t size, tried = 0;
        char *bytes = make_data(&size);

        for (size_t page = 2; page < size / PAGE; page++) {
                char *p = bytes + page * PAGE;
                uint16_t flags, lower, first, second;

                memcpy(&flags, p + 10, sizeof(flags));
                memcpy(&lower, p + 12, sizeof(lower));
                if (flags != 2 || lower < 20)
                        continue;
                memcpy(&first, p + 16, sizeof(first));
                memcpy(&second, p + 18, sizeof(second));
                memcpy(p + 18, &first, sizeof(first));
                /* A page that isn't used may say anything. */
                tried += check_lmdb(bytes, size) != NULL;
                memcpy(p + 18, &second, sizeof(second));
        }
        cr_assert_gt(tried, 1);
        cr_assert_null(check_lmdb(bytes, size));
        free(bytes);
}
