#include "sync/agent/figures.h"

#include "sync/agent/agent.h"

#define FRESH_NS 60000000000ULL
#define NS_PER_S 1e9

void figures_init(struct figures *f)
{
        mutex_init(&f->lock);
}

void figures_stale(struct figures *f)
{
        mutex_lock(&f->lock);
        f->stale = true;
        mutex_unlock(&f->lock);
}

/* Worker thread. */
static void count(uv_work_t *w)
{
        struct agent *a = w->data;
        struct artifacts_figures figures;
        int rc;

        mutex_lock(&a->figures.lock);
        a->figures.stale = false;
        mutex_unlock(&a->figures.lock);
        artifacts_sweep(a->overlay);
        rc = artifacts_sum(a->overlay, &figures);
        mutex_lock(&a->figures.lock);
        if (rc == 0)
                a->figures.last = figures;
        a->figures.known = a->figures.known || rc == 0;
        a->figures.counted_ns = clock_now_ns();
        mutex_unlock(&a->figures.lock);
}

static void counted(uv_work_t *w, int status)
{
        struct agent *a = w->data;

        (void)status;
        a->figures.counting = false;
}

void figures_look(struct agent *a)
{
        struct figures *f = &a->figures;
        bool due;

        mutex_lock(&f->lock);
        due = !f->counted_ns || f->stale || clock_now_ns() - f->counted_ns > FRESH_NS;
        mutex_unlock(&f->lock);
        if (!a->overlay || f->counting || !due)
                return;
        f->work.data = a;
        f->counting = uv_queue_work(&a->loop, &f->work, count, counted) == 0;
}

static json_t *number(bool known, uint64_t n)
{
        return known ? json_integer((json_int_t)n) : json_null();
}

json_t *figures_json(struct agent *a)
{
        struct figures *f = &a->figures;
        struct artifacts_figures last;
        size_t rules = 0;
        double age;
        bool known;

        if (!a->overlay)
                return json_null();
        figures_look(a);
        mutex_lock(&f->lock);
        last = f->last;
        known = f->known;
        age = (double)(clock_now_ns() - f->counted_ns) / NS_PER_S;
        mutex_unlock(&f->lock);
        (void)rules_list(overlay_rules(a->overlay), &rules);
        return json_pack("{s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "rules", (json_int_t)rules, "roots", number(known, last.roots),
                         "generations", number(known, last.generations), "bytes", number(known, last.bytes), "shadowed",
                         number(known, last.shadowed), "orphans", number(known, last.orphans), "snapshots", number(known, last.snapshots),
                         "seconds_old", known ? json_real(age) : json_null());
}
