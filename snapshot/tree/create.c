// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/tree/create.h"

#include "nbd/base/cleanup.h"
#include "snapshot/tree/metadata-xml.h"
#include "snapshot/libvirt/xml.h"
#include "snapshot/domain/snapshot-call.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

static int no_memory(const struct bm_domain *domain, struct bm_error *err)
{
    return bm_fail_errno(err, ENOMEM, "cannot make a snapshot of %s",
                         domain->name);
}

/* --- XML --- */

static void add_memory(xmlNodePtr root, const char *file)
{
    xmlNodePtr memory = bm_xml_add(root, "memory", NULL);

    bm_xml_set(memory, "snapshot", file ? "external" : "no");
    if (file)
        bm_xml_set(memory, "file", file);
}

static void add_disks(xmlNodePtr root, const struct bm_domain *domain,
                      const struct bm_snapshot_spec *spec)
{
    xmlNodePtr disks = bm_xml_add(root, "disks", NULL);

    for (size_t i = 0; i < domain->n_disks; i++) {
        xmlNodePtr disk = bm_xml_add(disks, "disk", NULL);
        const char *overlay = spec->overlays[i];

        bm_xml_set(disk, "name", domain->disks[i].target);
        bm_xml_set(disk, "snapshot", overlay ? "external" : "no");
        if (!overlay)
            continue;
        bm_xml_set(disk, "type", "file");
        bm_xml_set(bm_xml_add(disk, "driver", NULL), "type", "qcow2");
        bm_xml_set(bm_xml_add(disk, "source", NULL), "file", overlay);
    }
}

static xmlDocPtr snapshot_doc(const struct bm_domain *domain,
                              const struct bm_snapshot_spec *spec)
{
    xmlDocPtr doc = xmlNewDoc(BAD_CAST "1.0");
    xmlNodePtr root = xmlNewDocNode(doc, NULL, BAD_CAST "domainsnapshot", NULL);

    xmlDocSetRootElement(doc, root);
    bm_xml_add(root, "name", spec->name);
    if (spec->description)
        bm_xml_add(root, "description", spec->description);
    add_memory(root, spec->memory);
    add_disks(root, domain, spec);
    return doc;
}

/* --- making it --- */

/* The guest's RAM is written while it runs; it stands still at the end of that
 * only. */
static unsigned flags_for(const struct bm_snapshot_spec *spec)
{
    return VIR_DOMAIN_SNAPSHOT_CREATE_REUSE_EXT |
           VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC |
           (spec->memory ? VIR_DOMAIN_SNAPSHOT_CREATE_LIVE
                         : VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY);
}

int bm_snapshot_create(struct bm_domain *domain,
                       const struct bm_snapshot_spec *spec, int timeout_ms,
                       struct bm_error *err)
{
    BM_XMLDOC xmlDocPtr doc = snapshot_doc(domain, spec);
    char what[400];

    snprintf(what, sizeof what, "cannot make snapshot %s of %s", spec->name,
             domain->name);
    return bm_snapshot_make(domain, what,
                            bm_xml_dump(xmlDocGetRootElement(doc)),
                            flags_for(spec), timeout_ms, err);
}

/* --- its metadata --- */

/* The element of the domain's XML under another name. */
static int add_domain(xmlNodePtr root, const char *xml, const char *name)
{
    BM_XMLDOC xmlDocPtr doc = bm_xml_parse(xml);
    xmlNodePtr copy =
        doc ? xmlDocCopyNode(xmlDocGetRootElement(doc), root->doc, 1) : NULL;

    if (!copy)
        return -ENOMEM;
    bm_xml_take_stamp_off(copy);
    xmlNodeSetName(copy, BAD_CAST name);
    xmlAddChild(root, copy);
    return 0;
}

static void add_head(xmlNodePtr root, const struct bm_domain *domain,
                     const struct bm_snapshot_spec *spec, const char *parent)
{
    char seconds[32];

    snprintf(seconds, sizeof seconds, "%" PRId64, (int64_t)time(NULL));
    bm_xml_add(root, "creationTime", seconds);
    bm_xml_add(root, "state",
               !domain->active ? "shutoff"
               : spec->memory  ? "running"
                               : "disk-snapshot");
    if (parent)
        bm_xml_add(bm_xml_add(root, "parent", NULL), "name", parent);
}

int bm_snapshot_metadata(struct bm_domain *domain,
                         const struct bm_snapshot_spec *spec,
                         const char *parent, char **out, struct bm_error *err)
{
    BM_XMLDOC xmlDocPtr doc = snapshot_doc(domain, spec);
    xmlNodePtr root = xmlDocGetRootElement(doc);
    BM_FREE char *live = NULL, *saved = NULL;
    int rc = bm_domain_xml(domain, false, &live, err);

    if (!rc && domain->active && domain->persistent)
        rc = bm_domain_xml(domain, true, &saved, err);
    if (rc)
        return rc;
    add_head(root, domain, spec, parent);
    rc = add_domain(root, live, "domain");
    if (!rc && saved)
        rc = add_domain(root, saved, "inactiveDomain");
    *out = rc ? NULL : bm_xml_dump(root);
    return *out ? 0 : no_memory(domain, err);
}
