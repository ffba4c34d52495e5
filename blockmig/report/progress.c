// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/report/progress.h"
#include "blockmig/report/json.h"

double bm_report_percent(const struct bm_progress *p)
{
    if (p->bytes_total == 0)
        return 0;
    if (p->bytes_done >= p->bytes_total)
        return 100;
    return 100.0 * (double)p->bytes_done / (double)p->bytes_total;
}

json_object *bm_report_progress(const char *id, const char *phase,
                                const struct bm_progress *p)
{
    json_object *o = bm_report_event("progress", id);

    if (!o)
        return NULL;
    bm_report_add_text(o, "phase", phase);
    json_object_object_add(o, "bytes_done",
                           json_object_new_uint64(p->bytes_done));
    json_object_object_add(o, "bytes_total",
                           json_object_new_uint64(p->bytes_total));
    json_object_object_add(o, "rate", json_object_new_uint64(p->rate));
    json_object_object_add(o, "percent",
                           json_object_new_double(bm_report_percent(p)));
    bm_report_add_number(o, "elapsed_ms", p->elapsed_ms);
    if (p->paused)
        bm_report_add_bool(o, "paused", true);
    if (p->bound_us > 0) {
        json_object_object_add(o, "guest_latency_ms",
                               json_object_new_double(p->latency_us / 1000));
        json_object_object_add(o, "guest_bound_ms",
                               json_object_new_double(p->bound_us / 1000));
    }
    return o;
}
