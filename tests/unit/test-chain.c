// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/job/disk-location.h"
#include "snapshot/domain/chain.h"
#include "snapshot/domain/disk-xml.h"
#include "snapshot/libvirt/xml.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static const char disk_xml[] =
    "<disk type='file' device='disk'>"
    "<driver name='qemu' type='qcow2'/>"
    "<source file='/ds1/a b&amp;c.qcow2' index='3'/>"
    "<backingStore type='block' index='1'><format type='raw'/>"
    "<source dev='/dev/x'/><backingStore/></backingStore>"
    "<target dev='vda' bus='virtio'/><serial>s</serial></disk>";

static void read_chain(const char *xml, struct bm_chain *chain)
{
    xmlDocPtr doc = bm_xml_parse(xml);

    cr_assert_not_null(doc);
    cr_assert_eq(bm_chain_from_xml(xmlDocGetRootElement(doc), chain), 0);
    xmlFreeDoc(doc);
}

Test(chain, every_layer_of_a_disk_is_read)
{
    struct bm_chain chain;

    read_chain(disk_xml, &chain);
    cr_assert_eq(chain.n, 2);
    cr_assert_str_eq(chain.layers[0].path, "/ds1/a b&c.qcow2");
    cr_assert_str_eq(chain.layers[0].format, "qcow2");
    cr_assert_eq(chain.layers[0].index, 3);
    cr_assert_eq(chain.layers[1].type, BM_SOURCE_BLOCK);
    cr_assert_str_eq(chain.layers[1].format, "raw");
    cr_assert(chain.complete);
    bm_chain_clear(&chain);
}

Test(chain, an_empty_drive_is_no_file)
{
    struct bm_chain chain;

    read_chain("<disk type='file'><target dev='sda'/></disk>", &chain);
    cr_assert_eq(chain.n, 1);
    cr_assert_eq(chain.layers[0].type, BM_SOURCE_NONE);
    bm_chain_clear(&chain);
}

Test(chain, encryption_and_slices_are_seen)
{
    struct bm_chain chain;

    read_chain("<disk type='file'><driver type='raw'/><source file='/x'>"
               "<encryption format='luks'/><slices/></source></disk>",
               &chain);
    cr_assert(chain.layers[0].encrypted);
    cr_assert(chain.layers[0].sliced);
    bm_chain_clear(&chain);
}

/* Written, read, copied and compared; one that begins elsewhere has no size
 * that could be kept. */
Test(chain, a_slice_at_the_start_is_kept)
{
    struct bm_chain chain = {0}, back, copy;
    char *xml;

    cr_assert_eq(bm_chain_append(&chain, BM_SOURCE_BLOCK, "/dev/x", "raw"), 0);
    chain.layers[0].slice = 4096;
    chain.complete = true;
    xml = bm_disk_xml_copy_target(&chain);
    read_chain(xml, &back);
    cr_assert_eq(back.layers[0].slice, 4096);
    cr_assert_eq(bm_chain_copy(&back, &copy), 0);
    cr_assert(bm_chain_equal(&copy, &chain));
    copy.layers[0].slice = 0;
    cr_assert_not(bm_chain_equal(&copy, &chain));
    bm_chain_clear(&chain);
    bm_chain_clear(&back);
    bm_chain_clear(&copy);
    free(xml);
    read_chain("<disk type='block'><driver type='raw'/><source dev='/dev/x'>"
               "<slices><slice type='storage' offset='512' size='512'/>"
               "</slices></source></disk>",
               &chain);
    cr_assert(chain.layers[0].sliced);
    cr_assert_eq(chain.layers[0].slice, 0);
    bm_chain_clear(&chain);
}

Test(chain, another_format_is_another_chain)
{
    struct bm_chain a = {0}, b = {0};

    bm_chain_append(&a, BM_SOURCE_FILE, "/x", "raw");
    bm_chain_append(&b, BM_SOURCE_FILE, "/x", "qcow2");
    cr_assert_not(bm_chain_equal(&a, &b));
    bm_chain_clear(&a);
    bm_chain_clear(&b);
}

Test(chain, a_copy_target_names_every_format_and_its_end)
{
    struct bm_chain chain;
    char *xml;

    read_chain(disk_xml, &chain);
    xml = bm_disk_xml_copy_target(&chain);
    cr_assert_str_eq(
        xml, "<disk type=\"file\"><driver type=\"qcow2\"/>"
             "<source file=\"/ds1/a b&amp;c.qcow2\"/>"
             "<backingStore type=\"block\"><format type=\"raw\"/>"
             "<source dev=\"/dev/x\"/><backingStore/></backingStore></disk>");
    free(xml);
    bm_chain_clear(&chain);
}

Test(chain, the_guest_side_of_a_disk_survives_a_new_source)
{
    xmlDocPtr doc = bm_xml_parse(disk_xml);
    xmlNodePtr disk = xmlDocGetRootElement(doc);
    struct bm_chain chain = {0};
    char *xml;

    bm_chain_append(&chain, BM_SOURCE_FILE, "/ds2/new.raw", "raw");
    bm_disk_xml_replace(disk, &chain);
    xml = bm_xml_dump(disk);
    cr_assert_not_null(strstr(xml, "<target dev=\"vda\" bus=\"virtio\"/>"));
    cr_assert_not_null(strstr(xml, "<serial>s</serial>"));
    cr_assert_not_null(strstr(xml, "<source file=\"/ds2/new.raw\"/>"));
    cr_assert_null(strstr(xml, "/dev/x"));
    free(xml);
    xmlFreeDoc(doc);
    bm_chain_clear(&chain);
}

/* The user's wishes stay; what describes the old image goes. */
Test(chain, wishes_about_the_source_survive_a_new_one)
{
    xmlDocPtr doc = bm_xml_parse(
        "<disk type='volume'><source startupPolicy='optional' pool='p' "
        "volume='v' index='3' fdgroup='f'><slices/>"
        "<seclabel model='dac' relabel='no'/></source></disk>");
    struct bm_chain chain = {0};
    char *xml;

    bm_chain_append(&chain, BM_SOURCE_BLOCK, "/dev/new", "raw");
    bm_disk_xml_replace(xmlDocGetRootElement(doc), &chain);
    xml = bm_xml_dump(xmlDocGetRootElement(doc));
    cr_assert_str_eq(xml,
                     "<disk type=\"block\"><source startupPolicy=\"optional\" "
                     "dev=\"/dev/new\"><seclabel model=\"dac\" relabel=\"no\"/>"
                     "</source><driver type=\"raw\"/><backingStore/></disk>");
    free(xml);
    xmlFreeDoc(doc);
    bm_chain_clear(&chain);
}

/* --- where a disk stands --- */

static enum bm_location count(const char *const paths[])
{
    struct bm_domain domain = {.active = true};
    struct bm_disk disk = {0};
    char overlay[] = "/ds2/.o", back[] = "/ds1/.b";
    struct bm_job_disk plan = {.fixed.switch_overlay = overlay,
                               .fixed.rollback_overlay = back};
    int at;

    for (size_t i = 0; paths[i]; i++)
        bm_chain_append(&disk.chain, BM_SOURCE_FILE, paths[i],
                        strchr(paths[i], '.') ? "qcow2" : "raw");
    bm_chain_append(&plan.source, BM_SOURCE_FILE, "/ds1/old", "raw");
    bm_chain_append(&plan.dest, BM_SOURCE_FILE, "/ds2/new", "raw");
    at = bm_disk_location(&domain, paths[0] ? &disk : NULL, &plan, NULL);
    bm_chain_clear(&disk.chain);
    bm_chain_clear(&plan.source);
    bm_chain_clear(&plan.dest);
    return (enum bm_location)at;
}

#define STAND(...) count((const char *const[]){__VA_ARGS__, NULL})

Test(location, each_chain_of_ours_is_known)
{
    cr_assert_eq(STAND("/ds1/old"), BM_AT_SOURCE);
    cr_assert_eq(STAND("/ds2/new"), BM_AT_DEST);
    cr_assert_eq(STAND("/ds2/.o", "/ds2/new"), BM_AT_OVERLAY);
    cr_assert_eq(STAND("/ds1/.b", "/ds1/old"), BM_AT_BACK);
}

Test(location, a_foreign_overlay_is_not_ours)
{
    cr_assert_eq(STAND("/ds1/snap.q", "/ds1/old"), BM_AT_FOREIGN);
    cr_assert_eq(STAND("/ds1/snap.q", "/ds2/.o", "/ds2/new"), BM_AT_FOREIGN);
}

Test(location, a_disk_that_is_gone_is_nowhere)
{
    cr_assert_eq(count((const char *const[]){NULL}), BM_AT_NOWHERE);
}
