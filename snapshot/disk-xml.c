// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/disk-xml.h"

#include "nbd/cleanup.h"
#include "snapshot/xml.h"

#include <inttypes.h>
#include <stdio.h>

/* <source file='…'/> or <source dev='…'/>, and the type on the element. */
static xmlNodePtr add_source(xmlNodePtr element, const struct bm_layer *layer)
{
    xmlNodePtr source = bm_xml_add(element, "source", NULL), slice;
    char size[24];

    bm_xml_set(element, "type", bm_source_type_name(layer->type));
    bm_xml_set(source, layer->type == BM_SOURCE_BLOCK ? "dev" : "file",
               layer->path);
    if (!layer->slice)
        return source;
    slice = bm_xml_add(bm_xml_add(source, "slices", NULL), "slice", NULL);
    snprintf(size, sizeof size, "%" PRIu64, layer->slice);
    bm_xml_set(slice, "type", "storage");
    bm_xml_set(slice, "offset", "0");
    bm_xml_set(slice, "size", size);
    return source;
}

/* The layers from `from` on, nested, ending with an empty element. */
static xmlNodePtr add_backing(xmlNodePtr element, const struct bm_chain *chain,
                              size_t from)
{
    xmlNodePtr first = NULL;

    for (size_t i = from; i < chain->n; i++) {
        xmlNodePtr backing = bm_xml_add(element, "backingStore", NULL);

        first = first ? first : backing;
        bm_xml_set(bm_xml_add(backing, "format", NULL), "type",
                   chain->layers[i].format);
        add_source(backing, &chain->layers[i]);
        element = backing;
    }
    if (!first)
        return bm_xml_add(element, "backingStore", NULL);
    bm_xml_add(element, "backingStore", NULL);
    return first;
}

char *bm_disk_xml_copy_target(const struct bm_chain *chain)
{
    BM_XMLDOC xmlDocPtr doc = xmlNewDoc(BAD_CAST "1.0");
    xmlNodePtr disk = xmlNewDocNode(doc, NULL, BAD_CAST "disk", NULL);

    xmlDocSetRootElement(doc, disk);
    bm_xml_set(bm_xml_add(disk, "driver", NULL), "type",
               chain->layers[0].format);
    add_source(disk, &chain->layers[0]);
    add_backing(disk, chain, 1);
    return bm_xml_dump(disk);
}

static void drop(xmlNodePtr element, const char *name)
{
    xmlNodePtr node = bm_xml_child(element, name);

    if (!node)
        return;
    xmlUnlinkNode(node);
    xmlFreeNode(node);
}

void bm_disk_xml_replace(xmlNodePtr disk, const struct bm_chain *chain)
{
    xmlNodePtr driver = bm_xml_child(disk, "driver");

    drop(disk, "source");
    drop(disk, "backingStore");
    if (!driver)
        driver = bm_xml_add(disk, "driver", NULL);
    bm_xml_set(driver, "type", chain->layers[0].format);
    add_source(disk, &chain->layers[0]);
    add_backing(disk, chain, 1);
}
