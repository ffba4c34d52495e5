// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* NBD exports by URI: nbdkit and qemu-nbd are the servers. */
#include "tests/unit/nbd-fixture.h"

#include <errno.h>
#include <netdb.h>

/* libnbd's: a name server that has gone. */
__attribute__((visibility("default"))) int
getaddrinfo(const char *restrict node, const char *restrict service,
            const struct addrinfo *restrict hints,
            struct addrinfo **restrict out)
{
    bm_sleep_ms(500);
    return EAI_AGAIN;
}

TestSuite(device_nbd, .init = fixture_setup, .fini = nbd_teardown);

static const struct bm_open reader = {.queues = 1, .connect_ms = 2000};
static const struct bm_open writer = {
    .queues = 4, .connect_ms = 2000, .write = true};

Test(device_nbd, reads)
{
    serve("exec nbdkit -f -U $PWD/s pattern 1M");
    must_open(&reader);
    cr_expect_eq(dev->size, 1 << 20);
    cr_expect_eq(dev->chunk, 256 << 10);
    cr_expect_eq(dev->sector, 512);
    cr_expect_str_eq(dev->medium, "server");
    cr_expect(!dev->writable && !dev->local && !dev->zeroed);
    ok(bm_device_pread(dev, 0, buf, 1000000, 4321, &err), err);
    expect_pattern(4321, 1000000);
}

Test(device_nbd, several_lanes)
{
    struct bm_open how = {.queues = 3};

    serve("exec nbdkit -f -U $PWD/s pattern 1M");
    must_open(&how);
    cr_expect_eq(dev->queues, 3);
    for (unsigned i = 0; i < 3; i++) {
        ok(bm_device_pread(dev, i, buf, 65536, i << 16, &err), err);
        expect_pattern(i << 16, 65536);
    }
}

Test(device_nbd, one_lane_without_multi_conn)
{
    struct bm_open how = {.queues = 3};

    serve("exec nbdkit -f -U $PWD/s --filter=multi-conn pattern 1M "
          "multi-conn-mode=disable");
    must_open(&how);
    cr_expect_eq(dev->queues, 1);
}

Test(device_nbd, fewer_lanes_where_the_server_takes_no_more)
{
    struct bm_open how = {.queues = 4};

    serve("exec nbdkit -f -U $PWD/s --filter=limit pattern 1M limit=2");
    must_open(&how);
    cr_expect_eq(dev->queues, 2);
    ok(bm_device_pread(dev, 1, buf, 512, 0, &err), err);
}

Test(device_nbd, fewer_lanes_where_the_server_lets_them_wait)
{
    struct bm_open how = {.queues = 4, .connect_ms = 800};
    int64_t start = bm_now_ms();

    sh("truncate -s 1M disk");
    serve("exec qemu-nbd -r -e 2 -f raw -k $PWD/s disk");
    must_open(&how);
    cr_expect_eq(dev->queues, 2);
    cr_expect_lt(bm_now_ms() - start, 1500);
}

Test(device_nbd, writes_by_several_lanes_and_reads_back)
{
    sh("qemu-img create -q -f qcow2 disk 64M");
    serve("exec qemu-nbd -e 0 -f qcow2 --discard=unmap -k $PWD/s disk");
    must_open(&writer);
    cr_expect_eq(dev->queues, 4);
    cr_expect(dev->can_zero);
    memset(buf, 'x', sizeof buf);
    for (unsigned i = 0; i < 4; i++)
        ok(bm_device_pwrite(dev, i, buf, sizeof buf, i << 20, &err), err);
    ok(do_at(3, BM_ZERO, 1 << 20, 1 << 20), err);
    ok(bm_device_flush(dev, &err), err);
    bm_device_close(dev);
    dev = NULL;
    bm_process_end(&server, 2000);
    sh("head -c 4M /dev/zero | tr '\\0' x >want && "
       "truncate -s 64M want && dd if=/dev/zero of=want bs=1M seek=1 count=1 "
       "conv=notrunc status=none && qemu-img compare -q -f qcow2 -F raw disk "
       "want");
}

Test(device_nbd, read_only_server_is_erofs_for_a_writer)
{
    serve("exec nbdkit -f -r -U $PWD/s memory 1M");
    cr_expect_eq(bm_device_nbd_open(uri(), &writer, &dev, &err), -EROFS);
    cr_expect(strstr(err.cause, "reading only"));
}

Test(device_nbd, full_server_is_enospc)
{
    serve("exec nbdkit -f -U $PWD/s full 1M");
    must_open(&writer);
    cr_expect_eq(do_at(0, BM_WRITE, 0, 512), -ENOSPC);
    cr_expect_eq(do_at(0, BM_WRITE, 0, 512), -ENOSPC, "the lane lives");
}

Test(device_nbd, dirty_map_of_a_server)
{
    const struct bm_open how = {.queues = 1, .dirty = "b0"};
    struct bm_extent runs[8];
    size_t n;

    sh("qemu-img create -q -f qcow2 disk 4M && "
       "qemu-img bitmap --add -g 64k -f qcow2 disk b0 && "
       "qemu-io -f qcow2 -c 'write 2M 64k' disk >/dev/null");
    serve("exec qemu-nbd -r -B b0 -f qcow2 -k $PWD/s disk");
    must_open(&how);
    ok(bm_device_extents(dev, 0, BM_MAP_DIRTY, 0, 4 << 20, runs, 8, &n, &err),
       err);
    cr_expect(n == 3 && !runs[1].zero && runs[1].offset == 2 << 20);
}

Test(device_nbd, missing_dirty_map_is_enoent)
{
    const struct bm_open how = {.queues = 1, .dirty = "b0"};

    serve("exec nbdkit -f -U $PWD/s memory 1M");
    cr_expect_eq(bm_device_nbd_open(uri(), &how, &dev, &err), -ENOENT);
    cr_expect(strstr(err.cause, "qemu:dirty-bitmap:b0"));
}

Test(device_nbd, without_a_dirty_map_all_is_dirty)
{
    struct bm_extent runs[4];
    size_t n;

    serve("exec nbdkit -f -U $PWD/s memory 1M");
    must_open(&reader);
    ok(bm_device_extents(dev, 0, BM_MAP_DIRTY, 0, 1 << 20, runs, 4, &n, &err),
       err);
    cr_expect(n == 1 && !runs[0].zero && runs[0].length == 1 << 20);
}

Test(device_nbd, block_sizes_of_the_server)
{
    serve("exec nbdkit -f -U $PWD/s --filter=blocksize-policy pattern 1M "
          "blocksize-minimum=4096 blocksize-preferred=16K "
          "blocksize-maximum=64K blocksize-error-policy=error");
    must_open(&reader);
    cr_expect_eq(dev->sector, 4096);
    cr_expect_eq(dev->chunk, 65536);
    ok(bm_device_pread(dev, 0, buf, 1000001, 3, &err), err);
    expect_pattern(3, 1000001);
}

Test(device_nbd, random_errors_are_the_requests_alone)
{
    int failed = 0, fine = 0;

    serve("exec nbdkit -f -U $PWD/s --filter=error pattern 1M "
          "error-pread-rate=50%");
    must_open(&reader);
    for (unsigned i = 0; i < 64; i++) {
        int rc = do_at(0, BM_READ, i << 10, 1024);

        cr_assert(rc == 0 || rc == -EIO);
        if (rc == 0)
            expect_pattern(i << 10, 1024);
        *(rc ? &failed : &fine) += 1;
    }
    cr_expect(failed > 0 && fine > 0);
}

Test(device_nbd, nobody_there)
{
    cr_expect_lt(bm_device_nbd_open(uri(), &reader, &dev, &err), 0);
    cr_expect_neq(err.cause[0], '\0');
}

Test(device_nbd, mute_server_is_a_timeout)
{
    const struct bm_open how = {.queues = 1, .connect_ms = 200};
    int64_t start = bm_now_ms();

    serve("exec socat -u UNIX-LISTEN:$PWD/s CREATE:/dev/null");
    cr_expect_eq(bm_device_nbd_open(uri(), &how, &dev, &err), -ETIMEDOUT);
    cr_expect_lt(bm_now_ms() - start, 1000);
}

Test(device_nbd, negative_size_is_an_error)
{
    /* the greeting of an old server, whose size is 2^64-1 */
    sh("printf 'NBDMAGIC\\0\\0\\102\\2\\201\\206\\22\\123' >greeting; "
       "printf '\\377%%.0s' 1 2 3 4 5 6 7 8 >>greeting; "
       "printf '\\0\\0\\0\\1' >>greeting; head -c 124 /dev/zero >>greeting");
    serve("exec socat UNIX-LISTEN:$PWD/s SYSTEM:'cat greeting; sleep 5'");
    cr_expect_lt(bm_device_nbd_open(uri(), &reader, &dev, &err), 0);
    cr_expect(strstr(err.cause, "size"), "%s: %s", err.what, err.cause);
}

static void look_up(int connect_ms, int code)
{
    const struct bm_open how = {.queues = 1, .connect_ms = connect_ms};
    int64_t start = bm_now_ms();
    int rc = bm_device_nbd_open("nbd://nowhere.invalid", &how, &dev, &err);

    cr_expect(code ? rc == code : rc < 0, "%d", rc);
    cr_expect_lt(bm_now_ms() - start, code ? 400 : 1500);
}

Test(device_nbd, slow_name_lookup_is_a_timeout)
{
    look_up(100, -ETIMEDOUT);
    bm_sleep_ms(600); /* the thread that was left behind tidies up */
}

Test(device_nbd, failed_name_lookup_says_so)
{
    look_up(2000, 0);
    cr_expect(strstr(err.cause, "getaddrinfo"), "%s", err.cause);
}
