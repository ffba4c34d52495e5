// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/revert-xml.h"

#include "nbd/cleanup.h"
#include "snapshot/disk-xml.h"
#include "snapshot/snapshot-xml.h"
#include "snapshot/xml.h"

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

static int stay(xmlNodePtr disk, xmlNodePtr now)
{
    struct bm_chain chain = {0};
    int rc = bm_chain_from_xml(now, &chain);

    if (!rc && chain.n && chain.layers[0].path && chain.layers[0].format)
        bm_disk_xml_replace(disk, &chain);
    bm_chain_clear(&chain);
    return rc;
}

static int replace(xmlNodePtr domain, xmlNodePtr now,
                   const struct bm_new_disk *disks, size_t n)
{
    xmlNodePtr disk = bm_xml_child(bm_xml_child(domain, "devices"), "disk");
    int rc = 0;

    for (; disk && !rc; disk = bm_xml_next(disk, "disk")) {
        BM_FREE char *target = bm_xml_attr(bm_xml_child(disk, "target"), "dev");
        const struct bm_new_disk *new = find_new(disks, n, target);
        xmlNodePtr same = target ? find_disk(now, target) : NULL;

        if (new)
            bm_disk_xml_replace(disk, new->chain);
        else if (same)
            rc = stay(disk, same);
    }
    return rc;
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
    rc = replace(domain, xmlDocGetRootElement(now_doc), disks, n);
    if (rc)
        return rc;
    *out = bm_xml_dump(domain);
    return *out ? 0 : -ENOMEM;
}
