// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/domain/disk-xml.h"

#include "snapshot/libvirt/xml.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* The user's wishes about the image, whichever it is. All else describes the
 * old image, also what a later libvirt may bring. */
static bool is_decision(const xmlChar *name)
{
    return !strcmp((const char *)name, "startupPolicy") ||
           !strcmp((const char *)name, "seclabel");
}

static void forget_image(xmlNodePtr source)
{
    for (xmlAttrPtr attr = source->properties, next; attr; attr = next) {
        next = attr->next;
        if (!is_decision(attr->name))
            xmlRemoveProp(attr);
    }
    for (xmlNodePtr node = source->children, next; node; node = next) {
        next = node->next;
        if (node->type == XML_ELEMENT_NODE && is_decision(node->name))
            continue;
        bm_xml_remove(node);
    }
}

static void add_slice(xmlNodePtr source, uint64_t bytes)
{
    xmlNodePtr slice =
        bm_xml_add(bm_xml_add(source, "slices", NULL), "slice", NULL);
    char size[24];

    snprintf(size, sizeof size, "%" PRIu64, bytes);
    bm_xml_set(slice, "type", "storage");
    bm_xml_set(slice, "offset", "0");
    bm_xml_set(slice, "size", size);
}

void bm_disk_xml_set_source(xmlNodePtr element, const struct bm_layer *layer)
{
    xmlNodePtr source = bm_xml_child(element, "source");

    if (source)
        forget_image(source);
    else
        source = bm_xml_add(element, "source", NULL);
    bm_xml_set(element, "type", bm_source_type_name(layer->type));
    bm_xml_set(source, layer->type == BM_SOURCE_BLOCK ? "dev" : "file",
               layer->path);
    if (layer->slice)
        add_slice(source, layer->slice);
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
        bm_disk_xml_set_source(backing, &chain->layers[i]);
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
    bm_disk_xml_set_source(disk, &chain->layers[0]);
    add_backing(disk, chain, 1);
    return bm_xml_dump(disk);
}

static void drop(xmlNodePtr element, const char *name)
{
    xmlNodePtr node = bm_xml_child(element, name);

    if (!node)
        return;
    bm_xml_remove(node);
}

void bm_disk_xml_replace(xmlNodePtr disk, const struct bm_chain *chain)
{
    xmlNodePtr driver = bm_xml_child(disk, "driver");

    drop(disk, "backingStore");
    if (!driver)
        driver = bm_xml_add(disk, "driver", NULL);
    bm_xml_set(driver, "type", chain->layers[0].format);
    bm_disk_xml_set_source(disk, &chain->layers[0]);
    add_backing(disk, chain, 1);
}
