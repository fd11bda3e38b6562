/*
 * bench-patterns: what it costs to find out which of 200 rules a name goes by.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fs/rules.h"

#define RULES 200
#define ROUNDS 2000000
#define FLOOR_NS 100.0

/* Of this thread: whoever else is on the machine doesn't count. */
static unsigned long long cpu_ns(void)
{
        struct timespec t;

        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
        return (unsigned long long)t.tv_sec * 1000000000ULL + (unsigned long long)t.tv_nsec;
}

static struct rules *make(void)
{
        static char texts[RULES][64];
        static const char *const key[] = {"package-lock.json"};
        struct rule list[RULES] = {0};
        struct rules *r;

        for (int i = 0; i < RULES; i++) {
                static const char *const forms[] = {"generated_%d/", "*.ext%d",  "lms/static/css/part-%d.css",      "**/egg%d.egg-info/",
                                                    "/.dev%d/",      "cov-*-%d", "themes/*/lms/static/css/t%d.css", "name%d"};

                snprintf(texts[i], sizeof(texts[i]), forms[(size_t)i % (sizeof forms / sizeof *forms)], i);
                list[i] = (struct rule){.pattern = texts[i], .route = RULE_ARTIFACT, .keys = key, .key_count = i % 2, .origin = "bench"};
        }
        return rules_new(list, RULES, &r) == 0 ? r : NULL;
}

int main(void)
{
        static const char *const names[] = {"setup.py",     "main.css", "a.ext9",    "part-2.css",
                                            "node_modules", "index.js", "models.py", "x.egg-info"};
        struct rules *r = make();
        const struct pattern_place *places[3];
        static const char *const where[] = {"the root", "lms/static/css", "a place without rules"};
        double worst = 0;

        if (!r)
                return 1;
        places[0] = places[1] = rules_root(r);
        for (char *part = strtok(strdup("lms/static/css"), "/"); part; part = strtok(NULL, "/"))
                places[1] = rules_enter(r, places[1], part, strlen(part));
        places[2] = rules_enter(r, rules_enter(r, places[0], "doc", 3), "x", 1);
        for (size_t w = 0; w < 3; w++) {
                unsigned long long begin = cpu_ns();
                long sum = 0;
                double ns;

                for (int i = 0; i < ROUNDS; i++) {
                        const char *name = names[(size_t)i % (sizeof names / sizeof *names)];

                        sum += rules_find(r, places[w], name, strlen(name), i & 1) != NULL;
                }
                ns = (double)(cpu_ns() - begin) / ROUNDS;
                worst = ns > worst ? ns : worst;
                printf("%-24s %6.1f ns a name (%ld)\n", where[w], ns, sum);
        }
        rules_free(r);
        printf("%s: at most %.0f ns with %d rules\n", worst <= FLOOR_NS ? "ok" : "MISS", FLOOR_NS, RULES);
        return worst <= FLOOR_NS ? 0 : 1;
}
