// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/libvirt/volume.h"

#include "nbd/base/cleanup.h"
#include "snapshot/libvirt/xml.h"

#include <string.h>

char *bm_volume_path(virConnectPtr conn, const char *pool, const char *volume,
                     bool *block)
{
    virStoragePoolPtr p = virStoragePoolLookupByName(conn, pool);
    virStorageVolPtr v = p ? virStorageVolLookupByName(p, volume) : NULL;
    virStorageVolInfo info;
    char *path = NULL;

    if (v && virStorageVolGetInfo(v, &info) == 0) {
        path = virStorageVolGetPath(v);
        if (block)
            *block = info.type == VIR_STORAGE_VOL_BLOCK;
    }
    if (v)
        virStorageVolFree(v);
    if (p)
        virStoragePoolFree(p);
    return path;
}

static void resolve(virConnectPtr conn, xmlNodePtr disk)
{
    xmlNodePtr source = bm_xml_child(disk, "source");
    BM_FREE char *pool = bm_xml_attr(source, "pool");
    BM_FREE char *volume = bm_xml_attr(source, "volume");
    BM_FREE char *path = NULL;
    bool block = false;

    if (!pool || !volume)
        return;
    path = bm_volume_path(conn, pool, volume, &block);
    if (!path)
        return;
    bm_xml_set(disk, "type", block ? "block" : "file");
    bm_xml_set(source, block ? "dev" : "file", path);
}

/* The element and the layers below it: under an overlay a disk's volume is a
 * backing file. */
static void resolve_chain(virConnectPtr conn, xmlNodePtr element)
{
    for (; element; element = bm_xml_child(element, "backingStore"))
        if (bm_xml_attr_is(element, "type", "volume"))
            resolve(conn, element);
}

static void resolve_disks(virConnectPtr conn, xmlNodePtr domain)
{
    xmlNodePtr disk = bm_xml_child(bm_xml_child(domain, "devices"), "disk");

    for (; disk; disk = bm_xml_next(disk, "disk")) {
        resolve_chain(conn, disk);
        resolve_chain(conn, bm_xml_child(disk, "mirror"));
    }
}

static int rewrite(virConnectPtr conn, char **xml,
                   void (*resolve_all)(virConnectPtr conn, xmlNodePtr root))
{
    BM_XMLDOC xmlDocPtr doc = NULL;
    char *text;

    if (!strstr(*xml, "'volume'"))
        return 0;
    doc = bm_xml_parse(*xml);
    if (!doc)
        return -1;
    resolve_all(conn, xmlDocGetRootElement(doc));
    text = bm_xml_dump(xmlDocGetRootElement(doc));
    if (!text)
        return -1;
    free(*xml);
    *xml = text;
    return 0;
}

int bm_volumes_to_paths(virConnectPtr conn, char **xml)
{
    return rewrite(conn, xml, resolve_disks);
}

static void resolve_domains(virConnectPtr conn, xmlNodePtr snapshot)
{
    resolve_disks(conn, bm_xml_child(snapshot, "domain"));
    resolve_disks(conn, bm_xml_child(snapshot, "inactiveDomain"));
}

int bm_snapshot_volumes(virConnectPtr conn, char **xml)
{
    return rewrite(conn, xml, resolve_domains);
}
