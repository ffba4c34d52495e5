// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/tree/metadata.h"

#include "nbd/base/cleanup.h"
#include "snapshot/libvirt/timed-call.h"
#include "snapshot/tree/metadata-xml.h"
#include "snapshot/libvirt/volume.h"
#include "snapshot/domain/snapshot-call.h"

#include <errno.h>
#include <libvirt/virterror.h>
#include <string.h>

void bm_snapshots_clear(struct bm_snapshots *snapshots)
{
    for (size_t i = 0; i < snapshots->n; i++) {
        free(snapshots->list[i].name);
        free(snapshots->list[i].xml);
    }
    free(snapshots->list);
    memset(snapshots, 0, sizeof *snapshots);
}

/* --- reading --- */

struct read_call {
    virDomainPtr dom; /* a reference */
    struct bm_snapshots found;
};

static void read_free(void *arg)
{
    struct read_call *call = arg;

    virDomainFree(call->dom);
    bm_snapshots_clear(&call->found);
    free(call);
}

static int read_one(struct read_call *call, virDomainSnapshotPtr snapshot,
                    struct bm_snapshot *into)
{
    const char *name = virDomainSnapshotGetName(snapshot);
    int current = virDomainSnapshotIsCurrent(snapshot, 0);

    into->xml =
        virDomainSnapshotGetXMLDesc(snapshot, VIR_DOMAIN_SNAPSHOT_XML_SECURE);
    into->name = name ? strdup(name) : NULL;
    into->current = current > 0;
    if (!into->xml || !into->name || current < 0)
        return -1;
    return bm_snapshot_volumes(virDomainGetConnect(call->dom), &into->xml);
}

static int read_fn(void *arg)
{
    struct read_call *call = arg;
    virDomainSnapshotPtr *list = NULL;
    int n = virDomainListAllSnapshots(call->dom, &list,
                                      VIR_DOMAIN_SNAPSHOT_LIST_TOPOLOGICAL);
    int rc = 0;

    if (n < 0)
        return virGetLastErrorCode() == VIR_ERR_NO_SUPPORT ? 0 : -1;
    call->found.list = calloc((size_t)n + 1, sizeof *call->found.list);
    for (int i = 0; i < n; i++) {
        if (!call->found.list)
            rc = -1;
        if (!rc)
            rc = read_one(call, list[i], &call->found.list[call->found.n++]);
        virDomainSnapshotFree(list[i]);
    }
    free(list);
    return rc;
}

int bm_snapshots_read(struct bm_domain *domain, struct bm_snapshots *out,
                      struct bm_error *err)
{
    struct read_call *call = calloc(1, sizeof *call);
    char what[300];
    int rc;

    memset(out, 0, sizeof *out);
    snprintf(what, sizeof what, "cannot read the snapshots of %s",
             domain->name);
    if (!call)
        return bm_fail_errno(err, ENOMEM, "%s", what);
    virDomainRef(domain->dom);
    call->dom = domain->dom;
    rc = bm_call(what, bm_call_ms(), read_fn, call, read_free, err);
    if (rc == -ETIMEDOUT)
        return rc;
    if (!rc) {
        *out = call->found;
        memset(&call->found, 0, sizeof call->found);
    }
    read_free(call);
    return rc;
}

/* --- writing --- */

int bm_snapshot_redefine(struct bm_domain *domain,
                         const struct bm_snapshot *snapshot, const char *xml,
                         struct bm_error *err)
{
    unsigned flags = VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE;
    char what[400];
    int rc;

    snprintf(what, sizeof what,
             "cannot write the new images into snapshot %s of %s",
             snapshot->name, domain->name);
    /* without it libvirt forgets which one is the current one */
    if (snapshot->current)
        flags |= VIR_DOMAIN_SNAPSHOT_CREATE_CURRENT;
    rc = bm_snapshot_make(domain, what, strdup(xml), flags, bm_call_ms(), err);
    if (rc == -ENOTSUP && !domain->active &&
        domain->checkpoints > 0) /* libvirt 9.0 */
        bm_remedy(err, "start the domain: while it is off and has checkpoints "
                       "libvirt changes none of its snapshots");
    return rc;
}

int bm_snapshot_replace(struct bm_domain *domain,
                        const struct bm_snapshot *snapshot,
                        const struct bm_image_moved *moved, size_t n,
                        struct bm_error *err)
{
    BM_FREE char *xml = NULL;
    int rc = bm_snapshot_xml_replace(snapshot->xml, moved, n, &xml);

    if (rc)
        return bm_fail_errno(err, -rc, "cannot read snapshot %s of %s",
                             snapshot->name, domain->name);
    rc = xml ? bm_snapshot_redefine(domain, snapshot, xml, err) : 0;
    return rc ? rc : xml != NULL;
}

/* --- taking away --- */

struct forget_call {
    virDomainPtr dom; /* a reference */
    char *name;
};

static void forget_free(void *arg)
{
    struct forget_call *call = arg;

    virDomainFree(call->dom);
    free(call->name);
    free(call);
}

static int redefine_hidden(virDomainPtr dom, virDomainSnapshotPtr snapshot)
{
    char *xml =
        virDomainSnapshotGetXMLDesc(snapshot, VIR_DOMAIN_SNAPSHOT_XML_SECURE);
    BM_FREE char *hidden = NULL;
    unsigned flags = VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE;
    virDomainSnapshotPtr same;
    int rc = xml ? bm_snapshot_xml_hide(xml, &hidden) : -1;

    free(xml);
    if (rc)
        return -1;
    if (virDomainSnapshotIsCurrent(snapshot, 0) > 0)
        flags |= VIR_DOMAIN_SNAPSHOT_CREATE_CURRENT;
    same = virDomainSnapshotCreateXML(dom, hidden, flags);
    if (!same)
        return -1;
    virDomainSnapshotFree(same);
    return 0;
}

static int forget_fn(void *arg)
{
    struct forget_call *call = arg;
    virDomainSnapshotPtr snapshot =
        virDomainSnapshotLookupByName(call->dom, call->name, 0);
    int rc;

    if (!snapshot)
        return virGetLastErrorCode() == VIR_ERR_NO_DOMAIN_SNAPSHOT ? 0 : -1;
    rc = redefine_hidden(call->dom, snapshot);
    if (!rc)
        rc = virDomainSnapshotDelete(snapshot,
                                     VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY);
    virDomainSnapshotFree(snapshot);
    return rc;
}

int bm_snapshot_forget(struct bm_domain *domain, const char *name,
                       struct bm_error *err)
{
    struct forget_call *call = calloc(1, sizeof *call);
    char what[400];
    int rc;

    snprintf(what, sizeof what, "cannot take snapshot %s of %s away", name,
             domain->name);
    if (!call || !(call->name = strdup(name))) {
        free(call);
        return bm_fail_errno(err, ENOMEM, "%s", what);
    }
    virDomainRef(domain->dom);
    call->dom = domain->dom;
    rc = bm_call(what, bm_call_ms(), forget_fn, call, forget_free, err);
    if (rc != -ETIMEDOUT)
        forget_free(call);
    return rc;
}
