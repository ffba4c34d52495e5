// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Who uses an image: every path that any domain or snapshot of a connection
 * names. An image has a set of users, and only an empty one allows deleting.
 */
#include "nbd/base/cleanup.h"
#include "snapshot/libvirt/timed-call.h"
#include "snapshot/domain/domain.h"
#include "snapshot/libvirt/volume.h"
#include "snapshot/libvirt/xml.h"

#include <errno.h>
#include <libvirt/virterror.h>
#include <stdlib.h>
#include <string.h>

#define USERS_MS 60000

struct user {
    char uuid[VIR_UUID_STRING_BUFLEN];
    char *name, *path;
    bool overlay, plain;
};

struct users_call {
    virConnectPtr conn; /* a reference */
    struct user *users;
    size_t n;
    bool overlay, plain; /* of what is being read */
    bool all;            /* what is no image, too */
};

static void users_free(void *arg)
{
    struct users_call *call = arg;

    for (size_t i = 0; i < call->n; i++) {
        free(call->users[i].name);
        free(call->users[i].path);
    }
    free(call->users);
    virConnectClose(call->conn);
    free(call);
}

/* Takes path. */
static int add_user(struct users_call *call, virDomainPtr dom, char *path)
{
    struct user *users = NULL;
    struct user *user;

    if (path)
        users = realloc(call->users, (call->n + 1) * sizeof *users);
    if (!users) {
        free(path);
        return -1;
    }
    call->users = users;
    user = &users[call->n];
    user->path = path;
    user->overlay = call->overlay;
    user->plain = call->plain;
    user->name = strdup(virDomainGetName(dom));
    call->n++;
    return user->name ? virDomainGetUUIDString(dom, user->uuid) : -1;
}

/* A volume is a path as well; one that cannot be resolved is unknown, and
 * unknown is an error: then nobody may say "unused". */
static int add_volume(struct users_call *call, virDomainPtr dom,
                      xmlNodePtr source)
{
    BM_FREE char *pool_name = bm_xml_attr(source, "pool");
    BM_FREE char *vol_name = bm_xml_attr(source, "volume");
    char *path;

    if (!pool_name || !vol_name)
        return 0;
    path = bm_volume_path(call->conn, pool_name, vol_name, NULL);
    return path ? add_user(call, dom, path) : -1;
}

/* Of a <domainsnapshot>: the state is in its <domain>. */
static bool is_overlays(xmlNodePtr node)
{
    return node->parent && node->parent->type == XML_ELEMENT_NODE &&
           !strcmp((const char *)node->parent->name, "domainsnapshot") &&
           !strcmp((const char *)node->name, "disks");
}

/* <memory file=> of a snapshot, and what <os> names. */
static int add_plain(struct users_call *call, virDomainPtr dom, xmlNodePtr node)
{
    static const char *const names[] = {"nvram", "loader", "kernel", "initrd",
                                        "dtb"};
    char *path = NULL;
    int rc = 0;

    if (!strcmp((const char *)node->name, "memory"))
        path = bm_xml_attr(node, "file");
    for (size_t i = 0; !path && i < sizeof names / sizeof *names; i++)
        if (!strcmp((const char *)node->name, names[i]))
            path = bm_xml_text(node);
    call->plain = true;
    if (path && path[0] == '/')
        rc = add_user(call, dom, path);
    else
        free(path);
    call->plain = false;
    return rc;
}

/* Every <source> at any depth: disks, backing chains, mirrors, snapshots. */
static int add_sources(struct users_call *call, virDomainPtr dom,
                       xmlNodePtr node)
{
    for (; node; node = node->next) {
        bool overlays = node->type == XML_ELEMENT_NODE && is_overlays(node);
        int rc;

        if (node->type != XML_ELEMENT_NODE)
            continue;
        if (!strcmp((const char *)node->name, "source")) {
            char *path = bm_xml_attr(node, "file");

            if (!path)
                path = bm_xml_attr(node, "dev");
            if (path && add_user(call, dom, path) < 0)
                return -1;
            if (add_volume(call, dom, node) < 0)
                return -1;
        }
        if (call->all && add_plain(call, dom, node) < 0)
            return -1;
        call->overlay |= overlays;
        rc = add_sources(call, dom, node->children);
        call->overlay &= !overlays;
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* Takes xml. */
static int add_xml(struct users_call *call, virDomainPtr dom, char *xml)
{
    BM_XMLDOC xmlDocPtr doc = xml ? bm_xml_parse(xml) : NULL;

    free(xml);
    return doc ? add_sources(call, dom, xmlDocGetRootElement(doc)) : -1;
}

static int add_snapshots(struct users_call *call, virDomainPtr dom)
{
    virDomainSnapshotPtr *snapshots = NULL;
    int n = virDomainListAllSnapshots(dom, &snapshots, 0);
    int rc = 0;

    if (n < 0)
        return virGetLastErrorCode() == VIR_ERR_NO_SUPPORT ? 0 : -1;
    for (int i = 0; i < n; i++) {
        if (!rc)
            rc = add_xml(call, dom,
                         virDomainSnapshotGetXMLDesc(snapshots[i], 0));
        virDomainSnapshotFree(snapshots[i]);
    }
    free(snapshots);
    return rc;
}

/* A domain that went away since the list was made has no users any more. */
static int add_domain(struct users_call *call, virDomainPtr dom)
{
    if (add_xml(call, dom, virDomainGetXMLDesc(dom, 0)) == 0 &&
        (virDomainIsPersistent(dom) <= 0 ||
         add_xml(call, dom,
                 virDomainGetXMLDesc(dom, VIR_DOMAIN_XML_INACTIVE)) == 0) &&
        add_snapshots(call, dom) == 0)
        return 0;
    return virGetLastErrorCode() == VIR_ERR_NO_DOMAIN ? 0 : -1;
}

/* --- the plain ones: off, and without a snapshot --- */

/* Most domains of a large host are. Their one XML says all of it, where four
 * calls a domain would take a second for some hundreds. libvirt tells in one
 * call which they are; one that changes meanwhile is read as if that had
 * happened a moment later. */
struct plain {
    char (*uuids)[VIR_UUID_STRING_BUFLEN]; /* sorted */
    size_t n;
};

static int compare_uuids(const void *a, const void *b)
{
    return memcmp(a, b, VIR_UUID_STRING_BUFLEN);
}

/* None: all are asked everything. */
static struct plain find_plain(virConnectPtr conn)
{
    virDomainPtr *domains = NULL;
    int n = virConnectListAllDomains(conn, &domains,
                                     VIR_CONNECT_LIST_DOMAINS_INACTIVE |
                                         VIR_CONNECT_LIST_DOMAINS_NO_SNAPSHOT);
    struct plain plain = {
        .uuids = n > 0 ? calloc((size_t)n, sizeof *plain.uuids) : NULL};

    for (int i = 0; i < n; i++) {
        if (plain.uuids &&
            virDomainGetUUIDString(domains[i], plain.uuids[plain.n]) == 0)
            plain.n++;
        virDomainFree(domains[i]);
    }
    free(domains);
    if (plain.n)
        qsort(plain.uuids, plain.n, sizeof *plain.uuids, compare_uuids);
    return plain;
}

static bool is_plain(const struct plain *plain, virDomainPtr dom)
{
    char uuid[VIR_UUID_STRING_BUFLEN];

    return plain->n && virDomainGetUUIDString(dom, uuid) == 0 &&
           bsearch(uuid, plain->uuids, plain->n, sizeof *plain->uuids,
                   compare_uuids);
}

static int add_plain_domain(struct users_call *call, virDomainPtr dom)
{
    if (add_xml(call, dom, virDomainGetXMLDesc(dom, 0)) == 0)
        return 0;
    return virGetLastErrorCode() == VIR_ERR_NO_DOMAIN ? 0 : -1;
}

static int users_fn(void *arg)
{
    struct users_call *call = arg;
    virDomainPtr *domains = NULL;
    int n = virConnectListAllDomains(call->conn, &domains, 0);
    struct plain plain = find_plain(call->conn);
    int rc = n < 0 ? -1 : 0;

    for (int i = 0; i < n; i++) {
        if (!rc)
            rc = is_plain(&plain, domains[i])
                     ? add_plain_domain(call, domains[i])
                     : add_domain(call, domains[i]);
        virDomainFree(domains[i]);
    }
    free(plain.uuids);
    free(domains);
    return rc;
}

static int users(struct bm_connection *conn, bool all, bm_image_user fn,
                 void *opaque, struct bm_error *err)
{
    struct users_call *call = calloc(1, sizeof *call);
    int rc;

    if (!call)
        return bm_fail_errno(err, ENOMEM, "cannot list the users of images");
    call->all = all;
    call->conn = bm_connection_handle(conn);
    if (!call->conn) {
        free(call);
        return bm_fail_errno(err, ECONNRESET, "cannot list users of images");
    }
    virConnectRef(call->conn);
    rc = bm_call("cannot list which domains use which images", USERS_MS,
                 users_fn, call, users_free, err);
    if (rc == -ETIMEDOUT)
        return rc;
    for (size_t i = 0; !rc && i < call->n; i++) {
        const struct user *user = &call->users[i];

        rc = fn(opaque,
                &(struct bm_image_use){user->uuid, user->name, user->path,
                                       user->overlay, user->plain});
    }
    users_free(call);
    return rc;
}

int bm_domain_image_users(struct bm_connection *conn, bm_image_user fn,
                          void *opaque, struct bm_error *err)
{
    return users(conn, false, fn, opaque, err);
}

int bm_domain_file_users(struct bm_connection *conn, bm_image_user fn,
                         void *opaque, struct bm_error *err)
{
    return users(conn, true, fn, opaque, err);
}

/* --- of one domain --- */

bool bm_disk_names(const struct bm_disk *disk, const char *path)
{
    return bm_chain_names(&disk->chain, path) &&
           (disk->inactive.n == 0 || bm_chain_names(&disk->inactive, path));
}

bool bm_domain_names(const struct bm_domain *domain, const char *path)
{
    for (size_t i = 0; i < domain->n_disks; i++) {
        const struct bm_disk *disk = &domain->disks[i];

        if (bm_chain_names(&disk->chain, path) ||
            bm_chain_names(&disk->inactive, path) ||
            bm_chain_names(&disk->mirror_chain, path))
            return true;
    }
    return false;
}
