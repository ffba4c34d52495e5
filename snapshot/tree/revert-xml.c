// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/tree/revert-xml.h"

#include "nbd/base/cleanup.h"
#include "snapshot/domain/disk-xml.h"
#include "snapshot/tree/metadata-xml.h"
#include "snapshot/libvirt/xml.h"

#include <errno.h>
#include <string.h>

static xmlNodePtr find_disk(xmlNodePtr domain, const char *target)
{
    xmlNodePtr disk = bm_xml_child(bm_xml_child(domain, "devices"), "disk");

    for (; disk; disk = bm_xml_next(disk, "disk"))
        if (bm_xml_attr_is(bm_xml_child(disk, "target"), "dev", target))
            break;
    return disk;
}

static const struct bm_new_disk *find_new(const struct bm_new_disk *disks,
                                          size_t n, const char *target)
{
    for (size_t i = 0; target && i < n; i++)
        if (!strcmp(disks[i].target, target))
            return &disks[i];
    return NULL;
}

/* What of a <disk> is the host's side of it. */
static bool is_hosts(const xmlChar *name)
{
    static const char *const names[] = {"source", "backingStore", "auth",
                                        "encryption"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp((const char *)name, names[i]))
            return true;
    return false;
}

static int copy_into(xmlNodePtr parent, xmlNodePtr node)
{
    xmlNodePtr copy = xmlDocCopyNode(node, parent->doc, 1);

    return copy && xmlAddChild(parent, copy) ? 0 : -ENOMEM;
}

/* As it is now, word for word: what the XML does not say of the chain, libvirt
 * reads from the headers. */
static int stay(xmlNodePtr disk, xmlNodePtr now)
{
    BM_FREE char *type = bm_xml_attr(now, "type");
    BM_FREE char *format = bm_xml_attr(bm_xml_child(now, "driver"), "type");
    xmlNodePtr driver = bm_xml_child(disk, "driver");
    int rc = 0;

    for (xmlNodePtr node = disk->children, next; node; node = next) {
        next = node->next;
        if (node->type == XML_ELEMENT_NODE && is_hosts(node->name))
            bm_xml_remove(node);
    }
    for (xmlNodePtr node = now->children; node && !rc; node = node->next)
        if (node->type == XML_ELEMENT_NODE && is_hosts(node->name))
            rc = copy_into(disk, node);
    if (type)
        bm_xml_set(disk, "type", type);
    if (format)
        bm_xml_set(driver ? driver : bm_xml_add(disk, "driver", NULL), "type",
                   format);
    return rc;
}

/* Attached since: at whatever address is free then. */
static int attach(xmlNodePtr devices, xmlNodePtr now)
{
    xmlNodePtr copy = xmlDocCopyNode(now, devices->doc, 1);

    if (!copy || !xmlAddChild(devices, copy))
        return -ENOMEM;
    for (xmlNodePtr node = copy->children, next; node; node = next) {
        next = node->next;
        if (!strcmp((const char *)node->name, "address") ||
            !strcmp((const char *)node->name, "alias"))
            bm_xml_remove(node);
    }
    return 0;
}

/* saved: a disk that was attached or detached since stays so. A guest that goes
 * on from its memory must have what it had. */
static int replace(xmlNodePtr domain, bool saved, xmlNodePtr now,
                   const struct bm_new_disk *disks, size_t n)
{
    xmlNodePtr devices = bm_xml_child(domain, "devices"), next;
    int rc = 0;

    for (xmlNodePtr disk = bm_xml_child(devices, "disk"); disk && !rc;
         disk = next) {
        BM_FREE char *target = bm_xml_attr(bm_xml_child(disk, "target"), "dev");
        const struct bm_new_disk *new = find_new(disks, n, target);
        xmlNodePtr same = target ? find_disk(now, target) : NULL;

        next = bm_xml_next(disk, "disk");
        if (new)
            bm_disk_xml_replace(disk, new->chain);
        else if (same)
            rc = stay(disk, same);
        else if (saved)
            bm_xml_remove(disk);
    }
    for (xmlNodePtr disk = bm_xml_child(bm_xml_child(now, "devices"), "disk");
         saved && disk && !rc; disk = bm_xml_next(disk, "disk")) {
        BM_FREE char *target = bm_xml_attr(bm_xml_child(disk, "target"), "dev");

        if (target && !find_disk(domain, target))
            rc = attach(devices, disk);
    }
    return rc;
}

/* One of a that b has not. Caller frees; NULL: none. */
static char *missing(xmlNodePtr a, xmlNodePtr b)
{
    for (xmlNodePtr disk = bm_xml_child(bm_xml_child(a, "devices"), "disk");
         disk; disk = bm_xml_next(disk, "disk")) {
        BM_FREE char *target = bm_xml_attr(bm_xml_child(disk, "target"), "dev");

        if (target && !find_disk(b, target))
            return BM_STEAL(target);
    }
    return NULL;
}

int bm_revert_changed(const char *snapshot, const char *now, char **target)
{
    BM_XMLDOC xmlDocPtr doc = bm_xml_parse(snapshot);
    BM_XMLDOC xmlDocPtr now_doc = bm_xml_parse(now);
    xmlNodePtr domain =
        doc ? bm_xml_child(xmlDocGetRootElement(doc), "domain") : NULL;
    xmlNodePtr present = now_doc ? xmlDocGetRootElement(now_doc) : NULL;

    *target = NULL;
    if (!domain || !present)
        return -EBADMSG;
    *target = missing(present, domain);
    if (!*target)
        *target = missing(domain, present);
    return 0;
}

int bm_revert_xml(const char *snapshot, bool saved, const char *now,
                  const struct bm_new_disk *disks, size_t n, char **out)
{
    BM_XMLDOC xmlDocPtr doc = bm_xml_parse(snapshot);
    BM_XMLDOC xmlDocPtr now_doc = bm_xml_parse(now);
    xmlNodePtr root = doc ? xmlDocGetRootElement(doc) : NULL, domain;
    int rc;

    *out = NULL;
    domain = saved ? bm_xml_child(root, "inactiveDomain") : NULL;
    if (!domain)
        domain = bm_xml_child(root, "domain");
    if (!domain || !now_doc)
        return -EBADMSG;
    xmlNodeSetName(domain, BAD_CAST "domain");
    bm_xml_take_stamp_off(domain);
    rc = replace(domain, saved, xmlDocGetRootElement(now_doc), disks, n);
    if (rc)
        return rc;
    *out = bm_xml_dump(domain);
    return *out ? 0 : -ENOMEM;
}
