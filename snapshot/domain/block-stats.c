// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/domain/block-stats.h"

#include "nbd/base/units.h"
#include "snapshot/libvirt/timed-call.h"
#include "snapshot/domain/domain.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct stats_call {
    virDomainPtr dom; /* a reference */
    struct bm_block_stats stats;
    int code;       /* why not, although libvirt answered; 0: none */
    size_t culprit; /* which target that is about; n: the domain */
    size_t n;
    char targets[][32];
};

static void stats_free(void *arg)
{
    struct stats_call *call = arg;

    virDomainFree(call->dom);
    free(call);
}

/* "block.1.rd.reqs" and the like; false: libvirt did not say. */
static bool counter(const virDomainStatsRecord *record, unsigned disk,
                    const char *kind, const char *what, uint64_t *sum)
{
    unsigned long long value = 0;
    char name[64];

    snprintf(name, sizeof name, "block.%u.%s.%s", disk, kind, what);
    if (virTypedParamsGetULLong(record->params, record->nparams, name, &value) <
        1)
        return false;
    *sum += value;
    return true;
}

static bool add_count(const virDomainStatsRecord *record, unsigned disk,
                      const char *kind, struct bm_block_count *count)
{
    /* a flush has no bytes */
    (void)counter(record, disk, kind, "bytes", &count->bytes);
    return counter(record, disk, kind, "reqs", &count->requests) &&
           counter(record, disk, kind, "times", &count->ns);
}

static int disk_index(const virDomainStatsRecord *record, const char *target)
{
    const char *found;
    char name[64];

    for (int i = 0;; i++) {
        snprintf(name, sizeof name, "block.%d.name", i);
        if (virTypedParamsGetString(record->params, record->nparams, name,
                                    &found) < 1)
            return -1;
        if (strcmp(found, target) == 0)
            return i;
    }
}

static int add_disk(const virDomainStatsRecord *record, const char *target,
                    struct bm_block_stats *stats)
{
    int disk = disk_index(record, target);

    if (disk < 0)
        return ENOENT;
    /* names are in the XML, counters in QEMU: those that it could not ask
     * for are left out */
    return add_count(record, disk, "rd", &stats->read) &&
                   add_count(record, disk, "wr", &stats->write) &&
                   add_count(record, disk, "fl", &stats->flush)
               ? 0
               : EBUSY;
}

static int add_disks(struct stats_call *call,
                     const virDomainStatsRecord *record)
{
    struct bm_block_stats *stats = &call->stats;

    /* of the record, since the handle's own id is as old as the handle */
    stats->domain_id = (int)virDomainGetID(record->dom);
    stats->time_ms = bm_now_ms();
    if (stats->domain_id < 0)
        return ENOENT;
    for (size_t i = 0; i < call->n; i++) {
        int code = add_disk(record, call->targets[i], stats);

        if (code) {
            call->culprit = i;
            return code;
        }
    }
    return 0;
}

static int stats_fn(void *arg)
{
    struct stats_call *call = arg;
    virDomainPtr list[] = {call->dom, NULL};
    virDomainStatsRecordPtr *records = NULL;
    int n = virDomainListGetStats(list, VIR_DOMAIN_STATS_BLOCK, &records,
                                  VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT);

    if (n < 0)
        return -1;
    call->culprit = call->n;
    call->code = n == 1 ? add_disks(call, records[0]) : ENOENT;
    virDomainStatsRecordListFree(records);
    return 0;
}

static struct stats_call *stats_call_new(const struct bm_domain *domain,
                                         const char *const targets[], size_t n)
{
    struct stats_call *call =
        calloc(1, sizeof *call + n * sizeof *call->targets);

    if (!call)
        return NULL;
    virDomainRef(domain->dom);
    call->dom = domain->dom;
    call->n = n;
    for (size_t i = 0; i < n; i++)
        snprintf(call->targets[i], sizeof call->targets[i], "%s", targets[i]);
    return call;
}

static int refused(const struct stats_call *call, const char *what,
                   struct bm_error *err)
{
    bm_fail(err, call->code, "%s", what);
    if (call->code == EBUSY)
        return bm_cause(err, "another job has the domain"), -EBUSY;
    if (call->culprit == call->n)
        return bm_cause(err, "it does not run"), -ENOENT;
    bm_cause(err, "it has no disk %s", call->targets[call->culprit]);
    return -ENOENT;
}

int bm_block_stats_read(struct bm_domain *domain, const char *const targets[],
                        size_t n, int timeout_ms, struct bm_block_stats *out,
                        struct bm_error *err)
{
    struct stats_call *call = stats_call_new(domain, targets, n);
    char what[300];
    int rc;

    snprintf(what, sizeof what, "cannot read the I/O counters of %s",
             domain->name);
    if (!call)
        return bm_fail_errno(err, ENOMEM, "%s", what);
    rc = bm_call(what, timeout_ms, stats_fn, call, stats_free, err);
    if (rc == -ETIMEDOUT)
        return rc;
    if (!rc && call->code)
        rc = refused(call, what, err);
    if (!rc)
        *out = call->stats;
    stats_free(call);
    return rc;
}

/* --- the difference of two --- */

static bool is_behind(const struct bm_block_count *newer,
                      const struct bm_block_count *older)
{
    return newer->requests < older->requests || newer->bytes < older->bytes ||
           newer->ns < older->ns;
}

static uint64_t requests(const struct bm_block_stats *stats)
{
    return stats->read.requests + stats->write.requests + stats->flush.requests;
}

static uint64_t total_ns(const struct bm_block_stats *stats)
{
    return stats->read.ns + stats->write.ns + stats->flush.ns;
}

int bm_block_stats_diff(const struct bm_block_stats *older,
                        const struct bm_block_stats *newer,
                        struct bm_block_sample *out)
{
    int64_t ms = newer->time_ms - older->time_ms;
    uint64_t n = requests(newer) - requests(older);

    if (ms <= 0 || newer->domain_id != older->domain_id ||
        is_behind(&newer->read, &older->read) ||
        is_behind(&newer->write, &older->write) ||
        is_behind(&newer->flush, &older->flush))
        return -ERANGE;
    *out = (struct bm_block_sample){
        .ms = ms,
        .requests = n,
        .write_rate = (newer->write.bytes - older->write.bytes) * 1000 / ms,
    };
    if (n)
        out->latency_us =
            (double)(total_ns(newer) - total_ns(older)) / 1e3 / (double)n;
    return 0;
}
