// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* bm_device_wait and the image copies on it, on a device whose requests are
 * done when a byte comes through a pipe, as the replies of a server do. */
#include "nbd/device/device.h"
#include "nbd/base/units.h"
#include "tests/unit/fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>

TestSuite(device_wait, .init = fixture_setup, .fini = fixture_teardown);

#define IN_FLIGHT 16

struct piped {
    struct bm_device dev;
    int in, out;
    int64_t deadline;
    struct bm_request *reqs[IN_FLIGHT];
    size_t n, most; /* in flight: now, and at most so far */
    unsigned notified;
    uint64_t fails_at; /* the request at this offset has an error */
    bool answers;      /* each request gets its byte at once */
};

static struct piped *piped_of(struct bm_device *dev)
{
    return (struct piped *)dev;
}

static int piped_submit(struct bm_device *dev, unsigned queue,
                        struct bm_request *req, struct bm_error *err)
{
    struct piped *p = piped_of(dev);

    cr_assert_lt(p->n, IN_FLIGHT);
    p->reqs[p->n++] = req;
    if (p->n > p->most)
        p->most = p->n;
    return p->answers && write(p->out, "", 1) != 1 ? -EIO : 0;
}

static int64_t piped_poll(struct bm_device *dev, unsigned queue,
                          struct pollfd *pfd)
{
    struct piped *p = piped_of(dev);

    *pfd = (struct pollfd){.fd = p->in, .events = POLLIN};
    return p->deadline;
}

static void finish(struct piped *p, struct bm_request *req, int error)
{
    if (req->op == BM_READ && error == 0)
        memset(req->buf, (int)(req->offset >> 12), req->len);
    req->error = req->offset == p->fails_at ? EIO : error;
    req->done = true;
}

/* The last one that came is the first one that is done. */
static int piped_notify(struct bm_device *dev, unsigned queue, short revents,
                        bool late, struct bm_error *err)
{
    struct piped *p = piped_of(dev);
    char byte;

    p->notified++;
    if (late) {
        while (p->n > 0)
            finish(p, p->reqs[--p->n], ENOTCONN);
        return bm_fail_errno(err, ETIMEDOUT, "%s hangs", dev->name);
    }
    cr_assert_eq(read(p->in, &byte, 1), 1);
    finish(p, p->reqs[--p->n], 0);
    return 0;
}

static const struct bm_device_ops piped_ops = {
    .submit = piped_submit, .poll = piped_poll, .notify = piped_notify};

static struct piped *new_piped(void)
{
    static struct piped both[2];
    static unsigned next;
    static char name[] = "piped";
    struct piped *p = &both[next++];
    int fds[2];

    cr_assert_eq(pipe(fds), 0);
    *p = (struct piped){.dev = {.ops = &piped_ops,
                                .name = name,
                                .size = 16 << 20,
                                .queues = 1,
                                .chunk = 4096},
                        .in = fds[0],
                        .out = fds[1],
                        .fails_at = UINT64_MAX,
                        .deadline = INT64_MAX};
    return p;
}

Test(device_wait, what_is_done_is_not_waited_for)
{
    struct piped *p = new_piped();
    struct bm_request req = {.done = true};

    p->deadline = 0;
    cr_expect_eq(bm_device_wait((struct bm_queue[2]){{&p->dev, 0}}, &req, NULL),
                 0);
    cr_expect_eq(p->notified, 0);
}

Test(device_wait, the_other_lane_is_driven_too)
{
    struct piped *a = new_piped(), *b = new_piped();
    const struct bm_queue queues[2] = {{&a->dev, 0}, {&b->dev, 0}};
    struct bm_error err = BM_ERROR_INIT;
    char buf[2][512];
    struct bm_request one = {.buf = buf[0], .len = 512};
    struct bm_request two = {.buf = buf[1], .len = 512};

    ok(bm_device_submit(&a->dev, 0, &one, &err), err);
    ok(bm_device_submit(&b->dev, 0, &two, &err), err);
    cr_assert(write(a->out, "", 1) == 1 && write(b->out, "", 1) == 1);
    ok(bm_device_wait(queues, &two, &err), err);
    cr_expect(one.done && two.done);
}

Test(device_wait, past_the_deadline_the_lane_is_told)
{
    struct piped *p = new_piped();
    struct bm_error err = BM_ERROR_INIT;
    struct bm_request req = {.len = 512};
    int64_t start = bm_now_ms();

    p->deadline = start + 30;
    ok(bm_device_submit(&p->dev, 0, &req, &err), err);
    cr_expect_eq(bm_device_wait((struct bm_queue[2]){{NULL, 0}, {&p->dev, 0}},
                                &req, &err),
                 -ETIMEDOUT);
    cr_expect(req.done && req.error == ENOTCONN);
    cr_expect(bm_now_ms() - start >= 30 && bm_now_ms() - start < 2000);
}

static void *disturb(void *opaque)
{
    struct piped *p = opaque;

    for (int i = 0; i < 5; i++) {
        bm_sleep_ms(5);
        kill(getpid(), SIGUSR1);
    }
    cr_assert_eq(write(p->out, "", 1), 1);
    return NULL;
}

static void ignore(int number)
{
}

Test(device_wait, signals_do_not_end_it)
{
    const struct sigaction act = {.sa_handler = ignore}; /* no SA_RESTART */
    struct piped *p = new_piped();
    struct bm_error err = BM_ERROR_INIT;
    struct bm_request req = {.op = BM_WRITE, .len = 512};
    sigset_t mask, old;
    pthread_t thread;

    sigaction(SIGUSR1, &act, NULL);
    p->dev.writable = true;
    ok(bm_device_submit(&p->dev, 0, &req, &err), err);
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &mask, &old);
    pthread_create(&thread, NULL, disturb, p);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    ok(bm_device_wait((struct bm_queue[2]){{&p->dev, 0}}, &req, &err), err);
    pthread_join(thread, NULL);
}

Test(device_wait, what_nobody_has_is_not_waited_for)
{
    struct bm_request req = {.len = 512};

    cr_expect_eq(bm_device_wait((struct bm_queue[2]){{NULL, 0}}, &req, NULL),
                 -EINVAL);
}

Test(device_wait, a_long_read_keeps_eight_in_flight)
{
    struct piped *p = new_piped();
    char *buf = malloc(1 << 20);

    p->answers = true;
    cr_assert_eq(bm_device_pread(&p->dev, 0, buf, 999999, 100, NULL), 0);
    cr_expect_eq(p->most, 8);
    for (size_t i = 0; i < 999999; i++)
        cr_assert_eq(buf[i], (char)((i + 100) >> 12), "%zu", i);
    free(buf);
}

Test(device_wait, after_an_error_nothing_is_in_flight)
{
    struct piped *p = new_piped();
    struct bm_error err = BM_ERROR_INIT;
    char *buf = malloc(1 << 20);

    p->answers = true;
    p->fails_at = 5 << 12;
    cr_expect_eq(bm_device_pread(&p->dev, 0, buf, 1 << 20, 0, &err), -EIO);
    cr_expect(strstr(err.what, "20480"), "%s", err.what);
    cr_expect_eq(p->n, 0);
    free(buf);
}
