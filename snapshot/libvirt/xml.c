// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/libvirt/xml.h"

#include <libxml/parser.h>
#include <stdlib.h>
#include <string.h>

xmlDocPtr bm_xml_parse(const char *text)
{
    return xmlReadMemory(text, (int)strlen(text), "domain.xml", NULL,
                         XML_PARSE_NONET | XML_PARSE_NOERROR |
                             XML_PARSE_NOWARNING | XML_PARSE_HUGE);
}

void bm_xml_cleanup(xmlDocPtr *doc)
{
    if (*doc)
        xmlFreeDoc(*doc);
}

static xmlNodePtr find(xmlNodePtr node, const char *name)
{
    for (; node; node = node->next)
        if (node->type == XML_ELEMENT_NODE &&
            !strcmp((const char *)node->name, name))
            return node;
    return NULL;
}

xmlNodePtr bm_xml_child(xmlNodePtr node, const char *name)
{
    return node ? find(node->children, name) : NULL;
}

xmlNodePtr bm_xml_next(xmlNodePtr node, const char *name)
{
    return node ? find(node->next, name) : NULL;
}

/* libxml2 allocates with malloc unless told otherwise, which we never do;
 * the copy keeps free() right in any case. */
static char *take(xmlChar *value)
{
    char *copy;

    if (!value)
        return NULL;
    copy = strdup((const char *)value);
    xmlFree(value);
    return copy;
}

char *bm_xml_attr(xmlNodePtr node, const char *name)
{
    return node ? take(xmlGetProp(node, BAD_CAST name)) : NULL;
}

char *bm_xml_text(xmlNodePtr node)
{
    return node ? take(xmlNodeGetContent(node)) : NULL;
}

bool bm_xml_attr_is(xmlNodePtr node, const char *name, const char *value)
{
    char *got = bm_xml_attr(node, name);
    bool same = got && !strcmp(got, value);

    free(got);
    return same;
}

xmlNodePtr bm_xml_add(xmlNodePtr parent, const char *name, const char *text)
{
    return xmlNewTextChild(parent, NULL, BAD_CAST name, BAD_CAST text);
}

void bm_xml_set(xmlNodePtr node, const char *name, const char *value)
{
    xmlSetProp(node, BAD_CAST name, BAD_CAST value);
}

void bm_xml_remove(xmlNodePtr node)
{
    xmlUnlinkNode(node);
    xmlFreeNode(node);
}

char *bm_xml_dump(xmlNodePtr node)
{
    xmlBufferPtr buffer = xmlBufferCreate();
    char *text = NULL;

    if (buffer && xmlNodeDump(buffer, node->doc, node, 0, 0) >= 0)
        text = strdup((const char *)xmlBufferContent(buffer));
    if (buffer)
        xmlBufferFree(buffer);
    return text;
}
