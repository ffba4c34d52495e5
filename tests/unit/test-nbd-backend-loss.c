// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* Servers that go away, come back, or hang. */
#include "tests/unit/nbd-fixture.h"

#include <errno.h>
#include <signal.h>

TestSuite(device_nbd_loss, .init = fixture_setup, .fini = nbd_teardown);

static const struct bm_open reader = {
    .queues = 1, .connect_ms = 2000, .progress_ms = 2000};

static void kill_server(void)
{
    bm_process_end(&server, 0);
    (void)unlink("s");
}

#define SLOW "exec nbdkit -f -U $PWD/s --filter=delay pattern 1M rdelay=200ms"
#define QUICK "exec nbdkit -f -U $PWD/s pattern 1M"

Test(device_nbd_loss, reads_go_on_at_the_restarted_server)
{
    struct bm_request reqs[40];

    serve(SLOW);
    must_open(&reader);
    for (unsigned i = 0; i < 40; i++) {
        reqs[i] = (struct bm_request){
            .buf = buf + (i << 14), .len = 1 << 14, .offset = i << 14};
        ok(bm_device_submit(dev, 0, &reqs[i], &err), err);
    }
    kill_server();
    serve(QUICK);
    for (unsigned i = 0; i < 40; i++) {
        ok(bm_device_wait((struct bm_queue[2]){{dev, 0}}, &reqs[i], &err), err);
        cr_expect_eq(reqs[i].error, 0);
    }
    expect_pattern(0, 40 << 14);
}

Test(device_nbd_loss, idle_lanes_connect_again_when_asked)
{
    const struct bm_open how = {.queues = 2, .connect_ms = 2000};

    serve(QUICK);
    must_open(&how);
    kill_server();
    serve(QUICK);
    for (unsigned i = 0; i < 2; i++) {
        ok(bm_device_pread(dev, i, buf, 65536, 4096, &err), err);
        expect_pattern(4096, 65536);
    }
}

Test(device_nbd_loss, extents_go_on_too)
{
    struct bm_extent runs[4];
    size_t n;

    serve("exec nbdkit -f -U $PWD/s memory 1M");
    must_open(&reader);
    kill_server();
    serve("exec nbdkit -f -U $PWD/s memory 1M");
    ok(bm_device_extents(dev, 0, BM_MAP_ZERO, 0, 1 << 20, runs, 4, &n, &err),
       err);
    cr_expect(n == 1 && runs[0].zero && runs[0].length == 1 << 20);
}

Test(device_nbd_loss, server_that_breaks_off_time_and_again)
{
    /* it dies at every other read */
    serve("while :; do nbdkit --exit-with-parent -f -U $PWD/s eval "
          "get_size='echo 1048576' "
          "pread='if rm '$PWD/odd'; then head -c $3 /dev/zero; "
          "else touch '$PWD/odd'; kill -9 $PPID; fi'; rm -f s; done");
    must_open(&reader);
    for (unsigned i = 0; i < 3; i++) {
        memset(buf, 'x', 4096);
        ok(bm_device_pread(dev, 0, buf, 4096, 4096, &err), err);
        cr_expect_eq(buf[4095], 0);
    }
}

Test(device_nbd_loss, server_that_never_answers_again_is_given_up)
{
    /* it shakes hands each time and dies at each read */
    serve("while :; do nbdkit --exit-with-parent -f -U $PWD/s eval "
          "get_size='echo 1048576' "
          "pread='echo >>'$PWD/log'; kill -9 $PPID; sleep 9'; rm -f s; done");
    must_open(&reader);
    cr_expect_lt(bm_device_pread(dev, 0, buf, 512, 0, &err), 0);
    cr_expect_leq(atoi(fixture_word("wc -l <log")), 6);
}

Test(device_nbd_loss, changed_size_is_an_error)
{
    serve(QUICK);
    must_open(&reader);
    kill_server();
    serve("exec nbdkit -f -U $PWD/s pattern 2M");
    cr_expect_eq(bm_device_pread(dev, 0, buf, 512, 0, &err), -EIO);
    cr_expect(strstr(err.cause, "changed its size"), "%s", err.cause);
    cr_expect_eq(bm_device_pread(dev, 0, buf, 512, 0, &err), -ENOTCONN);
}

Test(device_nbd_loss, server_that_stays_away)
{
    const struct bm_open how = {.queues = 1, .connect_ms = 300};
    int64_t start;

    serve(QUICK);
    must_open(&how);
    kill_server();
    start = bm_now_ms();
    cr_expect_lt(bm_device_pread(dev, 0, buf, 512, 0, &err), 0);
    cr_expect(strstr(err.what, "lost the connection"), "%s", err.what);
    cr_expect_neq(err.cause[0], '\0');
    cr_expect_lt(bm_now_ms() - start, 1000);
}

Test(device_nbd_loss, hung_server_is_a_timeout)
{
    const struct bm_open how = {
        .queues = 1, .connect_ms = 300, .progress_ms = 200};
    int64_t start;

    serve(QUICK);
    must_open(&how);
    stop(server.pid);
    start = bm_now_ms();
    cr_expect_eq(bm_device_pread(dev, 0, buf, 512, 0, &err), -ETIMEDOUT);
    cr_expect_lt(bm_now_ms() - start, 1000);
    kill(server.pid, SIGCONT);
}

Test(device_nbd_loss, hung_connection_is_made_again)
{
    const struct bm_open how = {
        .queues = 1, .connect_ms = 2000, .progress_ms = 200};

    /* only the first read of all hangs */
    serve("exec nbdkit -f -U $PWD/s eval get_size='echo 1048576' "
          "pread='test -e '$PWD/hung' || { touch '$PWD/hung'; sleep 1; }; "
          "head -c $3 /dev/zero'");
    must_open(&how);
    memset(buf, 'x', 512);
    ok(bm_device_pread(dev, 0, buf, 512, 0, &err), err);
    cr_expect_eq(buf[511], 0);
}

Test(device_nbd_loss, server_that_shuts_down_has_no_bad_sectors)
{
    const struct bm_open how = {.queues = 1, .connect_ms = 300};

    serve("exec nbdkit -f -U $PWD/s --filter=error pattern 1M "
          "error=ESHUTDOWN error-pread-rate=100%");
    must_open(&how);
    cr_expect_lt(do_at(0, BM_READ, 0, 512), 0);
    cr_expect_eq(do_at(0, BM_READ, 0, 512), -ENOTCONN);
}

Test(device_nbd_loss, writers_lane_is_lost_for_good)
{
    const struct bm_open how = {.queues = 1, .connect_ms = 2000, .write = true};
    struct bm_request reqs[2] = {
        {.op = BM_WRITE, .buf = buf, .len = 512},
        {.op = BM_WRITE, .buf = buf, .len = 512, .offset = 512},
    };

    serve("exec nbdkit -f -U $PWD/s --filter=delay memory 1M wdelay=2");
    must_open(&how);
    for (int i = 0; i < 2; i++)
        ok(bm_device_submit(dev, 0, &reqs[i], &err), err);
    kill_server();
    serve("exec nbdkit -f -U $PWD/s memory 1M");
    cr_expect_lt(bm_device_wait((struct bm_queue[2]){{dev, 0}}, &reqs[0], &err),
                 0);
    for (int i = 0; i < 2; i++)
        cr_expect(reqs[i].done && reqs[i].error == ENOTCONN);
    cr_expect_eq(do_at(0, BM_WRITE, 0, 512), -ENOTCONN);
    cr_expect_lt(bm_device_flush(dev, &err), 0);
}
