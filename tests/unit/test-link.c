// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* nbdkit's filters are the servers that misbehave. */
#include "nbd/device.h"
#include "nbd/link.h"
#include "nbd/spawn.h"
#include "nbd/units.h"
#include "tests/unit/fixture.h"

#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>

static struct bm_process server = BM_PROCESS_INIT;
static struct bm_error err = BM_ERROR_INIT;
static struct bm_link *peer;
static char buf[1 << 20];

static void tidy(void)
{
    bm_link_free(peer);
    bm_process_end(&server, 2000);
    fixture_teardown();
}

TestSuite(link, .init = fixture_setup, .fini = tidy);

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
static void dial(const char *command)
{
    const char *argv[] = {"sh", "-c", command, NULL};
    struct bm_spawn how = {.argv = argv, .out = -1, .errs = -1, .listener = -1};

    ok(bm_spawn(&how, &server, &err), err);
    ok(bm_link_new(connect_to(at("s")), "test", &peer, &err), err);
}

static int handshake(void)
{
    return bm_link_wait_ready(peer, bm_now_ms() + 1000, &err);
}

static int read_at(uint64_t offset, size_t len)
{
    struct bm_read rd = {.buf = buf, .len = len, .offset = offset}, *rds = &rd;
    int rc = bm_link_submit(peer, &rd, &err);

    return rc == 0 ? bm_link_wait(&peer, &rds, 1, &err) : rc;
}

Test(link, reads_by_nbdkit)
{
    dial("exec nbdkit -f -U $PWD/s pattern 1M");
    ok(handshake(), err);
    cr_expect_eq(bm_link_size(peer), 1 << 20);
    ok(read_at(65536, 16), err);
    cr_expect_eq(memcmp(buf, "\0\0\0\0\0\1\0\0\0\0\0\0\0\1\0\10", 16), 0);
}

Test(link, read_error_is_eio_and_the_link_lives)
{
    dial("touch bad; exec nbdkit -f -U $PWD/s --filter=error pattern 1M "
         "error-pread-rate=1 error-file=$PWD/bad");
    ok(handshake(), err);
    cr_expect_eq(read_at(0, 512), -EIO);
    cr_expect(strstr(err.what, "512 bytes at 0"));
    sh("rm bad");
    ok(read_at(0, 512), err);
}

Test(link, read_past_the_end_is_an_error)
{
    dial("exec nbdkit -f -U $PWD/s pattern 1M");
    ok(handshake(), err);
    cr_expect_lt(read_at(1 << 20, 512), 0);
}

Test(link, server_gone_before_the_handshake)
{
    int64_t start = bm_now_ms();

    dial("exec socat UNIX-LISTEN:$PWD/s PIPE,ignoreeof");
    bm_process_end(&server, 0);
    cr_expect_lt(handshake(), 0);
    cr_expect_lt(bm_now_ms() - start, 3000);
}

Test(link, mute_server_is_a_timeout_at_the_handshake)
{
    dial("exec socat -u UNIX-LISTEN:$PWD/s CREATE:/dev/null");
    cr_expect_eq(bm_link_wait_ready(peer, bm_now_ms() + 100, &err), -ETIMEDOUT);
}

Test(link, chatter_that_is_no_nbd_is_an_error)
{
    dial("exec socat UNIX-LISTEN:$PWD/s "
         "SYSTEM:'head -c 4096 /dev/zero; sleep 5'");
    cr_expect_lt(handshake(), 0);
    cr_expect_neq(err.cause[0], '\0');
}

Test(link, slow_server_is_a_timeout_and_the_link_is_gone)
{
    dial("exec nbdkit -f -U $PWD/s --filter=delay pattern 1M delay-read=2");
    ok(handshake(), err);
    bm_link_set_deadline(peer, 100);
    cr_expect_eq(read_at(0, 512), -ETIMEDOUT);
    cr_expect_eq(read_at(0, 512), -ENOTCONN);
}

Test(link, server_killed_with_reads_in_flight)
{
    struct bm_read rds[4], *first = &rds[0];

    dial("exec nbdkit -f -U $PWD/s --filter=delay pattern 1M delay-read=2");
    ok(handshake(), err);
    for (int i = 0; i < 4; i++) {
        rds[i] = (struct bm_read){.buf = buf + i * 512, .len = 512};
        ok(bm_link_submit(peer, &rds[i], &err), err);
    }
    bm_process_end(&server, 0);
    cr_expect_lt(bm_link_wait(&peer, &first, 1, &err), 0);
    cr_expect_eq(read_at(0, 512), -ENOTCONN);
}

Test(link, without_extents_all_is_data)
{
    struct bm_extent runs[4];
    size_t n;

    dial("exec nbdkit -f -U $PWD/s --filter=noextents memory 1M");
    ok(handshake(), err);
    ok(bm_link_extents(peer, 0, 1 << 20, runs, 4, &n, &err), err);
    cr_expect(n == 1 && !runs[0].zero && runs[0].length == 1 << 20);
}

Test(link, server_that_answers_in_small_extents)
{
    struct bm_extent runs[4];
    size_t n;

    /* each reply covers 64 KiB at most: we have to ask on and on */
    dial("exec nbdkit -f -U $PWD/s eval get_size='echo 1048576' "
         "pread='head -c $3 /dev/zero' can_extents='exit 0' "
         "extents='echo $4 65536 hole,zero'");
    ok(handshake(), err);
    ok(bm_link_extents(peer, 0, 1 << 20, runs, 4, &n, &err), err);
    cr_expect(n == 1 && runs[0].zero && runs[0].length == 1 << 20);
}

Test(link, failed_extents_are_an_error)
{
    struct bm_extent runs[4];
    size_t n;

    dial("exec nbdkit -f -U $PWD/s --filter=error memory 1M "
         "error-extents-rate=1");
    ok(handshake(), err);
    cr_expect_eq(bm_link_extents(peer, 0, 1 << 20, runs, 4, &n, &err), -EIO);
}
