// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* What the tests of NBD devices share: a server at $PWD/s and its URI. */
#ifndef TESTS_UNIT_NBD_FIXTURE_H
#define TESTS_UNIT_NBD_FIXTURE_H

#include "nbd/device/backends.h"
#include "nbd/base/units.h"
#include "tests/unit/server-fixture.h"

static struct bm_process server = BM_PROCESS_INIT;
static struct bm_error err = BM_ERROR_INIT;
static struct bm_device *dev;
static char buf[1 << 20];

static inline void nbd_teardown(void)
{
    bm_device_close(dev);
    bm_process_end(&server, 2000);
    fixture_teardown();
}

static inline const char *uri(void)
{
    static char text[300];

    snprintf(text, sizeof text, "nbd+unix:///?socket=%s", at("s"));
    return text;
}

static inline void serve(const char *command)
{
    server_listen(&server, command, "s");
}

/* Returns when all its threads have stopped. */
static inline void stop(pid_t pid)
{
    sh("kill -STOP %d; while grep -L '^State:.T' /proc/%d/task/*/status | "
       "grep -q .; do sleep 0.01; done",
       (int)pid, (int)pid);
}

static inline void must_open(const struct bm_open *how)
{
    ok(bm_device_nbd_open(uri(), how, &dev, &err), err);
}

/* The error of the queue, or else of the request. */
static inline int do_at(unsigned number, enum bm_op op, uint64_t offset,
                        uint64_t len)
{
    struct bm_request req = {
        .op = op, .buf = buf, .len = len, .offset = offset};
    const struct bm_queue queues[2] = {{dev, number}};
    int rc = bm_device_submit(dev, number, &req, &err);

    rc = rc ? rc : bm_device_wait(queues, &req, &err);
    cr_expect(req.done);
    return rc ? rc : -req.error;
}

/* What the pattern plugin has there: each 8 bytes hold their offset. */
static inline void expect_pattern(uint64_t offset, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        uint64_t place = offset + i, word = place & ~UINT64_C(7);

        if (buf[i] != (char)(word >> (56 - 8 * (place & 7))))
            cr_assert_fail("byte %zu of %zu is wrong", i, len);
    }
}

#endif
