// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/blockjob/backup.h"

#include "snapshot/libvirt/timed-call.h"
#include "snapshot/libvirt/xml.h"

#include <errno.h>
#include <libvirt/virterror.h>
#include <string.h>

struct backup_call {
    virDomainPtr dom; /* a reference */
    char *xml;        /* in, or out; NULL: there is no backup */
};

static void backup_free(void *arg)
{
    struct backup_call *call = arg;

    virDomainFree(call->dom);
    free(call->xml);
    free(call);
}

static struct backup_call *backup_new(struct bm_domain *domain)
{
    struct backup_call *call = calloc(1, sizeof *call);

    if (call) {
        virDomainRef(domain->dom);
        call->dom = domain->dom;
    }
    return call;
}

/* --- beginning --- */

static char *backup_xml(const char *socket, const struct bm_backup_disk *disks,
                        size_t n)
{
    BM_XMLDOC xmlDocPtr doc = xmlNewDoc(BAD_CAST "1.0");
    xmlNodePtr root = xmlNewDocNode(doc, NULL, BAD_CAST "domainbackup", NULL);
    xmlNodePtr server, list;

    xmlDocSetRootElement(doc, root);
    bm_xml_set(root, "mode", "pull");
    server = bm_xml_add(root, "server", NULL);
    bm_xml_set(server, "transport", "unix");
    bm_xml_set(server, "socket", socket);
    list = bm_xml_add(root, "disks", NULL);
    for (size_t i = 0; i < n; i++) {
        xmlNodePtr disk = bm_xml_add(list, "disk", NULL);

        bm_xml_set(disk, "name", disks[i].target);
        bm_xml_set(disk, "backup", "yes");
        bm_xml_set(disk, "type", "file");
        bm_xml_set(disk, "exportname", disks[i].target);
        bm_xml_set(bm_xml_add(disk, "scratch", NULL), "file", disks[i].scratch);
    }
    return bm_xml_dump(root);
}

static int begin_fn(void *arg)
{
    struct backup_call *call = arg;

    return virDomainBackupBegin(call->dom, call->xml, NULL, 0);
}

int bm_backup_begin(struct bm_domain *domain, const char *socket,
                    const struct bm_backup_disk *disks, size_t n,
                    struct bm_error *err)
{
    struct backup_call *call = backup_new(domain);
    char what[300];
    int rc;

    snprintf(what, sizeof what, "cannot serve the disks of %s", domain->name);
    if (call)
        call->xml = backup_xml(socket, disks, n);
    if (!call || !call->xml) {
        if (call)
            backup_free(call);
        return bm_fail_errno(err, ENOMEM, "%s", what);
    }
    rc = bm_call(what, bm_call_ms(), begin_fn, call, backup_free, err);
    if (rc != -ETIMEDOUT)
        backup_free(call);
    return rc;
}

/* --- looking --- */

static int look_fn(void *arg)
{
    struct backup_call *call = arg;

    call->xml = virDomainBackupGetXMLDesc(call->dom, 0);
    if (call->xml || virGetLastErrorCode() == VIR_ERR_NO_DOMAIN_BACKUP ||
        virDomainIsActive(call->dom) == 0)
        return 0;
    return -1;
}

static enum bm_backup whose(const char *xml, const char *socket)
{
    BM_XMLDOC xmlDocPtr doc = xml ? bm_xml_parse(xml) : NULL;
    xmlNodePtr root = doc ? xmlDocGetRootElement(doc) : NULL;

    if (!xml)
        return BM_BACKUP_NONE;
    return bm_xml_attr_is(bm_xml_child(root, "server"), "socket", socket)
               ? BM_BACKUP_OURS
               : BM_BACKUP_FOREIGN;
}

int bm_backup_look(struct bm_domain *domain, const char *socket,
                   enum bm_backup *out, struct bm_error *err)
{
    struct backup_call *call = backup_new(domain);
    char what[300];
    int rc;

    *out = BM_BACKUP_NONE;
    snprintf(what, sizeof what, "cannot look for a backup of %s", domain->name);
    if (!call)
        return bm_fail_errno(err, ENOMEM, "%s", what);
    rc = bm_call(what, bm_call_ms(), look_fn, call, backup_free, err);
    if (rc == -ETIMEDOUT)
        return rc;
    if (!rc)
        *out = whose(call->xml, socket);
    backup_free(call);
    return rc;
}

/* --- ending --- */

/* One that has ended meanwhile is what was asked for. */
static int end_fn(void *arg)
{
    struct backup_call *call = arg;

    if (virDomainAbortJob(call->dom) == 0 ||
        virDomainIsActive(call->dom) == 0 ||
        virGetLastErrorCode() == VIR_ERR_OPERATION_INVALID)
        return 0;
    return -1;
}

int bm_backup_end(struct bm_domain *domain, const char *socket,
                  struct bm_error *err)
{
    struct backup_call *call;
    enum bm_backup is;
    char what[300];
    int rc = bm_backup_look(domain, socket, &is, err);

    if (rc || is == BM_BACKUP_NONE)
        return rc;
    snprintf(what, sizeof what, "cannot end the view of %s", domain->name);
    if (is == BM_BACKUP_FOREIGN) {
        bm_fail(err, EBUSY, "%s", what);
        return bm_cause(err, "the backup that is under way is not ours"),
               -EBUSY;
    }
    call = backup_new(domain);
    if (!call)
        return bm_fail_errno(err, ENOMEM, "%s", what);
    rc = bm_call(what, bm_call_ms(), end_fn, call, backup_free, err);
    if (rc != -ETIMEDOUT)
        backup_free(call);
    return rc;
}
