// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What is asked for apart, because it may need QEMU's monitor.
 */
#include "snapshot/libvirt/timed-call.h"
#include "snapshot/domain/domain.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- the size of a disk --- */

struct size_call {
    virDomainPtr dom; /* a reference */
    char *target;
    virDomainBlockInfo info;
};

static void size_free(void *arg)
{
    struct size_call *call = arg;

    virDomainFree(call->dom);
    free(call->target);
    free(call);
}

static int size_fn(void *arg)
{
    struct size_call *call = arg;

    return virDomainGetBlockInfo(call->dom, call->target, &call->info, 0);
}

/* libvirt cannot tell the size of a volume of a domain that is shut off. */
static int size_of_image(struct bm_disk *disk, struct bm_error *err)
{
    const struct bm_layer *top = disk->chain.n ? &disk->chain.layers[0] : NULL;
    struct bm_image_info info;
    int rc;

    if (!top || !top->path || !top->format)
        return -EIO; /* err says why libvirt cannot */
    rc = bm_image_read_info(top->path, top->format, &info, err);
    if (rc)
        return rc;
    disk->capacity = info.virtual_size;
    disk->allocation = info.actual_size;
    bm_image_info_clear(&info);
    return 0;
}

int bm_domain_disk_size(struct bm_domain *domain, struct bm_disk *disk,
                        struct bm_error *err)
{
    struct size_call *call = calloc(1, sizeof *call);
    char what[300];
    int rc;

    snprintf(what, sizeof what, "cannot read the size of disk %s of %s",
             disk->target, domain->name);
    if (!call || !(call->target = strdup(disk->target))) {
        free(call);
        return bm_fail_errno(err, ENOMEM, "%s", what);
    }
    virDomainRef(domain->dom);
    call->dom = domain->dom;
    rc = bm_call(what, bm_call_ms(), size_fn, call, size_free, err);
    if (rc == -ETIMEDOUT)
        return rc;
    if (!rc) {
        disk->capacity = call->info.capacity;
        disk->allocation = call->info.allocation;
    }
    size_free(call);
    if (rc && !domain->active)
        rc = size_of_image(disk, err);
    /* of a domain that is shut off libvirt tells the size of the device */
    if (!rc && disk->chain.n && disk->chain.layers[0].slice)
        disk->capacity = disk->chain.layers[0].slice;
    return rc;
}

/* --- a pause by an error --- */

struct pause_call {
    virDomainPtr dom; /* a reference */
    struct bm_io_pause found;
};

static void pause_free(void *arg)
{
    virDomainFree(((struct pause_call *)arg)->dom);
    free(arg);
}

static int pause_fn(void *arg)
{
    struct pause_call *call = arg;
    virDomainDiskError errors[BM_IO_FAULTS];
    int state, reason, n;

    if (virDomainGetState(call->dom, &state, &reason, 0) < 0)
        return -1;
    call->found.paused =
        state == VIR_DOMAIN_PAUSED && reason == VIR_DOMAIN_PAUSED_IOERROR;
    if (!call->found.paused)
        return 0;
    n = virDomainGetDiskErrors(call->dom, errors, BM_IO_FAULTS, 0);
    for (int i = 0; i < n; i++) {
        struct bm_io_fault *fault = &call->found.faults[call->found.n++];

        snprintf(fault->target, sizeof fault->target, "%s", errors[i].disk);
        fault->no_space = errors[i].error == VIR_DOMAIN_DISK_ERROR_NO_SPACE;
        free(errors[i].disk);
    }
    return n < 0 ? -1 : 0;
}

int bm_domain_io_pause(const struct bm_domain *domain, struct bm_io_pause *out,
                       struct bm_error *err)
{
    struct pause_call *call = calloc(1, sizeof *call);
    int rc;

    if (!call)
        return bm_fail_errno(err, ENOMEM, "cannot look at %s", domain->name);
    virDomainRef(domain->dom);
    call->dom = domain->dom;
    rc = bm_call("cannot read the domain's state", bm_call_ms(), pause_fn, call,
                 pause_free, err);
    if (rc == -ETIMEDOUT)
        return rc;
    *out = call->found;
    pause_free(call);
    return rc;
}

/* --- a job of the whole domain --- */

struct busy_call {
    virDomainPtr dom; /* a reference */
    virDomainJobInfo info;
};

static void busy_free(void *arg)
{
    virDomainFree(((struct busy_call *)arg)->dom);
    free(arg);
}

static int busy_fn(void *arg)
{
    struct busy_call *call = arg;

    return virDomainGetJobInfo(call->dom, &call->info);
}

int bm_domain_busy(struct bm_domain *domain, bool *busy, struct bm_error *err)
{
    struct busy_call *call = calloc(1, sizeof *call);
    int rc;

    if (!call)
        return bm_fail_errno(err, ENOMEM, "cannot look at %s", domain->name);
    virDomainRef(domain->dom);
    call->dom = domain->dom;
    rc = bm_call("cannot read the domain's job", bm_call_ms(), busy_fn, call,
                 busy_free, err);
    if (rc == -ETIMEDOUT)
        return rc;
    *busy = call->info.type != VIR_DOMAIN_JOB_NONE;
    busy_free(call);
    return rc;
}
