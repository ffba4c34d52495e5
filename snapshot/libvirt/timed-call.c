// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/libvirt/timed-call.h"

#include "nbd/base/units.h"
#include "nbd/thread/timed-call.h"

#include <errno.h>
#include <libvirt/virterror.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

struct call {
    int rc;
    virErrorPtr error; /* of the calling thread, saved */
    int (*fn)(void *);
    void *arg;
    void (*arg_free)(void *);
};

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

static void call_run(void *opaque)
{
    struct call *call = opaque;

    call->rc = call->fn(call->arg);
    call->error = call->rc < 0 ? virSaveLastError() : NULL;
}

static void call_free(struct call *call)
{
    if (call->error)
        virFreeError(call->error);
    free(call);
}

static void call_drop(void *opaque)
{
    struct call *call = opaque;

    call->arg_free(call->arg);
    call_free(call);
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
    struct call *call = calloc(1, sizeof *call);
    int rc;

    if (!call)
        return bm_fail_errno(err, ENOMEM, "%s", what);
    *call = (struct call){.fn = fn, .arg = arg, .arg_free = arg_free};
    rc = bm_timed_call(timeout_ms, call_run, call, call_drop);
    if (rc == -ETIMEDOUT)
        return timed_out(what, timeout_ms, err);
    if (rc)
        rc = bm_fail_errno(err, -rc, "%s", what);
    else if (call->rc < 0)
        rc = from_virt(call->error, what, err);
    call_free(call);
    return rc;
}
