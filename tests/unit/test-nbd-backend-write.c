// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Writes to NBD exports: unaligned ones where the server takes whole blocks
 * only, and what flushes say once one has failed. And what else such a server
 * must not be asked.
 */
#include "tests/unit/nbd-fixture.h"

#include <errno.h>
#include <pthread.h>

TestSuite(device_nbd_write, .init = fixture_setup, .fini = nbd_teardown);

static const struct bm_open writer = {
    .queues = 2, .connect_ms = 2000, .write = true};

#define SIZE (1 << 20)
#define BLOCK 4096
/* It refuses what is unaligned. */
#define POLICY "exec nbdkit -f -U $PWD/s --filter=blocksize-policy "
#define STRICT                                                                 \
    " blocksize-minimum=4096 blocksize-maximum=64K "                           \
    "blocksize-error-policy=error"

static char model[SIZE];

static void expect_model(unsigned queue)
{
    ok(bm_device_pread(dev, queue, buf, SIZE, 0, &err), err);
    for (size_t i = 0; i < SIZE; i++)
        if (buf[i] != model[i])
            cr_assert_fail("byte %zu is %d, not %d", i, buf[i], model[i]);
}

/* All of it, with bytes that differ from block to block. */
static void fill(void)
{
    for (size_t i = 0; i < SIZE; i++)
        model[i] = (char)(i / 7 + i / BLOCK + 1);
    ok(bm_device_pwrite(dev, 0, model, SIZE, 0, &err), err);
}

static void change(unsigned queue, enum bm_op op, uint64_t offset, uint64_t len)
{
    for (size_t i = 0; i < len; i++)
        buf[i] = (char)random();
    if (op == BM_ZERO)
        memset(buf, 0, len);
    memcpy(model + offset, buf, len);
    ok(do_at(queue, op, offset, len), err);
}

static void change_what_is_unaligned(void)
{
    static const uint64_t cases[][2] = {
        {0, 1},
        {4095, 2},
        {1, 65536},
        {4096, 4097},
        {100, 200000},
        {SIZE - 1, 1},
        {5, 4091},
        {8191, 65538},
        {0, 65537},
        {4096, SIZE - 4097},
        {12345, 54},
        {1, SIZE - 2},
        {SIZE - 5000, 5000},
    };

    must_open(&writer);
    cr_expect_eq(dev->queues, 2);
    fill();
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        change(i % 2, BM_WRITE, cases[i][0], cases[i][1]);
        expect_model(1 - i % 2);
        change(i % 2, BM_ZERO, cases[i][0] / 2, cases[i][1] / 2 + 1);
        expect_model(1 - i % 2);
    }
    ok(bm_device_flush(dev, &err), err);
}

Test(device_nbd_write, ragged_changes_nothing_beside)
{
    serve(POLICY "memory 1M" STRICT);
    change_what_is_unaligned();
    cr_expect(dev->can_zero);
}

Test(device_nbd_write, ragged_where_the_server_cannot_zero)
{
    serve(POLICY "--filter=nozero memory 1M" STRICT);
    change_what_is_unaligned();
}

Test(device_nbd_write, extents_of_what_is_ragged)
{
    static const uint64_t cases[][2] = {
        {0, SIZE}, {1, SIZE - 1}, {0, SIZE - 1}, {40000, 10}, {65000, 30000}};
    struct bm_extent runs[4];
    size_t n;

    serve(POLICY "memory 1M" STRICT);
    must_open(&writer);
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        ok(bm_device_extents(dev, 0, BM_MAP_ZERO, cases[i][0], cases[i][1],
                             runs, 4, &n, &err),
           err);
        cr_expect(n == 1 && runs[0].zero && runs[0].offset == cases[i][0] &&
                  runs[0].length == cases[i][1]);
    }
    buf[0] = 1;
    ok(do_at(0, BM_WRITE, 32768, 1), err); /* memory has pages of 32 KiB */
    ok(bm_device_extents(dev, 0, BM_MAP_ZERO, 100, 100000, runs, 4, &n, &err),
       err);
    cr_expect(n == 3 && !runs[1].zero && runs[1].offset == 32768 &&
              runs[1].length == 32768);
    cr_expect(runs[0].offset == 100 && runs[2].length == 100100 - 65536);
}

/* A recording server. */
#define SCRIBE                                                                 \
    "exec nbdkit -f -U $PWD/s eval get_size='echo 1048576' "                   \
    "block_size='echo 512 512 65536' can_write=true can_zero=true "            \
    "can_flush=true pread='echo read $3 $4 >>'$PWD/log'; "                     \
    "head -c $3 /dev/zero' pwrite='cat >/dev/null; "                           \
    "echo write $3 $4 >>'$PWD/log zero='echo zero $3 $4 >>'$PWD/log "

Test(device_nbd_write, only_ragged_edges_are_read)
{
    serve(SCRIBE);
    must_open(&writer);
    ok(do_at(0, BM_WRITE, 100, 1500), err);
    ok(do_at(0, BM_ZERO, 100000, 100000), err);
    ok(do_at(0, BM_WRITE, 512, 1024), err);
    sh("printf '%%s\\n' 'read 512 0' 'write 512 0' 'write 1024 512' "
       "'read 512 1536' 'write 512 1536' 'read 512 99840' 'write 512 99840' "
       "'zero 99328 100352' 'read 512 199680' 'write 512 199680' "
       "'write 1024 512' | diff - log");
}

/* One of two that share every block, and a neighbour with whole ones. */
struct stripes {
    unsigned queue;
    uint64_t offset;
    size_t len;
    int rc;
};

#define N_STRIPES 60

static void *write_stripes(void *opaque)
{
    struct stripes *s = opaque;
    struct bm_error mine = BM_ERROR_INIT;

    for (size_t i = 0; s->rc == 0 && i < N_STRIPES; i++)
        s->rc =
            bm_device_pwrite(dev, s->queue, model + i * 2 * BLOCK + s->offset,
                             s->len, i * 2 * BLOCK + s->offset, &mine);
    return NULL;
}

Test(device_nbd_write, lanes_that_share_a_block_lose_nothing)
{
    const struct bm_open how = {.queues = 3, .write = true};
    struct stripes stripes[3] = {
        {.queue = 0, .offset = 0, .len = 1000},
        {.queue = 1, .offset = 1000, .len = BLOCK - 1000},
        {.queue = 2, .offset = BLOCK, .len = BLOCK},
    };
    pthread_t threads[3];

    serve(POLICY "--filter=delay memory 1M rdelay=1ms wdelay=1ms" STRICT);
    must_open(&how);
    cr_assert_eq(dev->queues, 3);
    memset(model, 'x', N_STRIPES * 2 * BLOCK);
    for (unsigned i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, write_stripes, &stripes[i]);
    for (unsigned i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        cr_expect_eq(stripes[i].rc, 0);
    }
    expect_model(0);
}

Test(device_nbd_write, ragged_beside_requests_in_flight)
{
    struct bm_request reqs[20];

    serve(POLICY "--filter=delay memory 1M wdelay=20ms" STRICT);
    must_open(&writer);
    memset(model, 'x', 20 * BLOCK);
    for (unsigned i = 0; i < 20; i++) {
        reqs[i] = (struct bm_request){
            .op = BM_WRITE, .buf = model, .len = BLOCK, .offset = i * BLOCK};
        ok(bm_device_submit(dev, 0, &reqs[i], &err), err);
    }
    change(0, BM_WRITE, 20 * BLOCK, 10);
    for (unsigned i = 0; i < 20; i++) {
        ok(bm_device_wait((struct bm_queue[2]){{dev, 0}}, &reqs[i], &err), err);
        cr_expect_eq(reqs[i].error, 0);
    }
    expect_model(1);
}

/* 256 blocks and 100 bytes. */
Test(device_nbd_write, ragged_tail_of_the_export_is_refused)
{
    serve(POLICY "memory 1048676" STRICT);
    must_open(&writer);
    fill();
    cr_expect_eq(do_at(0, BM_WRITE, SIZE, 100), -EINVAL);
    cr_expect_str_eq(err.cause, "its size is 1048676 bytes, but it takes only "
                                "whole blocks of 4096");
    cr_expect_eq(do_at(0, BM_WRITE, SIZE - 1, 2), -EINVAL);
    cr_expect_eq(do_at(0, BM_WRITE, SIZE - BLOCK, BLOCK + 100), -EINVAL);
    cr_expect_eq(do_at(0, BM_ZERO, 0, SIZE + 100), -EINVAL);
    expect_model(0);
    change(0, BM_WRITE, SIZE - 10, 10);
    expect_model(0);
    ok(bm_device_flush(dev, &err), err);
}

Test(device_nbd_write, edge_that_cannot_be_read_is_not_written)
{
    serve(POLICY "--filter=error memory 1M error-pread-rate=1 "
                 "error-file=$PWD/bad" STRICT);
    must_open(&writer);
    fill();
    sh("touch bad");
    cr_expect_eq(do_at(0, BM_WRITE, 1, 2 * BLOCK), -EIO);
    cr_expect_eq(do_at(0, BM_ZERO, 1, 10), -EIO);
    sh("rm bad");
    expect_model(0);
    cr_expect_eq(bm_device_flush(dev, &err), -EIO);
}

Test(device_nbd_write, server_that_dies_within_a_ragged_write)
{
    serve(
        "exec nbdkit -f -U $PWD/s eval get_size='echo 1048576' "
        "block_size='echo 512 512 65536' can_write=true pread='kill -9 $PPID' "
        "pwrite=true");
    must_open(&writer);
    cr_expect_lt(do_at(0, BM_WRITE, 1, 2), 0);
    cr_expect_eq(do_at(0, BM_WRITE, 1, 2), -ENOTCONN);
}

static void expect_flush_fails(int code)
{
    for (unsigned i = 0; i < 2 * dev->queues; i++) {
        err = (struct bm_error)BM_ERROR_INIT;
        cr_expect_eq(dev->ops->flush(dev, i % dev->queues, &err), -code);
        cr_expect_eq(err.code, code);
        cr_expect(strstr(err.what, "cannot flush"), "%s", err.what);
    }
    cr_expect_eq(bm_device_flush(dev, &err), -code);
}

#define LOSSY                                                                  \
    "exec nbdkit -f -U $PWD/s --filter=error memory 1M error-pwrite-rate=1 "   \
    "error-zero-rate=1 error=ENOSPC error-file=$PWD/bad"

Test(device_nbd_write, failed_write_fails_every_later_flush)
{
    serve(LOSSY);
    must_open(&writer);
    ok(do_at(1, BM_WRITE, 0, 512), err);
    ok(bm_device_flush(dev, &err), err);
    sh("touch bad");
    cr_expect_eq(do_at(1, BM_WRITE, 0, 512), -ENOSPC);
    sh("rm bad");
    ok(do_at(1, BM_WRITE, 0, 512), err);
    expect_flush_fails(ENOSPC);
}

Test(device_nbd_write, failed_zeroes_fail_every_later_flush)
{
    serve(LOSSY);
    must_open(&writer);
    sh("touch bad");
    cr_expect_eq(do_at(0, BM_ZERO, 0, 65536), -ENOSPC);
    sh("rm bad");
    expect_flush_fails(ENOSPC);
}

Test(device_nbd_write, write_that_fails_while_a_flush_waits)
{
    struct bm_request req = {.op = BM_WRITE, .buf = buf, .len = 512};

    sh("touch bad");
    serve(LOSSY);
    must_open(&writer);
    ok(bm_device_submit(dev, 0, &req, &err), err);
    while (!req.done) {
        /* whether the first one has to wait for it depends */
        int rc = dev->ops->flush(dev, 0, &err);

        cr_assert(rc == (req.done ? -ENOSPC : 0));
    }
    sh("rm bad");
    expect_flush_fails(ENOSPC);
}

/* It fails once, and says yes ever after. */
Test(device_nbd_write, failed_flush_fails_every_later_one)
{
    sh("touch bad");
    serve(SCRIBE "flush='if rm '$PWD/bad'; then echo ENOSPC >&2; exit 1; fi'");
    must_open(&writer);
    ok(do_at(0, BM_WRITE, 0, 512), err);
    cr_expect_eq(bm_device_flush(dev, &err), -ENOSPC);
    expect_flush_fails(ENOSPC);
    bm_device_close(dev);
    must_open(&writer);
    ok(bm_device_flush(dev, &err), err); /* who opens it anew may begin anew */
}

Test(device_nbd_write, the_first_error_stays)
{
    serve("exec nbdkit -f -U $PWD/s eval get_size='echo 1048576' pread=true "
          "can_write=true can_flush=true pwrite='cat >/dev/null; "
          "if rm '$PWD/bad'; then echo ENOSPC >&2; exit 1; fi' "
          "flush='echo EIO >&2; exit 1'");
    must_open(&writer);
    sh("touch bad");
    cr_expect_eq(do_at(0, BM_WRITE, 0, 512), -ENOSPC);
    expect_flush_fails(ENOSPC);
}

Test(device_nbd_write, failed_reads_fail_no_flush)
{
    serve("exec nbdkit -f -U $PWD/s --filter=error memory 1M "
          "error-pread-rate=1");
    must_open(&writer);
    cr_expect_eq(do_at(0, BM_READ, 0, 512), -EIO);
    ok(bm_device_flush(dev, &err), err);
}
