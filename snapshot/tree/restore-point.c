// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/tree/restore-point.h"

#include "nbd/base/cleanup.h"
#include "snapshot/libvirt/xml.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void point_clear(struct bm_restore_point *point)
{
    for (size_t i = 0; i < point->n_disks; i++) {
        free(point->disks[i].target);
        free(point->disks[i].overlay);
        bm_chain_clear(&point->disks[i].image);
    }
    free(point->disks);
    free(point->name);
    free(point->parent);
    free(point->description);
    free(point->state);
    free(point->memory);
    free(point->xml);
    memset(point, 0, sizeof *point);
}

void bm_restore_points_clear(struct bm_restore_points *points)
{
    for (size_t i = 0; i < points->n; i++)
        point_clear(&points->list[i]);
    free(points->list);
    memset(points, 0, sizeof *points);
}

/* --- from XML --- */

static xmlNodePtr domain_disk(xmlNodePtr domain, const char *target)
{
    xmlNodePtr disk = bm_xml_child(bm_xml_child(domain, "devices"), "disk");

    for (; disk; disk = bm_xml_next(disk, "disk"))
        if (bm_xml_attr_is(bm_xml_child(disk, "target"), "dev", target))
            break;
    return disk;
}

static int read_disk(xmlNodePtr node, xmlNodePtr domain,
                     struct bm_restore_point_disk *out)
{
    xmlNodePtr source = bm_xml_child(node, "source"), disk;

    out->external = bm_xml_attr_is(node, "snapshot", "external");
    out->internal = bm_xml_attr_is(node, "snapshot", "internal");
    out->target = bm_xml_attr(node, "name");
    if (!out->target)
        return -EBADMSG;
    if (!out->external)
        return 0;
    out->overlay = bm_xml_attr(source, "file");
    if (!out->overlay)
        out->overlay = bm_xml_attr(source, "dev");
    disk = domain_disk(domain, out->target);
    return disk ? bm_chain_from_xml(disk, &out->image) : 0;
}

static int read_disks(xmlNodePtr root, struct bm_restore_point *out)
{
    xmlNodePtr domain = bm_xml_child(root, "domain");
    xmlNodePtr node = bm_xml_child(bm_xml_child(root, "disks"), "disk");
    int rc = 0;

    for (; node && !rc; node = bm_xml_next(node, "disk")) {
        struct bm_restore_point_disk *disks =
            realloc(out->disks, (out->n_disks + 1) * sizeof *disks);

        if (!disks)
            return -ENOMEM;
        out->disks = disks;
        memset(&disks[out->n_disks], 0, sizeof *disks);
        rc = read_disk(node, domain, &disks[out->n_disks++]);
    }
    return rc;
}

int bm_restore_point_from_xml(const char *xml, struct bm_restore_point *out)
{
    BM_XMLDOC xmlDocPtr doc = bm_xml_parse(xml);
    xmlNodePtr root = doc ? xmlDocGetRootElement(doc) : NULL, memory;
    BM_FREE char *created = NULL;
    int rc;

    memset(out, 0, sizeof *out);
    if (!root)
        return -EBADMSG;
    memory = bm_xml_child(root, "memory");
    created = bm_xml_text(bm_xml_child(root, "creationTime"));
    out->name = bm_xml_text(bm_xml_child(root, "name"));
    out->parent =
        bm_xml_text(bm_xml_child(bm_xml_child(root, "parent"), "name"));
    out->description = bm_xml_text(bm_xml_child(root, "description"));
    out->state = bm_xml_text(bm_xml_child(root, "state"));
    out->created_s = created ? strtoll(created, NULL, 10) : 0;
    out->memory = bm_xml_attr(memory, "file");
    out->memory_internal = bm_xml_attr_is(memory, "snapshot", "internal");
    out->xml = strdup(xml);
    rc = out->name ? out->xml ? 0 : -ENOMEM : -EBADMSG;
    if (!rc)
        rc = read_disks(root, out);
    if (rc)
        point_clear(out);
    return rc;
}

int bm_restore_points_read(struct bm_domain *domain,
                           struct bm_restore_points *out, struct bm_error *err)
{
    struct bm_snapshots snapshots = {0};
    int rc = bm_snapshots_read(domain, &snapshots, err);

    memset(out, 0, sizeof *out);
    if (rc)
        return rc;
    out->list = calloc(snapshots.n + 1, sizeof *out->list);
    if (!out->list)
        rc = bm_fail_errno(err, ENOMEM, "cannot read snapshots");
    for (size_t i = 0; !rc && i < snapshots.n; i++) {
        struct bm_restore_point *point = &out->list[i];

        rc = bm_restore_point_from_xml(snapshots.list[i].xml, point);
        if (rc)
            bm_fail_errno(err, -rc, "cannot read snapshot %s of %s",
                          snapshots.list[i].name, domain->name);
        else
            out->n++;
        point->current = snapshots.list[i].current;
    }
    bm_snapshots_clear(&snapshots);
    if (rc)
        bm_restore_points_clear(out);
    return rc;
}

/* --- looking --- */

const struct bm_restore_point *
bm_restore_points_find(const struct bm_restore_points *points, const char *name)
{
    for (size_t i = 0; i < points->n; i++)
        if (!strcmp(points->list[i].name, name))
            return &points->list[i];
    return NULL;
}

const struct bm_restore_point_disk *
bm_restore_point_disk(const struct bm_restore_point *point, const char *target)
{
    for (size_t i = 0; i < point->n_disks; i++)
        if (point->disks[i].external && !strcmp(point->disks[i].target, target))
            return &point->disks[i];
    return NULL;
}

bool bm_restore_point_internal(const struct bm_restore_point *point)
{
    for (size_t i = 0; i < point->n_disks; i++)
        if (point->disks[i].internal)
            return true;
    return point->memory_internal;
}

bool bm_restore_points_descends(const struct bm_restore_points *points,
                                const char *name, const char *ancestor)
{
    const struct bm_restore_point *point = bm_restore_points_find(points, name);

    for (size_t i = 0; point && i <= points->n; i++) {
        if (!strcmp(point->name, ancestor))
            return true;
        point = point->parent ? bm_restore_points_find(points, point->parent)
                              : NULL;
    }
    return false;
}
