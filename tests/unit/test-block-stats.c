// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Counters and their differences; and what a real QEMU counts, in a lab whose
 * guest does just the I/O that it is told to.
 */
#include "nbd/base/units.h"
#include "snapshot/domain/block-stats.h"
#include "snapshot/domain/domain.h"
#include "tests/unit/fixture.h"

#include <errno.h>

/* --- the difference of two readings --- */

static const struct bm_block_stats older = {
    .time_ms = 1000,
    .domain_id = 7,
    .read = {10, 40960, 5000000},
    .write = {20, 81920, 9000000},
    .flush = {2, 0, 1000000},
};

static int diff(const struct bm_block_stats *newer, struct bm_block_sample *out)
{
    return bm_block_stats_diff(&older, newer, out);
}

Test(sample, all_io_is_one_mean)
{
    struct bm_block_stats newer = older;
    struct bm_block_sample sample;

    newer.time_ms = 1500;
    newer.read.requests += 4, newer.read.ns += 400000;
    newer.write.requests += 5, newer.write.ns += 600000;
    newer.write.bytes += 1000000;
    newer.flush.requests += 1, newer.flush.ns += 9000000;
    cr_assert_eq(diff(&newer, &sample), 0);
    cr_expect_eq(sample.ms, 500);
    cr_expect_eq(sample.requests, 10);
    cr_expect_float_eq(sample.latency_us, 1000, 1e-9);
    cr_expect_eq(sample.write_rate, 2000000);
}

Test(sample, no_io_has_no_latency)
{
    struct bm_block_stats newer = older;
    struct bm_block_sample sample;

    newer.time_ms += 500;
    cr_assert_eq(diff(&newer, &sample), 0);
    cr_expect_eq(sample.requests, 0);
    cr_expect_eq(sample.latency_us, 0);
    cr_expect_eq(sample.write_rate, 0);
}

Test(sample, without_time_there_is_none)
{
    struct bm_block_sample sample;

    cr_expect_eq(diff(&older, &sample), -ERANGE);
}

/* Any one of the counters: the others may have passed their old values. */
Test(sample, a_counter_that_went_back_gives_none)
{
    uint64_t *counters[9];
    struct bm_block_stats newer = older;
    struct bm_block_count *kinds[] = {&newer.read, &newer.write, &newer.flush};
    struct bm_block_sample sample;

    newer.time_ms += 500;
    newer.flush.bytes = 0;
    for (int i = 0; i < 3; i++) {
        counters[3 * i] = &kinds[i]->requests;
        counters[3 * i + 1] = &kinds[i]->ns;
        counters[3 * i + 2] = &kinds[i]->bytes;
    }
    for (int i = 0; i < 8; i++) { /* but for the bytes of a flush */
        *counters[i] -= 1;
        cr_expect_eq(diff(&newer, &sample), -ERANGE, "counter %d", i);
        *counters[i] += 1;
    }
    cr_expect_eq(diff(&newer, &sample), 0);
}

Test(sample, another_run_of_the_guest_gives_none)
{
    struct bm_block_stats newer = older;
    struct bm_block_sample sample;

    newer.time_ms += 500;
    newer.domain_id++;
    newer.read.requests += 100;
    cr_expect_eq(diff(&newer, &sample), -ERANGE);
}

/* --- libvirt's own test driver, which has no counters --- */

Test(stats, a_disk_without_counters_is_not_there)
{
    struct bm_connection *test = NULL;
    struct bm_domain *dom = NULL;
    struct bm_error err = BM_ERROR_INIT;
    const char *const disk[] = {"vda"};
    struct bm_block_stats stats = {.domain_id = 7};

    ok(bm_connection_open("test:///default", &test, &err), err);
    ok(bm_domain_open(test, "test", &dom, &err), err);
    cr_expect_eq(bm_block_stats_read(dom, disk, 1, 5000, &stats, &err),
                 -ENOENT);
    cr_expect_not_null(strstr(err.cause, "no disk vda"));
    cr_expect_eq(stats.domain_id, 7);
    bm_domain_free(dom);
    bm_connection_close(test);
}

/* --- a real guest, which has no system and does I/O when told --- */

#define LAB "LAB_OWNER=%d tests/lab/lab"
#define VIRSH LAB " run %s virsh -q "

static char lab[] = "/tmp/bm.XXXXXX";
static struct bm_connection *conn;
static struct bm_domain *domain;

static void open_lab(void)
{
    struct bm_error err = BM_ERROR_INIT;
    char uri[128];

    cr_assert_not_null(mkdtemp(lab));
    sh(LAB " start %s", getpid(), lab);
    sh(LAB " define %s io --disk size=16M --disk size=16M,format=qcow2",
       getpid(), lab);
    sh(VIRSH "start io", getpid(), lab);
    snprintf(uri, sizeof uri,
             "qemu+unix:///session?socket=%s/run/libvirt/libvirt-sock", lab);
    ok(bm_connection_open(uri, &conn, &err), err);
    ok(bm_domain_open(conn, "io", &domain, &err), err);
}

static void close_lab(void)
{
    bm_domain_free(domain);
    bm_connection_close(conn);
    cr_expect_eq(fixture_status(LAB " stop %s", getpid(), lab), 0);
}

/* Only its asynchronous commands does qemu-io count, as a device does. */
static void guest_io(int disk, const char *command)
{
    sh(VIRSH "qemu-monitor-command io --hmp 'qemu-io -d "
             "/machine/peripheral/virtio-disk%d/virtio-backend \"%s\"' "
             ">%s/said",
       getpid(), lab, disk, command, lab);
}

static struct bm_block_stats reading(const char *const disks[], size_t n)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_block_stats stats;

    ok(bm_block_stats_read(domain, disks, n, 20000, &stats, &err), err);
    return stats;
}

static const char *const both[] = {"vdb", "vda"};

static void check_io(void)
{
    struct bm_block_stats a = reading(both, 2), b;
    struct bm_block_sample sample;

    for (int i = 0; i < 4; i++)
        guest_io(0, "aio_write -q 1M 64k");
    guest_io(1, "aio_write -q 2M 4k");
    guest_io(1, "aio_read -q 2M 8k");
    guest_io(1, "aio_flush");
    b = reading(both, 2);
    cr_expect_eq(b.write.requests - a.write.requests, 5);
    cr_expect_eq(b.write.bytes - a.write.bytes, 4 * 65536 + 4096);
    cr_expect_eq(b.read.requests - a.read.requests, 1);
    cr_expect_eq(b.read.bytes - a.read.bytes, 8192);
    cr_assert_eq(bm_block_stats_diff(&a, &b, &sample), 0);
    cr_expect_geq(sample.requests, 6);
    cr_expect_gt(sample.latency_us, 1);
    cr_expect_lt(sample.latency_us, 5e6);
    cr_expect_gt(sample.write_rate, 0);
}

static void check_sums(void)
{
    struct bm_block_stats all = reading(both, 2);
    struct bm_block_stats vdb = reading(both, 1), vda = reading(both + 1, 1);

    cr_expect_eq(vda.write.requests, 4);
    cr_expect_eq(vdb.write.requests, 1);
    cr_expect_eq(all.write.requests, 5);
    cr_expect_eq(all.read.ns, vda.read.ns + vdb.read.ns);
}

/* Layers come and go below the device that is counted. */
static void check_snapshot(void)
{
    struct bm_block_stats a = reading(both, 2), b;
    struct bm_block_sample sample;

    sh(VIRSH "snapshot-create-as io s --disk-only --no-metadata "
             "--diskspec vda,file=%s/ds1/over.qcow2 >%s/said",
       getpid(), lab, lab, lab);
    b = reading(both, 2);
    cr_expect_eq(bm_block_stats_diff(&a, &b, &sample), 0);
    cr_expect_eq(sample.requests, 0);
}

static void check_end(void)
{
    const char *const none[] = {"vda", "vdz"};
    struct bm_block_stats a = reading(both, 2), b;
    struct bm_block_sample sample;
    struct bm_error err = BM_ERROR_INIT;

    cr_expect_eq(bm_block_stats_read(domain, none, 2, 20000, &b, &err),
                 -ENOENT);
    cr_expect_not_null(strstr(err.cause, "vdz"));
    sh(VIRSH "destroy io", getpid(), lab);
    cr_expect_eq(bm_block_stats_read(domain, both, 2, 20000, &b, &err),
                 -ENOENT);
    cr_expect_not_null(strstr(err.cause, "not run"));
    sh(VIRSH "start io", getpid(), lab);
    b = reading(both, 2);
    cr_expect_eq(bm_block_stats_diff(&a, &b, &sample), -ERANGE);
}

/* One lab for all, since each takes two seconds. */
Test(stats, a_real_guest_is_counted, .init = open_lab, .fini = close_lab,
     .timeout = 120)
{
    check_io();
    check_sums();
    check_snapshot();
    check_end();
}
