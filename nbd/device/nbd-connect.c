// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/device/nbd-connect.h"

#include "nbd/base/cleanup.h"
#include "nbd/device/device.h"
#include "nbd/device/nbd-tls.h"
#include "nbd/base/units.h"

#include <errno.h>
#include <libnbd.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>

#define GOODBYE_MS 2000
#define MINIMUM_MAX (64u << 10) /* of a server's minimum: NBD protocol */

static void close_handle(struct nbd_handle **nbd)
{
    nbd_close(*nbd);
}
#define OWN_NBD __attribute__((cleanup(close_handle)))

int bm_nbd_connect_trouble(struct bm_error *err, const char *what,
                           const char *name)
{
    int code = nbd_get_errno();
    const char *why = nbd_get_error();

    bm_fail(err, code ? code : EIO, "%s %s", what, name);
    bm_cause(err, "%s", why ? why : "unknown NBD error");
    return code ? -code : -EIO;
}

struct pollfd bm_nbd_connect_pollfd(struct nbd_handle *nbd)
{
    struct pollfd pfd = {nbd_aio_get_fd(nbd), 0, 0};
    unsigned direction = nbd_aio_get_direction(nbd);

    if (direction & LIBNBD_AIO_DIRECTION_READ)
        pfd.events |= POLLIN;
    if (direction & LIBNBD_AIO_DIRECTION_WRITE)
        pfd.events |= POLLOUT;
    return pfd;
}

int bm_nbd_connect_poll(struct pollfd *pfd, int64_t deadline)
{
    int64_t left = deadline - bm_now_ms();
    int64_t ms = left > INT_MAX ? INT_MAX : left > 0 ? left : 0;
    int rc = poll(pfd, 1, (int)ms);

    if (rc < 0)
        return errno == EINTR ? 0 : -errno;
    return rc > 0 || left > 0 ? 0 : -ETIMEDOUT;
}

int bm_nbd_connect_notify(const struct bm_nbd_target *how,
                          struct nbd_handle *nbd, short revents,
                          struct bm_error *err)
{
    unsigned direction = nbd_aio_get_direction(nbd);
    int rc = 0;

    if ((revents & (POLLIN | POLLHUP | POLLERR)) &&
        (direction & LIBNBD_AIO_DIRECTION_READ))
        rc = nbd_aio_notify_read(nbd);
    else if ((revents & (POLLOUT | POLLHUP | POLLERR)) &&
             (direction & LIBNBD_AIO_DIRECTION_WRITE))
        rc = nbd_aio_notify_write(nbd);
    return rc == 0 ? 0
                   : bm_nbd_connect_trouble(err, "lost the connection to",
                                            how->name);
}

/* Each error is looked at, so buffers need not be zeroed before a read; and
 * alignment is our own affair: the unaligned tail of an export is readable at
 * many servers though it breaks their rule. */
static int set_up(const struct bm_nbd_target *how, struct nbd_handle *nbd)
{
    uint32_t transports =
        LIBNBD_ALLOW_TRANSPORT_TCP | LIBNBD_ALLOW_TRANSPORT_UNIX;

    if (nbd_set_pread_initialize(nbd, false) != 0 ||
        nbd_set_strict_mode(nbd, LIBNBD_STRICT_MASK & ~LIBNBD_STRICT_ALIGN) !=
            0 ||
        nbd_set_uri_allow_transports(nbd, transports) != 0 ||
        nbd_set_uri_allow_local_file(nbd, false) != 0 ||
        nbd_add_meta_context(nbd, BM_CONTEXT_ZERO) != 0)
        return -1;
    if (how->dirty && nbd_add_meta_context(nbd, how->dirty) != 0)
        return -1;
    return bm_nbd_connect_tls(how, nbd);
}

static int new_handle(const struct bm_nbd_target *how, struct nbd_handle **out,
                      struct bm_error *err)
{
    OWN_NBD struct nbd_handle *nbd = nbd_create();
    int rc = bm_nbd_connect_trust(how, err);

    if (rc != 0)
        return rc;
    if (!nbd || set_up(how, nbd) != 0)
        return bm_nbd_connect_trouble(err, "cannot connect to", how->name);
    *out = BM_STEAL(nbd);
    return 0;
}

int bm_nbd_connect_socket(const struct bm_nbd_target *how, int sock,
                          struct nbd_handle **out, struct bm_error *err)
{
    OWN_NBD struct nbd_handle *nbd = NULL;
    BM_CLOSE int owned = sock;
    int rc = new_handle(how, &nbd, err);

    if (rc != 0)
        return rc;
    owned = -1; /* libnbd closes it, also when this fails */
    if (nbd_aio_connect_socket(nbd, sock) != 0)
        return bm_nbd_connect_trouble(err, "cannot connect to", how->name);
    *out = BM_STEAL(nbd);
    return 0;
}

/*
 * libnbd looks names up with getaddrinfo, which may take minutes when a name
 * server is gone. So it does that in a thread that can be left behind, and
 * then frees all this by itself.
 */
struct call {
    pthread_mutex_t mutex; /* guards done and left */
    pthread_cond_t changed;
    struct nbd_handle *nbd;
    char *uri, *name;
    struct bm_error err;
    int rc;
    bool done, left;
};

static void free_call(struct call *call)
{
    nbd_close(call->nbd);
    pthread_mutex_destroy(&call->mutex);
    pthread_cond_destroy(&call->changed);
    free(call->uri);
    free(call->name);
    free(call);
}

static void *call_main(void *opaque)
{
    struct call *call = opaque;
    bool left;

    if (nbd_aio_connect_uri(call->nbd, call->uri) != 0)
        call->rc =
            bm_nbd_connect_trouble(&call->err, "cannot connect to", call->name);
    {
        BM_LOCK(&call->mutex);
        call->done = true;
        left = call->left;
        pthread_cond_signal(&call->changed);
    }
    if (left)
        free_call(call);
    return NULL;
}

static struct call *new_call(const struct bm_nbd_target *how)
{
    struct call *call = calloc(1, sizeof *call);

    if (!call)
        return NULL;
    pthread_mutex_init(&call->mutex, NULL);
    pthread_cond_init(&call->changed, NULL);
    call->uri = strdup(how->uri);
    call->name = strdup(how->name);
    if (!call->uri || !call->name)
        free_call(BM_STEAL(call));
    return call;
}

/* Signals are for the threads that expect them. */
static int start_call(struct call *call)
{
    pthread_t thread;
    sigset_t all, before;
    int rc;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&thread, NULL, call_main, call);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc == 0)
        pthread_detach(thread);
    return -rc;
}

/* Whether it is done; else it is the thread's alone from now on. */
static bool wait_call(struct call *call, int64_t deadline)
{
    int64_t left = deadline - bm_now_ms();
    struct timespec until = bm_deadline(left > 0 ? (int)left : 0);
    int rc = 0;

    BM_LOCK(&call->mutex);
    while (!call->done && rc == 0)
        rc = pthread_cond_clockwait(&call->changed, &call->mutex,
                                    CLOCK_MONOTONIC, &until);
    call->left = !call->done;
    return call->done;
}

static int too_late(const struct bm_nbd_target *how, struct bm_error *err)
{
    return bm_fail(err, ETIMEDOUT, "%s did not answer in time", how->name);
}

static int connect_uri(const struct bm_nbd_target *how, int64_t deadline,
                       struct nbd_handle **out, struct bm_error *err)
{
    struct call *call = new_call(how);
    int rc;

    if (!call)
        return bm_fail_errno(err, ENOMEM, "cannot connect to %s", how->name);
    rc = new_handle(how, &call->nbd, err);
    if (rc == 0) {
        rc = start_call(call);
        if (rc != 0)
            bm_fail_errno(err, -rc, "cannot connect to %s", how->name);
        else if (!wait_call(call, deadline))
            return too_late(how, err);
    }
    if (rc == 0 && call->rc != 0) {
        rc = call->rc;
        if (err)
            *err = call->err;
    }
    if (rc == 0)
        *out = BM_STEAL(call->nbd);
    free_call(call);
    return rc;
}

/* The server may say anything: 0 is "it did not say". */
static uint32_t block_size(struct nbd_handle *nbd, int type)
{
    int64_t size = nbd_get_block_size(nbd, type);

    if (size < 0)
        return 0;
    return size > UINT32_MAX ? UINT32_MAX : (uint32_t)size;
}

/* A whole number of blocks, at least one. */
static uint32_t sane_maximum(uint32_t maximum, uint32_t block)
{
    if (maximum == 0 || maximum > BM_REQUEST_MAX)
        maximum = BM_REQUEST_MAX;
    maximum -= maximum % block;
    return maximum > block ? maximum : block;
}

static int read_facts(const struct bm_nbd_target *how, struct nbd_handle *nbd,
                      struct bm_nbd_facts *facts, struct bm_error *err)
{
    int64_t size = nbd_get_size(nbd);

    if (size < 0) { /* libnbd 1.14 hands on what the server said */
        bm_fail(err, EPROTO, "cannot use %s", how->name);
        return bm_cause(err, "its size is beyond 2^63 bytes"), -EPROTO;
    }
    facts->size = (uint64_t)size;
    facts->minimum = block_size(nbd, LIBNBD_SIZE_MINIMUM);
    facts->preferred = block_size(nbd, LIBNBD_SIZE_PREFERRED);
    if (facts->minimum > MINIMUM_MAX) {
        bm_fail(err, EPROTO, "cannot use %s", how->name);
        return bm_cause(err, "its block sizes make no sense"), -EPROTO;
    }
    facts->maximum =
        sane_maximum(block_size(nbd, LIBNBD_SIZE_MAXIMUM),
                     facts->minimum ? facts->minimum : BM_SAFE_MINIMUM);
    facts->read_only = nbd_is_read_only(nbd) != 0;
    facts->whole_reads = !how->uri && nbd_can_df(nbd) == 1;
    facts->can_zero = nbd_can_zero(nbd) == 1;
    facts->can_flush = nbd_can_flush(nbd) == 1;
    facts->multi_conn = nbd_can_multi_conn(nbd) == 1;
    facts->has_zero = nbd_can_meta_context(nbd, BM_CONTEXT_ZERO) == 1;
    facts->has_dirty = how->dirty && nbd_can_meta_context(nbd, how->dirty) == 1;
    return 0;
}

int bm_nbd_connect_finish(const struct bm_nbd_target *how,
                          struct nbd_handle *nbd, int64_t deadline,
                          struct bm_nbd_facts *facts, struct bm_error *err)
{
    while (nbd_aio_is_connecting(nbd) == 1) {
        struct pollfd pfd = bm_nbd_connect_pollfd(nbd);
        int rc = bm_nbd_connect_poll(&pfd, deadline);

        if (rc == -ETIMEDOUT)
            return too_late(how, err);
        if (rc != 0)
            return bm_fail_errno(err, -rc, "cannot connect to %s", how->name);
        rc = bm_nbd_connect_notify(how, nbd, pfd.revents, err);
        if (rc != 0)
            return rc;
    }
    if (nbd_aio_is_ready(nbd) != 1)
        return bm_fail(err, EIO, "cannot connect to %s", how->name);
    return read_facts(how, nbd, facts, err);
}

int bm_nbd_connect(const struct bm_nbd_target *how, int64_t deadline,
                   struct nbd_handle **out, struct bm_nbd_facts *facts,
                   struct bm_error *err)
{
    OWN_NBD struct nbd_handle *nbd = NULL;
    int rc = connect_uri(how, deadline, &nbd, err);

    if (rc == 0)
        rc = bm_nbd_connect_finish(how, nbd, deadline, facts, err);
    if (rc == 0)
        *out = BM_STEAL(nbd);
    return rc;
}

static bool is_over(struct nbd_handle *nbd)
{
    return nbd_aio_is_closed(nbd) == 1 || nbd_aio_is_dead(nbd) == 1;
}

static int turn(struct nbd_handle *nbd, int64_t deadline)
{
    static const struct bm_nbd_target nobody = {.name = "a server"};
    struct pollfd pfd = bm_nbd_connect_pollfd(nbd);
    int rc = bm_nbd_connect_poll(&pfd, deadline);

    return rc == 0 ? bm_nbd_connect_notify(&nobody, nbd, pfd.revents, NULL)
                   : rc;
}

void bm_nbd_connect_hang_up(struct nbd_handle *nbd)
{
    int64_t deadline = bm_now_ms() + GOODBYE_MS;
    int rc = 0;

    if (!nbd)
        return;
    while (rc == 0 && nbd_aio_is_ready(nbd) + nbd_aio_is_processing(nbd) > 0 &&
           nbd_aio_in_flight(nbd) > 0)
        rc = turn(nbd, deadline);
    if (rc == 0 && nbd_aio_is_ready(nbd) == 1 &&
        nbd_aio_disconnect(nbd, 0) == 0)
        while (rc == 0 && !is_over(nbd))
            rc = turn(nbd, deadline);
    nbd_close(nbd);
}
