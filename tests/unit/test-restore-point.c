// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* Restore points from libvirt's metadata, and the XML that a revert makes. */
#include "snapshot/tree/restore-point.h"

#include "nbd/base/cleanup.h"
#include "snapshot/tree/revert-xml.h"
#include "snapshot/tree/metadata-xml.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

static const char s2[] =
    "<domainsnapshot><name>s2</name><description>&lt;two&gt;</description>"
    "<state>running</state><parent><name>s1</name></parent>"
    "<creationTime>1700000000</creationTime>"
    "<memory snapshot='external' file='/a/mem'/><disks>"
    "<disk name='vda' snapshot='external' type='file'><driver type='qcow2'/>"
    "<source file='/a/s2.qcow2'/></disk>"
    "<disk name='vdb' snapshot='no'/></disks>"
    "<domain><name>old</name><metadata>"
    "<b:job xmlns:b='https://blockmig.org/job/1' id='1'/></metadata><devices>"
    "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
    "<source file='/a/s1.qcow2'/><target dev='vda' bus='virtio'/></disk>"
    "<disk type='file' device='disk'><driver name='qemu' type='raw'/>"
    "<source file='/a/b.raw'/><target dev='vdb' bus='virtio'/></disk>"
    "</devices></domain></domainsnapshot>";

static struct bm_restore_point point;

static void read_s2(void)
{
    cr_assert_eq(bm_restore_point_from_xml(s2, &point), 0);
}

static void forget_s2(void)
{
    struct bm_restore_points points = {calloc(1, sizeof point), 1};

    points.list[0] = point;
    bm_restore_points_clear(&points);
}

TestSuite(restore_point, .init = read_s2, .fini = forget_s2);

Test(restore_point, has_what_libvirt_says_of_it)
{
    cr_assert_str_eq(point.name, "s2");
    cr_assert_str_eq(point.parent, "s1");
    cr_assert_str_eq(point.description, "<two>");
    cr_assert_str_eq(point.memory, "/a/mem");
    cr_assert_eq(point.created_s, 1700000000);
    cr_assert_not(bm_restore_point_internal(&point));
}

Test(restore_point, its_state_is_the_image_that_the_disk_stood_on)
{
    const struct bm_restore_point_disk *disk =
        bm_restore_point_disk(&point, "vda");

    cr_assert_not_null(disk);
    cr_assert_str_eq(disk->image.layers[0].path, "/a/s1.qcow2");
    cr_assert_str_eq(disk->overlay, "/a/s2.qcow2");
}

Test(restore_point, a_disk_that_is_not_in_it_is_none_of_it)
{
    cr_assert_null(bm_restore_point_disk(&point, "vdb"));
}

Test(restore_point, text_that_is_no_snapshot_is_an_error)
{
    struct bm_restore_point none;

    cr_assert_eq(bm_restore_point_from_xml("<domainsnapshot/>", &none),
                 -EBADMSG);
    cr_assert_eq(bm_restore_point_from_xml("no", &none), -EBADMSG);
}

Test(restore_point, its_overlays_can_be_hidden_and_nothing_else)
{
    BM_FREE char *out = NULL;

    cr_assert_eq(bm_snapshot_xml_hide(s2, &out), 0);
    cr_assert_not_null(strstr(out, "/a/s2.qcow2.none"));
    cr_assert_not_null(strstr(out, "\"/a/s1.qcow2\""));
}

static const char now[] =
    "<domain><devices><disk type='file'><driver type='qcow2'/>"
    "<source file='/a/s9.qcow2'/><target dev='vda'/></disk>"
    "<disk type='file'><driver type='qcow2'/><source file='/a/b9.qcow2'/>"
    "<target dev='vdb'/></disk></devices></domain>";

Test(restore_point, a_revert_puts_its_disks_on_new_chains_and_leaves_others)
{
    struct bm_chain chain = {0};
    const struct bm_new_disk disk = {"vda", &chain};
    BM_FREE char *out = NULL;

    cr_assert_eq(bm_chain_append(&chain, BM_SOURCE_FILE, "/a/new", "qcow2"), 0);
    cr_assert_eq(bm_revert_xml(s2, false, now, &disk, 1, &out), 0);
    cr_assert_not_null(strstr(out, "\"/a/new\""));
    cr_assert_not_null(strstr(out, "\"/a/b9.qcow2\""));
    cr_assert_null(strstr(out, "/a/s1.qcow2"));
    cr_assert_null(strstr(out, "/a/b.raw"));
    cr_assert_null(strstr(out, "blockmig.org"));
    cr_assert_not_null(strstr(out, "<name>old</name>"));
    bm_chain_clear(&chain);
}
