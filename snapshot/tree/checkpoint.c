// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/tree/checkpoint.h"

#include "nbd/base/cleanup.h"
#include "snapshot/libvirt/timed-call.h"
#include "snapshot/libvirt/xml.h"

#include <errno.h>
#include <libvirt/virterror.h>
#include <string.h>

struct call {
    virDomainPtr dom; /* a reference */
    bool active;
    char *name; /* of the one to forget */
    /* what was read: an XML for each */
    char **xmls;
    int n;
};

static void call_free(void *arg)
{
    struct call *call = arg;

    if (call->dom)
        virDomainFree(call->dom);
    for (int i = 0; call->xmls && i < call->n; i++)
        free(call->xmls[i]);
    free(call->xmls);
    free(call->name);
    free(call);
}

static struct call *new_call(struct bm_domain *domain)
{
    struct call *call = calloc(1, sizeof *call);

    if (!call)
        return NULL;
    virDomainRef(domain->dom);
    call->dom = domain->dom;
    call->active = domain->active;
    return call;
}

void bm_checkpoints_clear(struct bm_checkpoints *checkpoints)
{
    for (size_t i = 0; i < checkpoints->n; i++) {
        struct bm_checkpoint *one = &checkpoints->list[i];

        for (size_t d = 0; d < one->n_disks; d++) {
            free(one->disks[d].target);
            free(one->disks[d].bitmap);
        }
        free(one->disks);
        free(one->name);
    }
    free(checkpoints->list);
    memset(checkpoints, 0, sizeof *checkpoints);
}

const struct bm_checkpoint_disk *
bm_checkpoint_disk(const struct bm_checkpoint *checkpoint, const char *target)
{
    for (size_t i = 0; i < checkpoint->n_disks; i++)
        if (!strcmp(checkpoint->disks[i].target, target))
            return &checkpoint->disks[i];
    return NULL;
}

/* --- reading --- */

/* Of a bitmap that is missing or broken libvirt tells no size. */
static int read_fn(void *arg)
{
    struct call *call = arg;
    unsigned flags = VIR_DOMAIN_CHECKPOINT_XML_NO_DOMAIN |
                     (call->active ? VIR_DOMAIN_CHECKPOINT_XML_SIZE : 0);
    virDomainCheckpointPtr *list = NULL;
    int n = virDomainListAllCheckpoints(call->dom, &list,
                                        VIR_DOMAIN_CHECKPOINT_LIST_TOPOLOGICAL);
    int rc = 0;

    if (n < 0)
        return virGetLastErrorCode() == VIR_ERR_NO_SUPPORT ? 0 : -1;
    call->xmls = calloc((size_t)n + 1, sizeof *call->xmls);
    for (int i = 0; i < n; i++) {
        if (!rc && call->xmls)
            call->xmls[i] = virDomainCheckpointGetXMLDesc(list[i], flags);
        if (!call->xmls || !call->xmls[i])
            rc = -1;
        virDomainCheckpointFree(list[i]);
    }
    call->n = call->xmls ? n : 0;
    free(list);
    return rc;
}

static int read_disk(xmlNodePtr node, struct bm_checkpoint *out)
{
    struct bm_checkpoint_disk *disks =
        realloc(out->disks, (out->n_disks + 1) * sizeof *disks);
    struct bm_checkpoint_disk *disk;
    BM_FREE char *size = NULL;

    if (!disks)
        return -ENOMEM;
    out->disks = disks;
    disk = &disks[out->n_disks++];
    size = bm_xml_attr(node, "size");
    *disk = (struct bm_checkpoint_disk){.target = bm_xml_attr(node, "name"),
                                        .bitmap = bm_xml_attr(node, "bitmap"),
                                        .whole = size != NULL};
    return disk->target && disk->bitmap ? 0 : -ENOMEM;
}

static int read_one(const char *xml, struct bm_checkpoint *out)
{
    BM_XMLDOC xmlDocPtr doc = bm_xml_parse(xml);
    xmlNodePtr root = doc ? xmlDocGetRootElement(doc) : NULL;
    xmlNodePtr disk = bm_xml_child(bm_xml_child(root, "disks"), "disk");
    int rc = 0;

    out->name = bm_xml_text(bm_xml_child(root, "name"));
    for (; !rc && disk; disk = bm_xml_next(disk, "disk"))
        if (bm_xml_attr_is(disk, "checkpoint", "bitmap"))
            rc = read_disk(disk, out);
    return out->name ? rc : -EINVAL;
}

static int read_all(const struct call *call, struct bm_checkpoints *out)
{
    int rc = 0;

    out->list = calloc((size_t)call->n + 1, sizeof *out->list);
    if (!out->list)
        return -ENOMEM;
    for (int i = 0; !rc && i < call->n; i++)
        rc = read_one(call->xmls[i], &out->list[out->n++]);
    return rc;
}

int bm_checkpoints_read(struct bm_domain *domain, struct bm_checkpoints *out,
                        struct bm_error *err)
{
    struct call *call = new_call(domain);
    int rc;

    memset(out, 0, sizeof *out);
    if (!call)
        return bm_fail_errno(err, ENOMEM, "cannot read the checkpoints of %s",
                             domain->name);
    rc = bm_call("cannot read the domain's checkpoints", bm_call_ms(), read_fn,
                 call, call_free, err);
    if (rc == -ETIMEDOUT)
        return rc;
    if (!rc && (rc = read_all(call, out))) {
        bm_checkpoints_clear(out);
        bm_fail_errno(err, -rc, "cannot read the checkpoints of %s",
                      domain->name);
    }
    call_free(call);
    return rc;
}

/* --- forgetting --- */

static int forget_fn(void *arg)
{
    struct call *call = arg;
    virDomainCheckpointPtr checkpoint =
        virDomainCheckpointLookupByName(call->dom, call->name, 0);
    int rc;

    if (!checkpoint)
        return virGetLastErrorCode() == VIR_ERR_NO_DOMAIN_CHECKPOINT ? 0 : -1;
    rc = virDomainCheckpointDelete(checkpoint,
                                   VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY);
    virDomainCheckpointFree(checkpoint);
    return rc;
}

int bm_checkpoint_forget(struct bm_domain *domain, const char *name,
                         struct bm_error *err)
{
    struct call *call = new_call(domain);
    int rc;

    if (!call || !(call->name = strdup(name))) {
        if (call)
            call_free(call);
        return bm_fail_errno(err, ENOMEM, "cannot delete checkpoint %s", name);
    }
    rc = bm_call("cannot delete a checkpoint's metadata", bm_call_ms(),
                 forget_fn, call, call_free, err);
    if (rc != -ETIMEDOUT)
        call_free(call);
    return rc;
}
