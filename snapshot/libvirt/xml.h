// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The few things we need of libxml2, so that nobody pastes XML together from
 * strings: names of files may hold any character.
 */
#ifndef BM_SNAPSHOT_LIBVIRT_XML_H
#define BM_SNAPSHOT_LIBVIRT_XML_H

#include <libxml/tree.h>
#include <stdbool.h>

/* NULL: not well-formed. No network, no entities. */
xmlDocPtr bm_xml_parse(const char *text);
/* Frees *doc: for __attribute__((cleanup)). */
void bm_xml_cleanup(xmlDocPtr *doc);
#define BM_XMLDOC __attribute__((cleanup(bm_xml_cleanup)))

/* The first child element of that name, or NULL. */
xmlNodePtr bm_xml_child(xmlNodePtr node, const char *name);
/* The next sibling element of that name (after node), or NULL. */
xmlNodePtr bm_xml_next(xmlNodePtr node, const char *name);
/* A copy of an attribute or of the text; NULL when absent. Caller frees. */
char *bm_xml_attr(xmlNodePtr node, const char *name);
char *bm_xml_text(xmlNodePtr node);
bool bm_xml_attr_is(xmlNodePtr node, const char *name, const char *value);
/* A new child element, with text if not NULL (escaped as needed). */
xmlNodePtr bm_xml_add(xmlNodePtr parent, const char *name, const char *text);
void bm_xml_set(xmlNodePtr node, const char *name, const char *value);
/* Takes it out, and frees it. */
void bm_xml_remove(xmlNodePtr node);
/* The element as text without the document's head. Caller frees. */
char *bm_xml_dump(xmlNodePtr node);

#endif
