// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What changes a domain. Each is one libvirt call that can be abandoned.
 */
#include "nbd/base/cleanup.h"
#include "snapshot/libvirt/timed-call.h"
#include "snapshot/domain/disk-xml.h"
#include "snapshot/domain/domain.h"
#include "snapshot/libvirt/xml.h"
#include "snapshot/domain/snapshot-call.h"

#include <errno.h>
#include <libvirt/virterror.h>
#include <string.h>

struct change_context {
    virDomainPtr dom; /* a reference */
    char *text;       /* XML or metadata; may be NULL */
    unsigned flags;
    uint64_t size; /* bytes */
};

static void change_free(void *arg)
{
    struct change_context *change = arg;

    virDomainFree(change->dom);
    free(change->text);
    free(change);
}

/* Takes text, also when it fails; NULL: out of memory. */
static struct change_context *change_of(struct bm_domain *domain, char *text)
{
    struct change_context *change = calloc(1, sizeof *change);

    if (!change) {
        free(text);
        return NULL;
    }
    virDomainRef(domain->dom);
    change->dom = domain->dom;
    change->text = text;
    return change;
}

/* Takes change. */
static int run_change(struct bm_domain *domain, const char *verb,
                      int (*fn)(void *), struct change_context *change,
                      int timeout_ms, struct bm_error *err)
{
    char what[300];
    int rc;

    snprintf(what, sizeof what, "cannot %s domain %s", verb, domain->name);
    rc = bm_call(what, timeout_ms, fn, change, change_free, err);
    if (rc != -ETIMEDOUT)
        change_free(change);
    return rc;
}

/* Runs fn on a change made of these; takes text. */
static int run(struct bm_domain *domain, const char *verb, int (*fn)(void *),
               char *text, unsigned flags, int timeout_ms, struct bm_error *err)
{
    struct change_context *change = change_of(domain, text);

    if (!change)
        return bm_fail_errno(err, ENOMEM, "cannot %s domain %s", verb,
                             domain->name);
    change->flags = flags;
    return run_change(domain, verb, fn, change, timeout_ms, err);
}

/* --- pause --- */

static int suspend_fn(void *arg)
{
    return virDomainSuspend(((struct change_context *)arg)->dom);
}

/* A guest that runs already is what was asked for. */
static int resume_fn(void *arg)
{
    virDomainPtr dom = ((struct change_context *)arg)->dom;
    int state;

    if (virDomainResume(dom) == 0 ||
        (virDomainGetState(dom, &state, NULL, 0) == 0 &&
         state == VIR_DOMAIN_RUNNING))
        return 0;
    return virDomainResume(dom); /* its error is the one to show */
}

int bm_domain_suspend(struct bm_domain *domain, int timeout_ms,
                      struct bm_error *err)
{
    return run(domain, "suspend", suspend_fn, NULL, 0, timeout_ms, err);
}

int bm_domain_resume(struct bm_domain *domain, int timeout_ms,
                     struct bm_error *err)
{
    return run(domain, "resume", resume_fn, NULL, 0, timeout_ms, err);
}

/* --- the size of a disk --- */

static int resize_fn(void *arg)
{
    struct change_context *change = arg;

    return virDomainBlockResize(change->dom, change->text, change->size,
                                VIR_DOMAIN_BLOCK_RESIZE_BYTES);
}

int bm_domain_resize(struct bm_domain *domain, const char *target,
                     uint64_t size, struct bm_error *err)
{
    struct change_context *change = change_of(domain, strdup(target));

    if (!change)
        return bm_fail_errno(err, ENOMEM, "cannot resize %s", target);
    change->size = size;
    return run_change(domain, "resize a disk of", resize_fn, change,
                      bm_call_ms(), err);
}

/* --- the stamp --- */

static int stamp_fn(void *arg)
{
    struct change_context *change = arg;
    int rc = virDomainSetMetadata(change->dom, VIR_DOMAIN_METADATA_ELEMENT,
                                  change->text, BM_STAMP_KEY, BM_STAMP_URI,
                                  change->flags);

    /* nothing there to remove is what was asked for */
    if (rc < 0 && !change->text &&
        virGetLastErrorCode() == VIR_ERR_NO_DOMAIN_METADATA)
        return 0;
    return rc;
}

int bm_domain_stamp(struct bm_domain *domain, const char *text,
                    struct bm_error *err)
{
    unsigned flags = 0;
    char *copy = NULL;

    if (domain->active)
        flags |= VIR_DOMAIN_AFFECT_LIVE;
    if (domain->persistent)
        flags |= VIR_DOMAIN_AFFECT_CONFIG;
    if (text && !(copy = strdup(text)))
        return bm_fail_errno(err, ENOMEM, "cannot stamp %s", domain->name);
    return run(domain, text ? "stamp" : "take our stamp off", stamp_fn, copy,
               flags, bm_call_ms(), err);
}

/* --- freeze --- */

char *bm_domain_freeze_xml(const struct bm_domain *domain,
                           const char *const overlays[])
{
    BM_XMLDOC xmlDocPtr doc = xmlNewDoc(BAD_CAST "1.0");
    xmlNodePtr root = xmlNewDocNode(doc, NULL, BAD_CAST "domainsnapshot", NULL);
    xmlNodePtr disks;

    xmlDocSetRootElement(doc, root);
    disks = bm_xml_add(root, "disks", NULL);
    for (size_t i = 0; i < domain->n_disks; i++) {
        xmlNodePtr disk = bm_xml_add(disks, "disk", NULL);

        bm_xml_set(disk, "name", domain->disks[i].target);
        bm_xml_set(disk, "snapshot", overlays[i] ? "external" : "no");
        if (!overlays[i])
            continue;
        bm_xml_set(disk, "type", "file");
        bm_xml_set(bm_xml_add(disk, "driver", NULL), "type", "qcow2");
        bm_xml_set(bm_xml_add(disk, "source", NULL), "file", overlays[i]);
    }
    return bm_xml_dump(root);
}

int bm_domain_freeze(struct bm_domain *domain, const char *const overlays[],
                     bool made, int timeout_ms, struct bm_error *err)
{
    char what[300];

    snprintf(what, sizeof what,
             "cannot put an overlay on the disks of domain %s", domain->name);
    return bm_snapshot_make(
        domain, what, bm_domain_freeze_xml(domain, overlays),
        VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY |
            VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA |
            VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC |
            (made ? VIR_DOMAIN_SNAPSHOT_CREATE_REUSE_EXT : 0),
        timeout_ms, err);
}

/* --- the inactive XML --- */

struct config_call {
    virDomainPtr dom; /* a reference */
    char *target;
    struct bm_chain chain;
};

static void config_free(void *arg)
{
    struct config_call *call = arg;

    virDomainFree(call->dom);
    free(call->target);
    bm_chain_clear(&call->chain);
    free(call);
}

/* The <disk> of that target in the inactive XML, with our source put in. */
static char *edited_disk(struct config_call *call, const char *xml)
{
    BM_XMLDOC xmlDocPtr doc = bm_xml_parse(xml);
    xmlNodePtr root = doc ? xmlDocGetRootElement(doc) : NULL;
    xmlNodePtr disk = bm_xml_child(bm_xml_child(root, "devices"), "disk");

    for (; disk; disk = bm_xml_next(disk, "disk"))
        if (bm_xml_attr_is(bm_xml_child(disk, "target"), "dev", call->target))
            break;
    if (!disk)
        return NULL;
    bm_disk_xml_replace(disk, &call->chain);
    return bm_xml_dump(disk);
}

static int config_fn(void *arg)
{
    struct config_call *call = arg;
    BM_FREE char *disk = NULL;
    char *xml = virDomainGetXMLDesc(call->dom, VIR_DOMAIN_XML_INACTIVE |
                                                   VIR_DOMAIN_XML_SECURE);

    if (!xml)
        return -1;
    disk = edited_disk(call, xml);
    free(xml);
    if (!disk)
        return -1;
    return virDomainUpdateDeviceFlags(call->dom, disk,
                                      VIR_DOMAIN_AFFECT_CONFIG);
}

int bm_domain_set_config(struct bm_domain *domain, const char *target,
                         const struct bm_chain *chain, struct bm_error *err)
{
    struct config_call *call = calloc(1, sizeof *call);
    char what[300];
    int rc;

    snprintf(what, sizeof what,
             "cannot write the new image of disk %s into the saved XML of %s",
             target, domain->name);
    if (!call || !(call->target = strdup(target)) ||
        bm_chain_copy(chain, &call->chain) < 0) {
        if (call)
            free(call->target);
        free(call);
        return bm_fail_errno(err, ENOMEM, "%s", what);
    }
    virDomainRef(domain->dom);
    call->dom = domain->dom;
    rc = bm_call(what, bm_call_ms(), config_fn, call, config_free, err);
    if (rc != -ETIMEDOUT)
        config_free(call);
    return rc;
}
