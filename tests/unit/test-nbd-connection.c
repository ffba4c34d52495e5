// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* nbdkit's filters are the servers that misbehave. */
#include "nbd/device/nbd-connection.h"
#include "nbd/exec/spawn.h"
#include "nbd/base/units.h"
#include "tests/unit/fixture.h"

#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>

static struct bm_process server = BM_PROCESS_INIT;
static struct bm_error err = BM_ERROR_INIT;
static struct bm_nbd_target how = {
    .name = "test", .connect_ms = 1000, .progress_ms = 5000};
static struct bm_nbd *peer;
static char buf[1 << 20];

static void tidy(void)
{
    bm_nbd_free(peer);
    bm_process_end(&server, 2000);
    fixture_teardown();
}

TestSuite(conn, .init = fixture_setup, .fini = tidy);

static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    for (int i = 0; i < 500; i++) {
        if (connect(sock, (struct sockaddr *)&address, sizeof address) == 0)
            return sock;
        bm_sleep_ms(10);
    }
    cr_assert_fail("nobody listens at %s", path);
    return -1;
}

/* Starts a server by a shell command that listens at $PWD/s, and connects. */
static void target(const char *command)
{
    const char *argv[] = {"sh", "-c", command, NULL};
    struct bm_spawn run = {.argv = argv, .out = -1, .errs = -1, .listener = -1};

    ok(bm_spawn_program(&run, &server, &err), err);
    ok(bm_nbd_new(&how, connect_to(at("s")), &peer, &err), err);
}

static int handshake(void)
{
    return bm_nbd_wait_ready(peer, bm_now_ms() + 1000, &err);
}

static int turn(void)
{
    struct pollfd pfd;
    int64_t deadline = bm_nbd_poll(peer, &pfd);
    bool late = bm_nbd_connect_poll(&pfd, deadline) == -ETIMEDOUT;

    return bm_nbd_notify(peer, pfd.revents, late, &err);
}

static int wait_for(const struct bm_request *req)
{
    int rc = 0;

    while (rc == 0 && !req->done)
        rc = turn();
    return rc ? rc : -req->error;
}

/* The error of the link, or else of the request. */
static int do_at(enum bm_op op, void *data, uint64_t offset, uint64_t len)
{
    struct bm_request req = {
        .op = op, .buf = data, .len = len, .offset = offset};
    int rc = bm_nbd_submit(peer, &req, &err);

    rc = rc ? rc : wait_for(&req);
    cr_expect(req.done);
    return rc;
}

static int read_at(uint64_t offset, size_t len)
{
    return do_at(BM_READ, buf, offset, len);
}

/* What the pattern plugin has there: each 8 bytes hold their offset. */
static void expect_pattern(const char *data, uint64_t offset, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        uint64_t at_byte = offset + i, word = at_byte & ~UINT64_C(7);
        char want = (char)(word >> (56 - 8 * (at_byte & 7)));

        if (data[i] != want)
            cr_assert_fail("byte %zu of %zu is wrong", i, len);
    }
}

Test(conn, reads_by_nbdkit)
{
    target("exec nbdkit -f -U $PWD/s pattern 1M");
    ok(handshake(), err);
    cr_expect_eq(bm_nbd_facts_of(peer)->size, 1 << 20);
    ok(read_at(65533, 29), err);
    expect_pattern(buf, 65533, 29);
}

Test(conn, read_error_is_eio_and_the_link_lives)
{
    target("touch bad; exec nbdkit -f -U $PWD/s --filter=error pattern 1M "
           "error-pread-rate=1 error-file=$PWD/bad");
    ok(handshake(), err);
    cr_expect_eq(read_at(0, 512), -EIO);
    sh("rm bad");
    ok(read_at(0, 512), err);
}

Test(conn, read_past_the_end_is_an_error)
{
    target("exec nbdkit -f -U $PWD/s pattern 1M");
    ok(handshake(), err);
    cr_expect_lt(read_at(1 << 20, 512), 0);
}

Test(conn, server_gone_before_the_handshake)
{
    int64_t start = bm_now_ms();

    target("exec socat UNIX-LISTEN:$PWD/s PIPE,ignoreeof");
    bm_process_end(&server, 0);
    cr_expect_lt(handshake(), 0);
    cr_expect_lt(bm_now_ms() - start, 3000);
}

Test(conn, mute_server_is_a_timeout_at_the_handshake)
{
    target("exec socat -u UNIX-LISTEN:$PWD/s CREATE:/dev/null");
    cr_expect_eq(bm_nbd_wait_ready(peer, bm_now_ms() + 100, &err), -ETIMEDOUT);
}

Test(conn, chatter_that_is_no_nbd_is_an_error)
{
    target("exec socat UNIX-LISTEN:$PWD/s "
           "SYSTEM:'head -c 4096 /dev/zero; sleep 5'");
    cr_expect_lt(handshake(), 0);
    cr_expect_neq(err.cause[0], '\0');
}

Test(conn, slow_server_is_a_timeout_and_the_link_is_gone)
{
    target("exec nbdkit -f -U $PWD/s --filter=delay pattern 1M delay-read=2");
    how.progress_ms = 100;
    ok(handshake(), err);
    cr_expect_eq(read_at(0, 512), -ETIMEDOUT);
    cr_expect_eq(read_at(0, 512), -ENOTCONN);
}

Test(conn, server_killed_with_reads_in_flight)
{
    struct bm_request reqs[40];

    target("exec nbdkit -f -U $PWD/s --filter=delay pattern 1M delay-read=2");
    ok(handshake(), err);
    for (int i = 0; i < 40; i++) {
        reqs[i] = (struct bm_request){.buf = buf + i * 512, .len = 512};
        ok(bm_nbd_submit(peer, &reqs[i], &err), err);
    }
    bm_process_end(&server, 0);
    cr_expect_lt(wait_for(&reqs[0]), 0);
    for (int i = 0; i < 40; i++)
        cr_expect(reqs[i].done && reqs[i].error == ENOTCONN);
    cr_expect_eq(read_at(0, 512), -ENOTCONN);
}

Test(conn, more_requests_than_the_wire_takes)
{
    struct bm_request reqs[100];

    target("exec nbdkit -f -U $PWD/s pattern 1M");
    ok(handshake(), err);
    for (int i = 0; i < 100; i++) {
        reqs[i] = (struct bm_request){
            .buf = buf + i * 512, .len = 512, .offset = (uint64_t)i * 512};
        ok(bm_nbd_submit(peer, &reqs[i], &err), err);
    }
    for (int i = 99; i >= 0; i--)
        ok(wait_for(&reqs[i]), err);
    expect_pattern(buf, 0, 51200);
}

#define PICKY                                                                  \
    "--filter=blocksize-policy pattern 1M blocksize-minimum=4096 "             \
    "blocksize-maximum=64K blocksize-error-policy=error"

Test(conn, requests_are_cut_to_what_the_server_takes)
{
    target("exec nbdkit -f -U $PWD/s " PICKY);
    ok(handshake(), err);
    ok(read_at(0, 1 << 20), err);
    expect_pattern(buf, 0, 1 << 20);
}

Test(conn, ragged_reads_are_widened)
{
    static const uint64_t cases[][2] = {
        {0, 1},        {4095, 2},       {1, 65536},  {4096, 4097},
        {100, 200000}, {1048575, 1},    {5, 4091},   {8191, 65538},
        {0, 65537},    {4096, 1044480}, {12345, 54}, {1, 1048575},
    };

    target("exec nbdkit -f -U $PWD/s " PICKY);
    ok(handshake(), err);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ok(read_at(cases[i][0], cases[i][1]), err);
        expect_pattern(buf, cases[i][0], cases[i][1]);
    }
}

Test(conn, ragged_write_is_refused)
{
    target("exec nbdkit -f -U $PWD/s --filter=blocksize-policy memory 1M "
           "blocksize-minimum=4096");
    ok(handshake(), err);
    cr_expect_eq(do_at(BM_WRITE, buf, 1, 4096), -EINVAL);
    cr_expect_eq(do_at(BM_ZERO, NULL, 4096, 512), -EINVAL);
    ok(do_at(BM_WRITE, buf, 4096, 8192), err);
}

Test(conn, one_bad_piece_fails_the_request_alone)
{
    /* 256 pieces, the second one is bad: most of the rest is not sent */
    target(
        "exec nbdkit -f -U $PWD/s eval get_size='echo 1048576' "
        "block_size='echo 1 4096 4096' pread='echo >>'$PWD/log'; "
        "test $4 != 4096 || { echo EIO >&2; exit 1; }; head -c $3 /dev/zero'");
    ok(handshake(), err);
    cr_expect_eq(bm_nbd_facts_of(peer)->maximum, 4096);
    cr_expect_eq(read_at(0, 1 << 20), -EIO);
    cr_expect_lt(atoi(fixture_word("wc -l <log")), 100);
    ok(read_at(8192, 8192), err);
}

static void expect_bytes(uint64_t offset, size_t len, char byte)
{
    ok(read_at(offset, len), err);
    for (size_t i = 0; i < len; i++)
        cr_assert_eq(buf[i], byte, "at %zu", i);
}

static void zero_the_middle(const char *command)
{
    target(command);
    ok(handshake(), err);
    memset(buf, 'x', sizeof buf);
    ok(do_at(BM_WRITE, buf, 0, 1 << 20), err);
    ok(do_at(BM_ZERO, NULL, 1000, 700000), err);
    expect_bytes(0, 1000, 'x');
    expect_bytes(1000, 700000, 0);
    expect_bytes(701000, 1000, 'x');
}

Test(conn, zeroes)
{
    zero_the_middle("exec nbdkit -f -U $PWD/s memory 1M");
    cr_expect(bm_nbd_facts_of(peer)->can_zero);
}

Test(conn, zeroes_are_written_where_the_server_cannot_zero)
{
    zero_the_middle("exec nbdkit -f -U $PWD/s --filter=nozero memory 1M");
    cr_expect_not(bm_nbd_facts_of(peer)->can_zero);
}

Test(conn, zeroes_of_many_gigabytes_are_cut)
{
    target("exec nbdkit -f -U $PWD/s eval get_size='echo 10995116277760' "
           "pread=true can_write=true pwrite='exit 1' can_zero=true "
           "zero='echo $3 >>'$PWD/log");
    ok(handshake(), err);
    ok(do_at(BM_ZERO, NULL, 0, (UINT64_C(5) << 30) + 1), err);
    cr_expect_str_eq(fixture_word("sort -nu log | xargs | tr ' ' ,"),
                     "1,1073741824");
    cr_expect_str_eq(fixture_word("wc -l <log"), "6");
}

Test(conn, flush_reaches_the_server)
{
    target("exec nbdkit -f -U $PWD/s eval get_size='echo 1048576' pread=true "
           "can_write=true can_flush=true flush='touch '$PWD/flushed");
    ok(handshake(), err);
    ok(bm_nbd_flush(peer, &err), err);
    sh("test -e flushed");
}

Test(conn, failed_flush_is_an_error)
{
    target("exec nbdkit -f -U $PWD/s eval get_size='echo 1048576' pread=true "
           "can_write=true can_flush=true flush='echo ENOSPC >&2; exit 1'");
    ok(handshake(), err);
    cr_expect_eq(bm_nbd_flush(peer, &err), -ENOSPC);
}

Test(conn, huge_size_is_read_to_its_end)
{
    target("exec nbdkit -f -U $PWD/s eval get_size='echo 9223372036854775807' "
           "pread='head -c $3 /dev/zero'");
    ok(handshake(), err);
    cr_expect_eq(bm_nbd_facts_of(peer)->size, INT64_MAX);
    ok(read_at(INT64_MAX - 700, 700), err);
}

Test(conn, without_extents_all_is_data)
{
    struct bm_extent runs[4];
    size_t n;

    target("exec nbdkit -f -U $PWD/s --filter=noextents memory 1M");
    ok(handshake(), err);
    ok(bm_nbd_extents(peer, BM_MAP_ZERO, 0, 1 << 20, runs, 4, &n, &err), err);
    cr_expect(n == 1 && !runs[0].zero && runs[0].length == 1 << 20);
}

Test(conn, server_that_answers_in_small_extents)
{
    struct bm_extent runs[4];
    size_t n;

    /* each reply covers 64 KiB at most: we have to ask on and on */
    target("exec nbdkit -f -U $PWD/s eval get_size='echo 1048576' "
           "pread='head -c $3 /dev/zero' can_extents='exit 0' "
           "extents='echo $4 65536 hole,zero'");
    ok(handshake(), err);
    ok(bm_nbd_extents(peer, BM_MAP_ZERO, 0, 1 << 20, runs, 4, &n, &err), err);
    cr_expect(n == 1 && runs[0].zero && runs[0].length == 1 << 20);
}

Test(conn, failed_extents_are_an_error)
{
    struct bm_extent runs[4];
    size_t n;

    target("exec nbdkit -f -U $PWD/s --filter=error memory 1M "
           "error-extents-rate=1");
    ok(handshake(), err);
    cr_expect_eq(
        bm_nbd_extents(peer, BM_MAP_ZERO, 0, 1 << 20, runs, 4, &n, &err), -EIO);
}

Test(conn, extents_beside_reads_in_flight)
{
    struct bm_request req = {.buf = buf, .len = 1 << 20};
    struct bm_extent runs[4];
    size_t n;

    target("exec nbdkit -f -U $PWD/s --filter=delay pattern 1M rdelay=50ms");
    ok(handshake(), err);
    ok(bm_nbd_submit(peer, &req, &err), err);
    ok(bm_nbd_extents(peer, BM_MAP_ZERO, 0, 1 << 20, runs, 4, &n, &err), err);
    cr_expect_eq(n, 1);
    ok(wait_for(&req), err);
    expect_pattern(buf, 0, 1 << 20);
}

Test(conn, freed_with_requests_in_flight)
{
    struct bm_request reqs[16];

    target("exec nbdkit -f -U $PWD/s --filter=delay pattern 1M rdelay=100ms");
    ok(handshake(), err);
    for (int i = 0; i < 16; i++) {
        reqs[i] = (struct bm_request){.buf = buf, .len = 1 << 20};
        ok(bm_nbd_submit(peer, &reqs[i], &err), err);
    }
    bm_nbd_free(peer);
    peer = NULL;
    for (int i = 0; i < 16; i++)
        cr_expect(reqs[i].done);
    cr_expect_not(bm_process_ended(&server, 300));
}
