// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/domain/snapshot-call.h"
#include "snapshot/libvirt/timed-call.h"

#include <errno.h>

struct make_call {
    virDomainPtr dom; /* a reference */
    char *xml;
    unsigned flags;
};

static void make_free(void *arg)
{
    struct make_call *call = arg;

    virDomainFree(call->dom);
    free(call->xml);
    free(call);
}

static int make_fn(void *arg)
{
    struct make_call *call = arg;
    virDomainSnapshotPtr snapshot =
        virDomainSnapshotCreateXML(call->dom, call->xml, call->flags);

    if (!snapshot)
        return -1;
    virDomainSnapshotFree(snapshot);
    return 0;
}

int bm_snapshot_make(struct bm_domain *domain, const char *what, char *xml,
                     unsigned flags, int timeout_ms, struct bm_error *err)
{
    struct make_call *call = calloc(1, sizeof *call);
    int rc;

    if (!call || !xml) {
        free(call);
        free(xml);
        return bm_fail_errno(err, ENOMEM, "%s", what);
    }
    virDomainRef(domain->dom);
    *call = (struct make_call){domain->dom, xml, flags};
    rc = bm_call(what, timeout_ms, make_fn, call, make_free, err);
    if (rc != -ETIMEDOUT)
        make_free(call);
    return rc;
}
