// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/tree/metadata-xml.h"

#include "nbd/base/cleanup.h"
#include "nbd/base/paths.h"
#include "snapshot/domain/disk-xml.h"
#include "snapshot/domain/domain.h"
#include "snapshot/libvirt/xml.h"

#include <errno.h>
#include <string.h>

static char *path_of(xmlNodePtr source)
{
    char *path = bm_xml_attr(source, "file");

    return path ? path : bm_xml_attr(source, "dev");
}

/* --- replacing --- */

struct replacing {
    const struct bm_image_moved *moved;
    size_t n;
    bool any;
};

/* Of a <disk> the format stands in <driver>, of a <backingStore> in <format>.
 */
static void set_format(xmlNodePtr element, const char *format)
{
    bool disk = !strcmp((const char *)element->name, "disk");
    const char *name = disk ? "driver" : "format";
    xmlNodePtr node = bm_xml_child(element, name);

    if (!node)
        node = bm_xml_add(element, name, NULL);
    bm_xml_set(node, "type", format);
}

static void set_image(xmlNodePtr element, const struct bm_layer *to)
{
    bm_disk_xml_set_source(element, to);
    set_format(element, to->format);
}

/* The element takes the place of the layer below it. */
static void take_place(xmlNodePtr element, const struct bm_layer *below)
{
    xmlNodePtr old = bm_xml_child(element, "backingStore");
    xmlNodePtr next = bm_xml_child(old, "backingStore");

    set_image(element, below);
    xmlUnlinkNode(old);
    if (next)
        xmlUnlinkNode(next);
    if (next)
        xmlAddChild(element, next);
    xmlFreeNode(old);
}

/* false: what the overlay stood on is not said, or no more than its name. */
static bool lift(xmlNodePtr element)
{
    xmlNodePtr below = bm_xml_child(element, "backingStore");
    struct bm_chain chain = {0};
    bool said = below && bm_chain_from_xml(below, &chain) == 0 && chain.n &&
                (chain.layers[0].type == BM_SOURCE_FILE ||
                 chain.layers[0].type == BM_SOURCE_BLOCK) &&
                chain.layers[0].path && chain.layers[0].format;

    if (said)
        take_place(element, &chain.layers[0]);
    bm_chain_clear(&chain);
    return said;
}

static const struct bm_image_moved *find(const struct replacing *r,
                                         const char *path)
{
    for (size_t i = 0; path && i < r->n; i++)
        if (bm_same_file(path, r->moved[i].from))
            return &r->moved[i];
    return NULL;
}

/* What stood below an overlay may be one too, or have moved itself. */
static void replace_one(struct replacing *r, xmlNodePtr source)
{
    const struct bm_image_moved *moved;
    bool lifted = true;

    while (lifted) {
        BM_FREE char *path = path_of(source);

        moved = find(r, path);
        if (!moved)
            return;
        r->any = true;
        lifted = moved->overlay && lift(source->parent);
    }
    set_image(source->parent, moved->to);
}

/* Every <source>, at any depth. */
static void replace_all(struct replacing *r, xmlNodePtr node)
{
    for (; node; node = node->next) {
        if (node->type != XML_ELEMENT_NODE)
            continue;
        if (!strcmp((const char *)node->name, "source"))
            replace_one(r, node);
        replace_all(r, node->children);
    }
}

/* Whoever reverts to the snapshot would have a guest that seems to move. */
bool bm_xml_take_stamp_off(xmlNodePtr domain)
{
    xmlNodePtr metadata = bm_xml_child(domain, "metadata");
    xmlNodePtr node = metadata ? metadata->children : NULL, next;
    bool any = false;

    for (; node; node = next) {
        next = node->next;
        if (!node->ns ||
            strcmp((const char *)node->ns->href, BM_STAMP_URI) != 0)
            continue;
        bm_xml_remove(node);
        any = true;
    }
    return any;
}

int bm_snapshot_xml_forget_memory(const char *xml, char **out)
{
    BM_XMLDOC xmlDocPtr doc = bm_xml_parse(xml);
    xmlNodePtr memory =
        doc ? bm_xml_child(xmlDocGetRootElement(doc), "memory") : NULL;

    *out = NULL;
    if (!doc)
        return -EBADMSG;
    if (memory)
        bm_xml_remove(memory);
    *out = bm_xml_dump(xmlDocGetRootElement(doc));
    return *out ? 0 : -ENOMEM;
}

int bm_snapshot_xml_replace(const char *xml, const struct bm_image_moved *moved,
                            size_t n, char **out)
{
    BM_XMLDOC xmlDocPtr doc = bm_xml_parse(xml);
    struct replacing r = {.moved = moved, .n = n};
    xmlNodePtr root;

    *out = NULL;
    if (!doc)
        return -EBADMSG;
    root = xmlDocGetRootElement(doc);
    replace_all(&r, root);
    r.any |= bm_xml_take_stamp_off(bm_xml_child(root, "domain"));
    r.any |= bm_xml_take_stamp_off(bm_xml_child(root, "inactiveDomain"));
    if (!r.any)
        return 0;
    *out = bm_xml_dump(root);
    return *out ? 0 : -ENOMEM;
}

/* --- hiding --- */

static int hide(xmlNodePtr source, const char *name)
{
    BM_FREE char *path = bm_xml_attr(source, name), *none = NULL;

    if (!path)
        return 0;
    if (asprintf(&none, "%s.none", path) < 0) {
        none = NULL;
        return -ENOMEM;
    }
    bm_xml_set(source, name, none);
    return 0;
}

int bm_snapshot_xml_hide(const char *xml, char **out)
{
    BM_XMLDOC xmlDocPtr doc = bm_xml_parse(xml);
    xmlNodePtr root = doc ? xmlDocGetRootElement(doc) : NULL, disk;
    int rc = root ? 0 : -EBADMSG;

    *out = NULL;
    disk = bm_xml_child(bm_xml_child(root, "disks"), "disk");
    for (; disk && !rc; disk = bm_xml_next(disk, "disk")) {
        xmlNodePtr source = bm_xml_child(disk, "source");

        rc = hide(source, "file");
        if (!rc)
            rc = hide(source, "dev");
    }
    if (!rc)
        *out = bm_xml_dump(root);
    return rc || *out ? rc : -ENOMEM;
}

/* --- looking --- */

int bm_snapshot_xml_disks(const char *xml, bm_snapshot_disk fn, void *opaque)
{
    BM_XMLDOC xmlDocPtr doc = bm_xml_parse(xml);
    xmlNodePtr disk;
    int rc = doc ? 0 : -EBADMSG;

    if (rc)
        return rc;
    disk =
        bm_xml_child(bm_xml_child(xmlDocGetRootElement(doc), "disks"), "disk");
    for (; disk && !rc; disk = bm_xml_next(disk, "disk")) {
        BM_FREE char *name = bm_xml_attr(disk, "name");
        BM_FREE char *how = bm_xml_attr(disk, "snapshot");
        BM_FREE char *overlay = path_of(bm_xml_child(disk, "source"));

        rc = fn(opaque, name ? name : "", how ? how : "no", overlay);
    }
    return rc;
}

char *bm_snapshot_xml_memory(const char *xml)
{
    BM_XMLDOC xmlDocPtr doc = bm_xml_parse(xml);
    xmlNodePtr root = doc ? xmlDocGetRootElement(doc) : NULL;

    return bm_xml_attr(bm_xml_child(root, "memory"), "file");
}
