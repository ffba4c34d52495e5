// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/snapshot-xml.h"

#include "nbd/cleanup.h"
#include "snapshot/xml.h"

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

static void set_image(xmlNodePtr source, const struct bm_layer *to)
{
    bool block = to->type == BM_SOURCE_BLOCK;

    xmlUnsetProp(source, BAD_CAST "file");
    xmlUnsetProp(source, BAD_CAST "dev");
    bm_xml_set(source, block ? "dev" : "file", to->path);
    bm_xml_set(source->parent, "type", bm_source_type_name(to->type));
    set_format(source->parent, to->format);
}

static void replace_one(struct replacing *r, xmlNodePtr source)
{
    BM_FREE char *path = path_of(source);

    for (size_t i = 0; path && i < r->n; i++) {
        if (strcmp(path, r->moved[i].from) != 0)
            continue;
        set_image(source, r->moved[i].to);
        r->any = true;
        break;
    }
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

int bm_snapshot_xml_replace(const char *xml, const struct bm_image_moved *moved,
                            size_t n, char **out)
{
    BM_XMLDOC xmlDocPtr doc = bm_xml_parse(xml);
    struct replacing r = {.moved = moved, .n = n};

    *out = NULL;
    if (!doc)
        return -EBADMSG;
    replace_all(&r, xmlDocGetRootElement(doc));
    if (!r.any)
        return 0;
    *out = bm_xml_dump(xmlDocGetRootElement(doc));
    return *out ? 0 : -ENOMEM;
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
