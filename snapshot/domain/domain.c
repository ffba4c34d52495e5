// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/domain/domain.h"

#include "nbd/base/cleanup.h"
#include "snapshot/libvirt/timed-call.h"
#include "snapshot/libvirt/volume.h"
#include "snapshot/libvirt/xml.h"

#include <errno.h>
#include <libvirt/virterror.h>
#include <string.h>

/* --- asking libvirt, all in one abandonable call --- */

struct read_call {
    virConnectPtr conn; /* a reference */
    char *name;         /* a name, or the UUID */
    bool by_uuid;
    virDomainPtr dom;
    char uuid[VIR_UUID_STRING_BUFLEN];
    int state, reason, id, persistent, managed_save, snapshots, checkpoints;
    char *xml, *inactive_xml, *stamp;
};

static void read_free(void *arg)
{
    struct read_call *call = arg;

    if (call->dom)
        virDomainFree(call->dom);
    virConnectClose(call->conn);
    free(call->name);
    free(call->xml);
    free(call->inactive_xml);
    free(call->stamp);
    free(call);
}

static virDomainPtr look_up(struct read_call *call)
{
    virDomainPtr dom;
    char *end;
    long id;

    if (call->by_uuid)
        return virDomainLookupByUUIDString(call->conn, call->name);
    dom = virDomainLookupByName(call->conn, call->name);
    if (dom)
        return dom;
    dom = virDomainLookupByUUIDString(call->conn, call->name);
    if (dom)
        return dom;
    id = strtol(call->name, &end, 10);
    if (end != call->name && !*end && id > 0)
        return virDomainLookupByID(call->conn, (int)id);
    /* the error of the look-up by name is the one to show */
    return virDomainLookupByName(call->conn, call->name);
}

/* A count that a driver does not know is none. */
static int count_or_none(int n)
{
    return n < 0 && virGetLastErrorCode() == VIR_ERR_NO_SUPPORT ? 0 : n;
}

static int read_counts(struct read_call *call)
{
    call->persistent = virDomainIsPersistent(call->dom);
    call->managed_save =
        call->persistent > 0 ? virDomainHasManagedSaveImage(call->dom, 0) : 0;
    call->snapshots = count_or_none(virDomainSnapshotNum(call->dom, 0));
    call->checkpoints =
        count_or_none(virDomainListAllCheckpoints(call->dom, NULL, 0));
    return call->persistent < 0 || call->managed_save < 0 ||
                   call->snapshots < 0 || call->checkpoints < 0
               ? -1
               : 0;
}

static int read_fn(void *arg)
{
    struct read_call *call = arg;

    call->dom = look_up(call);
    if (!call->dom || virDomainGetUUIDString(call->dom, call->uuid) < 0)
        return -1;
    if (virDomainGetState(call->dom, &call->state, &call->reason, 0) < 0 ||
        read_counts(call) < 0)
        return -1;
    call->id = (int)virDomainGetID(call->dom);
    call->xml = virDomainGetXMLDesc(call->dom, 0);
    if (!call->xml || bm_volumes_to_paths(call->conn, &call->xml) < 0)
        return -1;
    if (call->persistent) {
        call->inactive_xml =
            virDomainGetXMLDesc(call->dom, VIR_DOMAIN_XML_INACTIVE);
        if (!call->inactive_xml ||
            bm_volumes_to_paths(call->conn, &call->inactive_xml) < 0)
            return -1;
    }
    call->stamp = virDomainGetMetadata(call->dom, VIR_DOMAIN_METADATA_ELEMENT,
                                       BM_STAMP_URI, VIR_DOMAIN_AFFECT_CURRENT);
    if (!call->stamp && virGetLastErrorCode() != VIR_ERR_NO_DOMAIN_METADATA)
        return -1;
    return 0;
}

/* --- a disk from its XML --- */

static bool has(xmlNodePtr element, const char *child)
{
    return bm_xml_child(element, child) != NULL;
}

static int read_mirror(xmlNodePtr element, struct bm_disk *disk)
{
    xmlNodePtr mirror = bm_xml_child(element, "mirror");

    if (!mirror)
        return 0;
    disk->mirror = true;
    disk->mirror_ready = bm_xml_attr_is(mirror, "ready", "yes");
    disk->mirror_job = bm_xml_attr(mirror, "job");
    return bm_chain_from_xml(mirror, &disk->mirror_chain);
}

static void read_flags(xmlNodePtr element, struct bm_disk *disk)
{
    xmlNodePtr driver = bm_xml_child(element, "driver");

    disk->cache = bm_xml_attr(driver, "cache");
    disk->iothread = bm_xml_attr(driver, "iothread");
    disk->discard = bm_xml_attr(driver, "discard");
    disk->error_policy = bm_xml_attr(driver, "error_policy");
    disk->copy_on_read = bm_xml_attr_is(driver, "copy_on_read", "on");
    disk->readonly = has(element, "readonly");
    disk->shareable = has(element, "shareable");
    disk->transient = has(element, "transient");
    for (size_t i = 0; i < disk->chain.n; i++) {
        disk->encrypted |= disk->chain.layers[i].encrypted;
        disk->sliced |=
            disk->chain.layers[i].sliced && !disk->chain.layers[i].slice;
    }
}

static int read_disk(xmlNodePtr element, struct bm_disk *disk)
{
    xmlNodePtr target = bm_xml_child(element, "target");

    disk->target = bm_xml_attr(target, "dev");
    disk->bus = bm_xml_attr(target, "bus");
    disk->device = bm_xml_attr(element, "device");
    disk->serial = bm_xml_text(bm_xml_child(element, "serial"));
    if (!disk->device)
        disk->device = strdup("disk");
    if (bm_chain_from_xml(element, &disk->chain) < 0 ||
        read_mirror(element, disk) < 0)
        return -ENOMEM;
    read_flags(element, disk);
    return disk->target && disk->device ? 0 : -EINVAL;
}

static void disk_clear(struct bm_disk *disk)
{
    free(disk->target);
    free(disk->bus);
    free(disk->device);
    free(disk->cache);
    free(disk->iothread);
    free(disk->discard);
    free(disk->serial);
    free(disk->error_policy);
    free(disk->mirror_job);
    bm_chain_clear(&disk->chain);
    bm_chain_clear(&disk->inactive);
    bm_chain_clear(&disk->mirror_chain);
}

static int read_disks(xmlNodePtr root, struct bm_domain *domain)
{
    xmlNodePtr devices = bm_xml_child(root, "devices");
    xmlNodePtr node = bm_xml_child(devices, "disk");

    for (; node; node = bm_xml_next(node, "disk")) {
        struct bm_disk *disks =
            realloc(domain->disks, (domain->n_disks + 1) * sizeof *disks);

        if (!disks)
            return -ENOMEM;
        domain->disks = disks;
        memset(&disks[domain->n_disks], 0, sizeof *disks);
        if (read_disk(node, &disks[domain->n_disks++]) < 0)
            return -EINVAL;
    }
    return 0;
}

/* The inactive chain of each disk that the live XML has as well. */
static int read_inactive(xmlNodePtr root, struct bm_domain *domain)
{
    xmlNodePtr devices = bm_xml_child(root, "devices");
    xmlNodePtr node = bm_xml_child(devices, "disk");

    for (; node; node = bm_xml_next(node, "disk")) {
        BM_FREE char *target = bm_xml_attr(bm_xml_child(node, "target"), "dev");

        for (size_t i = 0; target && i < domain->n_disks; i++)
            if (!strcmp(domain->disks[i].target, target) &&
                bm_chain_from_xml(node, &domain->disks[i].inactive) < 0)
                return -ENOMEM;
    }
    return 0;
}

static int read_xml(struct read_call *call, struct bm_domain *domain)
{
    BM_XMLDOC xmlDocPtr doc = bm_xml_parse(call->xml);
    BM_XMLDOC xmlDocPtr inactive =
        call->inactive_xml ? bm_xml_parse(call->inactive_xml) : NULL;
    xmlNodePtr root = doc ? xmlDocGetRootElement(doc) : NULL;

    if (!root || (call->inactive_xml && !inactive))
        return -EINVAL;
    domain->name = bm_xml_text(bm_xml_child(root, "name"));
    domain->seclabel_model =
        bm_xml_attr(bm_xml_child(root, "seclabel"), "model");
    if (!domain->name || read_disks(root, domain) < 0)
        return -EINVAL;
    return inactive ? read_inactive(xmlDocGetRootElement(inactive), domain) : 0;
}

static struct bm_domain *from_call(struct read_call *call)
{
    struct bm_domain *domain = calloc(1, sizeof *domain);

    if (!domain)
        return NULL;
    if (read_xml(call, domain) < 0) {
        bm_domain_free(domain);
        return NULL;
    }
    domain->dom = BM_STEAL(call->dom);
    memcpy(domain->uuid, call->uuid, sizeof domain->uuid);
    domain->stamp = BM_STEAL(call->stamp);
    domain->state = call->state;
    domain->reason = call->reason;
    domain->id = call->id;
    domain->active = call->id > 0;
    domain->persistent = call->persistent;
    domain->managed_save = call->managed_save;
    domain->snapshots = call->snapshots;
    domain->checkpoints = call->checkpoints;
    return domain;
}

static int read_domain(struct bm_connection *conn, const char *name,
                       bool by_uuid, struct bm_domain **out,
                       struct bm_error *err)
{
    struct read_call *call = calloc(1, sizeof *call);
    char what[300];
    int rc;

    if (!call || !(call->name = strdup(name))) {
        free(call);
        return bm_fail_errno(err, ENOMEM, "cannot read domain %s", name);
    }
    call->conn = bm_connection_handle(conn);
    if (!call->conn) {
        free(call->name);
        free(call);
        return bm_fail_errno(err, ECONNRESET, "cannot read domain %s", name);
    }
    virConnectRef(call->conn);
    call->by_uuid = by_uuid;
    snprintf(what, sizeof what, "cannot read domain %s", name);
    rc = bm_call(what, bm_call_ms(), read_fn, call, read_free, err);
    if (rc == -ETIMEDOUT)
        return rc;
    if (!rc) {
        *out = from_call(call);
        if (!*out)
            rc = bm_fail(err, EINVAL, "cannot understand the XML of %s", name);
    }
    read_free(call);
    return rc;
}

int bm_domain_open(struct bm_connection *conn, const char *name,
                   struct bm_domain **out, struct bm_error *err)
{
    int rc = read_domain(conn, name, false, out, err);

    if (rc == -ENOENT) {
        bm_remedy(err, "see virsh list --all");
        bm_status(err, BM_EXIT_REFUSED);
    }
    return rc;
}

int bm_domain_open_uuid(struct bm_connection *conn, const char *uuid,
                        struct bm_domain **out, struct bm_error *err)
{
    return read_domain(conn, uuid, true, out, err);
}

static void clear(struct bm_domain *domain)
{
    for (size_t i = 0; i < domain->n_disks; i++)
        disk_clear(&domain->disks[i]);
    if (domain->dom)
        virDomainFree(domain->dom);
    free(domain->disks);
    free(domain->name);
    free(domain->seclabel_model);
    free(domain->stamp);
}

void bm_domain_free(struct bm_domain *domain)
{
    if (!domain)
        return;
    clear(domain);
    free(domain);
}

int bm_domain_refresh(struct bm_connection *conn, struct bm_domain *domain,
                      struct bm_error *err)
{
    struct bm_domain *fresh;
    int rc = read_domain(conn, domain->uuid, true, &fresh, err);

    if (rc)
        return rc;
    clear(domain);
    *domain = *fresh;
    free(fresh);
    return 0;
}

struct bm_disk *bm_domain_disk(struct bm_domain *domain, const char *name)
{
    for (size_t i = 0; i < domain->n_disks; i++) {
        struct bm_disk *disk = &domain->disks[i];

        if (!strcmp(disk->target, name) ||
            (disk->chain.n && disk->chain.layers[0].path &&
             !strcmp(disk->chain.layers[0].path, name)))
            return disk;
    }
    return NULL;
}

const struct bm_layer *bm_disk_numbered(const struct bm_disk *disk,
                                        const char *name)
{
    for (size_t l = 0; l < disk->chain.n; l++) {
        const struct bm_layer *layer = &disk->chain.layers[l];
        char number[64];

        snprintf(number, sizeof number, "%s[%d]", disk->target, layer->index);
        if (layer->index && !strcmp(name, number))
            return layer;
    }
    return NULL;
}

bool bm_disk_copies_to(const struct bm_disk *disk, const char *path)
{
    return disk && path && disk->mirror && disk->mirror_chain.n &&
           disk->mirror_chain.layers[0].path &&
           !strcmp(disk->mirror_chain.layers[0].path, path);
}

const char *bm_domain_away(const struct bm_domain *domain)
{
    if (domain->active)
        return NULL;
    if (domain->managed_save)
        return "it has a managed save image";
    if (domain->state == VIR_DOMAIN_SHUTOFF &&
        domain->reason == VIR_DOMAIN_SHUTOFF_SAVED)
        return "it was saved to a file";
    if (domain->state == VIR_DOMAIN_SHUTOFF &&
        domain->reason == VIR_DOMAIN_SHUTOFF_MIGRATED)
        return "it was migrated to another host";
    return NULL;
}

bool bm_domain_paused(const struct bm_domain *domain)
{
    return domain->state == VIR_DOMAIN_PAUSED &&
           (domain->reason == VIR_DOMAIN_PAUSED_USER ||
            domain->reason == VIR_DOMAIN_PAUSED_UNKNOWN);
}
