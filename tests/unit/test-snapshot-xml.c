// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* Snapshot metadata with its images replaced, and nothing else. */
#include "snapshot/tree/metadata-xml.h"

#include "nbd/base/cleanup.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

static const char s1[] =
    "<domainsnapshot><name>s1</name><disks>"
    "<disk name='vda' snapshot='external' type='file'><driver type='qcow2'/>"
    "<source file='/a/s1.qcow2'/></disk>"
    "<disk name='vdb' snapshot='no'/></disks>"
    "<domain><devices><disk type='block'><driver name='qemu' type='raw'/>"
    "<source dev='/dev/base'/><target dev='vda'/></disk>"
    "<interface type='direct'><source dev='eth0'/></interface>"
    "</devices></domain>"
    "<inactiveDomain><devices><disk type='file'><driver type='qcow2'/>"
    "<source file='/a/s1.qcow2'/><backingStore type='block'>"
    "<format type='raw'/><source dev='/dev/base'/><backingStore/>"
    "</backingStore></disk></devices></inactiveDomain></domainsnapshot>";

static char *replaced(size_t n)
{
    struct bm_layer top = {BM_SOURCE_FILE, .path = (char *)"/b/s1.qcow2",
                           .format = (char *)"qcow2"};
    struct bm_layer base = {BM_SOURCE_FILE, .path = (char *)"/b/ba&se.qcow2",
                            .format = (char *)"qcow2"};
    const struct bm_image_moved moved[] = {{.from = "/a/s1.qcow2", .to = &top},
                                           {.from = "/dev/base", .to = &base}};
    char *out = NULL;

    cr_assert_eq(bm_snapshot_xml_replace(s1, moved, n, &out), 0);
    return out;
}

static int count(const char *text, const char *what)
{
    int n = 0;

    for (; (text = strstr(text, what)); text++)
        n++;
    return n;
}

Test(snapshot_xml, path_type_and_format_wherever_it_is_named)
{
    BM_FREE char *out = replaced(2);

    cr_assert_not_null(out);
    cr_assert_eq(count(out, "/a/s1.qcow2"), 0);
    cr_assert_eq(count(out, "/dev/base"), 0);
    cr_assert_eq(count(out, "file=\"/b/s1.qcow2\""), 2);
    cr_assert_eq(count(out, "file=\"/b/ba&amp;se.qcow2\""), 2);
    cr_assert_eq(count(out, "type=\"block\""), 0);
    cr_assert_eq(count(out, "type=\"raw\""), 0);
    cr_assert_eq(count(out, "<driver name=\"qemu\" type=\"qcow2\"/>"), 1);
    cr_assert_eq(count(out, "<format type=\"qcow2\"/>"), 1);
    cr_assert_eq(count(out, "<source dev=\"eth0\"/>"), 1);
}

Test(snapshot_xml, what_names_no_moved_image_is_left_alone)
{
    cr_assert_null(replaced(0));
}

/* Two overlays of ours, one on the other, on an image that moved; and one under
 * a layer of somebody else of which the XML says no more. */
Test(snapshot_xml, our_overlays_and_our_stamp_are_taken_out)
{
    static const char mid[] =
        "<domainsnapshot><domain><metadata>"
        "<b:job xmlns:b='https://blockmig.org/job/1' id='1'/>"
        "<x:y xmlns:x='urn:x'/></metadata><devices>"
        "<disk type='file'><driver type='qcow2'/>"
        "<source file='/a/.o2' startupPolicy='optional'/>"
        "<backingStore type='file'><format type='qcow2'/>"
        "<source file='/a/.o1'/><backingStore type='block'>"
        "<format type='raw'/><source dev='/dev/base'/><backingStore/>"
        "</backingStore></backingStore><target dev='vda'/></disk>"
        "<disk type='file'><source file='/a/theirs'/>"
        "<backingStore type='file'><format type='qcow2'/>"
        "<source file='/a/.o1'/></backingStore></disk>"
        "</devices></domain></domainsnapshot>";
    struct bm_layer to = {BM_SOURCE_FILE, .path = (char *)"/b/new",
                          .format = (char *)"raw"};
    const struct bm_image_moved moved[] = {
        {.from = "/dev/base", .to = &to},
        {.from = "/a/.o1", .to = &to, .overlay = true},
        {.from = "/a/.o2", .to = &to, .overlay = true}};
    BM_FREE char *out = NULL;

    cr_assert_eq(bm_snapshot_xml_replace(mid, moved, 3, &out), 0);
    cr_assert_str_eq(
        out,
        "<domainsnapshot><domain><metadata><x:y xmlns:x=\"urn:x\"/></metadata>"
        "<devices><disk type=\"file\"><driver type=\"raw\"/>"
        "<source startupPolicy=\"optional\" file=\"/b/new\"/>"
        "<target dev=\"vda\"/><backingStore/></disk>"
        "<disk type=\"file\"><source file=\"/a/theirs\"/>"
        "<backingStore type=\"file\"><format type=\"raw\"/>"
        "<source file=\"/b/new\"/></backingStore></disk>"
        "</devices></domain></domainsnapshot>");
}

Test(snapshot_xml, no_xml)
{
    char *out = (char *)"";

    cr_assert_eq(bm_snapshot_xml_replace("<a", NULL, 0, &out), -EBADMSG);
    cr_assert_null(out);
}

static int on_disk(void *opaque, const char *disk, const char *how,
                   const char *overlay)
{
    char *text = opaque;

    snprintf(text + strlen(text), 100, "%s %s %s;", disk, how,
             overlay ? overlay : "-");
    return 0;
}

Test(snapshot_xml, memory)
{
    BM_FREE char *file = bm_snapshot_xml_memory(
        "<domainsnapshot><memory snapshot='external' file='/a/m'/>"
        "</domainsnapshot>");

    cr_assert_str_eq(file, "/a/m");
    cr_assert_null(bm_snapshot_xml_memory(s1));
}

Test(snapshot_xml, disks)
{
    char text[200] = "";

    cr_assert_eq(bm_snapshot_xml_disks(s1, on_disk, text), 0);
    cr_assert_str_eq(text, "vda external /a/s1.qcow2;vdb no -;");
}
