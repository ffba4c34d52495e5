// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/copy/pipeline.h"

#include "nbd/base/units.h"
#include "tests/unit/file-fixture.h"

#include <time.h>

TestSuite(pipeline, .init = fixture_setup, .fini = fixture_teardown);

static int seen(void *opaque, unsigned queue, struct bm_piece *piece,
                struct bm_error *err)
{
    (void)opaque, (void)queue, (void)piece, (void)err;
    return 0;
}

static int64_t cpu_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return bm_nanoseconds(&ts);
}

/* The time that it has the CPU is part of the time that it works: a busy
 * machine only makes the whole longer. */
Test(pipeline, it_rests_as_long_as_it_works)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_rate_limit *rate_limit = bm_rate_limit_new(0);
    struct bm_device *dev;
    int64_t worked, passed;

    sh("head -c 32M /dev/urandom >disk");
    dev = must_open("disk", &(struct bm_open){.format = "raw", .queues = 1});
    bm_rate_limit_set_request(rate_limit, 128 << 10);
    bm_rate_limit_set_rest(rate_limit, 1);
    worked = -cpu_ns();
    passed = -bm_now_ns();
    ok(bm_pipeline_run(&(struct bm_pipeline){.source = dev,
                                             .digest = bm_digest_sha256,
                                             .rate_limit = rate_limit,
                                             .data = seen},
                       &err),
       err);
    worked += cpu_ns();
    passed += bm_now_ns();
    cr_expect_gt(passed, worked * 9 / 5, "%g ms for %g ms of work",
                 (double)passed / 1e6, (double)worked / 1e6);
    bm_device_close(dev);
    bm_rate_limit_free(rate_limit);
}
