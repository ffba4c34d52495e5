// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/call.h"

#include "nbd/cleanup.h"
#include "nbd/units.h"

#include <errno.h>
#include <libvirt/virterror.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

struct call {
    pthread_mutex_t lock; /* guards done, abandoned */
    pthread_cond_t ended;
    bool done, abandoned;
    int rc;
    virErrorPtr error; /* of the calling thread, saved */
    int (*fn)(void *);
    void *arg;
    void (*arg_free)(void *);
};

static atomic_uint abandoned_calls;

unsigned bm_calls_abandoned(void)
{
    return atomic_load(&abandoned_calls);
}

int bm_call_ms(void)
{
    static atomic_int ms;
    int64_t wanted = 20000;
    const char *text = getenv("BLOCKMIG_CALL_MS");

    if (!atomic_load(&ms)) {
        if (text)
            (void)bm_parse_number(text, 100, 3600000, &wanted);
        atomic_store(&ms, (int)wanted);
    }
    return atomic_load(&ms);
}

static void call_free(struct call *call)
{
    if (call->error)
        virFreeError(call->error);
    pthread_cond_destroy(&call->ended);
    pthread_mutex_destroy(&call->lock);
    free(call);
}

static void *call_thread(void *opaque)
{
    struct call *call = opaque;
    int rc = call->fn(call->arg);
    virErrorPtr error = rc < 0 ? virSaveLastError() : NULL;
    bool abandoned;

    pthread_mutex_lock(&call->lock);
    call->rc = rc;
    call->error = error;
    call->done = true;
    abandoned = call->abandoned;
    pthread_cond_signal(&call->ended);
    pthread_mutex_unlock(&call->lock);
    if (abandoned) {
        call->arg_free(call->arg);
        call_free(call);
        atomic_fetch_sub(&abandoned_calls, 1);
    }
    return NULL;
}

static struct call *call_new(int (*fn)(void *), void *arg,
                             void (*arg_free)(void *))
{
    struct call *call = calloc(1, sizeof *call);

    if (!call)
        return NULL;
    call->fn = fn;
    call->arg = arg;
    call->arg_free = arg_free;
    pthread_mutex_init(&call->lock, NULL);
    bm_cond_init(&call->ended);
    return call;
}

/* Waits for the end; false: abandoned, the thread owns the call now. */
static bool call_wait(struct call *call, int timeout_ms)
{
    struct timespec until = bm_deadline(timeout_ms);
    bool done;

    pthread_mutex_lock(&call->lock);
    while (!call->done)
        if (pthread_cond_timedwait(&call->ended, &call->lock, &until) ==
            ETIMEDOUT)
            break;
    done = call->done;
    if (!done) {
        call->abandoned = true;
        atomic_fetch_add(&abandoned_calls, 1);
    }
    pthread_mutex_unlock(&call->lock);
    return done;
}

static int start_thread(struct call *call)
{
    pthread_t thread;
    pthread_attr_t attr;
    int rc;

    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    rc = pthread_create(&thread, &attr, call_thread, call);
    pthread_attr_destroy(&attr);
    return rc;
}

static int timed_out(const char *what, int timeout_ms, struct bm_error *err)
{
    bm_fail(err, ETIMEDOUT, "%s", what);
    bm_cause(err, "no answer within %d ms; the call was abandoned", timeout_ms);
    bm_remedy(err, "see whether libvirtd and the domain's QEMU are alive");
    bm_status(err, BM_EXIT_HELD);
    return -ETIMEDOUT;
}

static int map_code(int code)
{
    switch (code) {
    case VIR_ERR_NO_DOMAIN:
    case VIR_ERR_NO_STORAGE_POOL:
    case VIR_ERR_NO_STORAGE_VOL:
    case VIR_ERR_NO_DOMAIN_METADATA:
        return ENOENT;
    case VIR_ERR_AGENT_UNRESPONSIVE:
    case VIR_ERR_AGENT_UNSYNCED:
        return EHOSTDOWN;
    case VIR_ERR_BLOCK_COPY_ACTIVE:
    case VIR_ERR_OPERATION_TIMEOUT:
        return EBUSY;
    case VIR_ERR_OPERATION_UNSUPPORTED:
    case VIR_ERR_CONFIG_UNSUPPORTED:
    case VIR_ERR_NO_SUPPORT:
        return ENOTSUP;
    case VIR_ERR_OPERATION_INVALID:
    case VIR_ERR_INVALID_ARG:
        return EINVAL;
    case VIR_ERR_RPC:
    case VIR_ERR_NO_CONNECT:
    case VIR_ERR_INVALID_CONN:
        return ECONNRESET;
    case VIR_ERR_ACCESS_DENIED:
    case VIR_ERR_OPERATION_DENIED:
    case VIR_ERR_AUTH_FAILED:
        return EACCES;
    default:
        return EIO;
    }
}

static int from_virt(const virError *error, const char *what,
                     struct bm_error *err)
{
    int code = error ? map_code(error->code) : EIO;

    /* losing the daemon shows up as a system error of the RPC layer */
    if (error && error->code == VIR_ERR_SYSTEM_ERROR &&
        error->domain == VIR_FROM_RPC)
        code = ECONNRESET;
    if (error && error->code == VIR_ERR_INTERNAL_ERROR &&
        error->domain == VIR_FROM_RPC)
        code = ECONNRESET;
    bm_fail(err, code, "%s", what);
    return bm_cause(err, "%s",
                    error && error->message ? error->message
                                            : "libvirt gave no reason"),
           -code;
}

int bm_virt_error(struct bm_error *err, const char *fmt, ...)
{
    char what[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    return from_virt(virGetLastError(), what, err);
}

int bm_call(const char *what, int timeout_ms, int (*fn)(void *arg), void *arg,
            void (*arg_free)(void *arg), struct bm_error *err)
{
    struct call *call = call_new(fn, arg, arg_free);
    int rc;

    if (!call)
        return bm_fail_errno(err, ENOMEM, "%s", what);
    rc = start_thread(call);
    if (rc) {
        call_free(call);
        return bm_fail_errno(err, rc, "%s", what);
    }
    if (!call_wait(call, timeout_ms))
        return timed_out(what, timeout_ms, err);
    rc = call->rc < 0 ? from_virt(call->error, what, err) : 0;
    call_free(call);
    return rc;
}
