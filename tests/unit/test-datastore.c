// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/datastore/datastore.h"
#include "tests/unit/fixture.h"

#include <errno.h>
#include <libvirt/virterror.h>
#include <sys/stat.h>

static struct bm_datastore *store;
static struct bm_error err = BM_ERROR_INIT;

static void tidy(void)
{
    bm_datastore_free(store);
    fixture_teardown();
}

TestSuite(store, .init = fixture_setup, .fini = tidy);

Test(store, folder_has_room_and_a_file_system)
{
    struct stat st;

    cr_assert_eq(stat(".", &st), 0);
    ok(bm_datastore_open(NULL, ".", &store, &err), err);
    cr_expect_eq(store->kind, BM_DATASTORE_DIR);
    cr_expect_str_eq(store->path, fixture_dir);
    cr_expect(store->writable);
    cr_expect(store->available > 0 && store->available <= store->capacity);
    cr_expect_eq(store->device, st.st_dev);
    cr_expect_null(store->signature);
    cr_expect_str_eq(store->fs_type,
                     fixture_word("findmnt -n -o FSTYPE -T %s", fixture_dir));
}

Test(store, links_are_followed)
{
    sh("mkdir real && ln -s real link");
    ok(bm_datastore_open(NULL, at("link"), &store, &err), err);
    cr_expect_str_eq(store->path, at("real"));
    cr_expect_str_eq(store->name, at("link"));
}

Test(store, missing_place_is_refused)
{
    cr_expect_eq(bm_datastore_open(NULL, "/no/such/place", &store, &err),
                 -ENOENT);
    cr_expect_eq(err.status, BM_EXIT_REFUSED);
    cr_expect(strstr(err.what, "/no/such/place"));
}

Test(store, file_is_refused)
{
    sh("touch file");
    cr_expect_eq(bm_datastore_open(NULL, at("file"), &store, &err), -ENOTDIR);
    cr_expect(strstr(err.cause, "folder"));
}

/* libvirt's own in-memory driver, with one more pool in it. */
static struct bm_connection *connect_with_pool(const char *type, bool active)
{
    struct bm_connection *conn = NULL;
    virStoragePoolPtr pool;
    char xml[1024];

    ok(bm_connection_open("test:///default", &conn, &err), err);
    snprintf(xml, sizeof xml,
             "<pool type='%s'><name>p1</name><source><name>vg</name>"
             "<device path='/dev/null'/></source>"
             "<target><path>%s</path></target></pool>",
             type, fixture_dir);
    pool = virStoragePoolDefineXML(bm_connection_handle(conn), xml, 0);
    cr_assert(pool, "%s", virGetLastErrorMessage());
    if (active)
        cr_assert_eq(virStoragePoolCreate(pool, 0), 0);
    virStoragePoolFree(pool);
    return conn;
}

Test(store, pool_of_folders_is_its_folder)
{
    struct bm_connection *conn = connect_with_pool("dir", true);

    ok(bm_datastore_open(conn, "p1", &store, &err), err);
    cr_expect_eq(store->kind, BM_DATASTORE_POOL);
    cr_expect_str_eq(store->pool, "p1");
    cr_expect_str_eq(store->pool_type, "dir");
    cr_expect_str_eq(store->path, fixture_dir);
    cr_expect_gt(store->available, 0);
    bm_connection_close(conn);
}

Test(store, inactive_pool_is_refused)
{
    struct bm_connection *conn = connect_with_pool("dir", false);

    cr_expect_eq(bm_datastore_open(conn, "p1", &store, &err), -ENOTCONN);
    cr_expect(strstr(err.remedy, "pool-start"));
    bm_connection_close(conn);
}

Test(store, pool_without_files_is_refused)
{
    struct bm_connection *conn = connect_with_pool("logical", true);

    cr_expect_eq(bm_datastore_open(conn, "p1", &store, &err), -EOPNOTSUPP);
    cr_expect(strstr(err.cause, "logical"));
    bm_connection_close(conn);
}

Test(store, name_of_no_pool_is_a_path)
{
    struct bm_connection *conn = connect_with_pool("dir", true);

    sh("mkdir here");
    ok(bm_datastore_open(conn, "here", &store, &err), err);
    cr_expect_eq(store->kind, BM_DATASTORE_DIR);
    cr_expect_str_eq(store->path, at("here"));
    bm_connection_close(conn);
}

static void is_signed(const char *path, const char *expected)
{
    char *words = NULL;

    ok(bm_datastore_signature(path, &words, &err), err);
    if (expected)
        cr_expect(words && strcmp(words, expected) == 0, "%s",
                  words ? words : "nothing");
    else
        cr_expect_null(words, "%s", words);
    free(words);
}

Test(store, signatures_in_words)
{
    sh("truncate -s 64M ext4 gpt mbr swap none; touch empty");
    sh("PATH=$PATH:/sbin:/usr/sbin; mkfs.ext4 -q ext4 && "
       "echo 'label: gpt' | sfdisk -q gpt && "
       "echo 'label: dos' | sfdisk -q mbr && mkswap -q swap 2>/dev/null && "
       "qemu-img create -q -f qcow2 qcow2 1M");
    is_signed("ext4", "ext4 file system");
    is_signed("gpt", "GPT partition table");
    is_signed("mbr", "MBR partition table");
    is_signed("swap", "swap");
    is_signed("qcow2", "qcow2 image");
    is_signed("none", NULL);
    is_signed("empty", NULL);
}

/* wipefs -n lists both; an ambivalent probe must not count as nothing. */
Test(store, two_signatures_are_a_signature)
{
    char *words = NULL;

    sh("truncate -s 64M both swap; PATH=$PATH:/sbin:/usr/sbin; "
       "mkfs.ext4 -q both && mkswap -q swap 2>/dev/null && "
       "dd if=swap of=both bs=1 skip=4086 seek=4086 count=10 conv=notrunc "
       "2>/dev/null");
    ok(bm_datastore_signature("both", &words, &err), err);
    cr_expect_not_null(words);
    free(words);
}

Test(store, block_device_with_what_lives_on_it)
{
    char loop[256];

    if (geteuid() != 0)
        cr_skip("needs root for a loop device");
    sh("truncate -s 64M disk && PATH=$PATH:/sbin:/usr/sbin && "
       "mkfs.ext4 -q -L mine disk");
    if (fixture_status("losetup -f --show disk >loop 2>/dev/null") != 0)
        cr_skip("no loop devices here");
    strcpy(loop, fixture_word("cat loop"));
    ok(bm_datastore_open(NULL, loop, &store, &err), err);
    cr_expect_eq(store->kind, BM_DATASTORE_BLOCK);
    cr_expect_eq(store->capacity, 64 << 20);
    cr_expect_str_eq(store->fs_type, "ext4");
    cr_expect_str_eq(store->fs_label, "mine");
    cr_expect_str_eq(store->fs_uuid,
                     fixture_word("blkid -s UUID -o value -p disk"));
    cr_expect_str_eq(store->signature, "ext4 file system");
    cr_expect_eq(bm_datastore_try(store, &(struct bm_datastore_probe){0}, &err),
                 -ENOTSUP);
    sh("losetup -d %s", loop);
}

Test(store, trying_leaves_nothing)
{
    struct bm_datastore_probe probe;

    ok(bm_datastore_open(NULL, ".", &store, &err), err);
    ok(bm_datastore_try(store, &probe, &err), err);
    cr_expect(probe.create_us >= 0 && probe.write_us > 0 && probe.sync_us >= 0);
    cr_expect(probe.direct);
    sh("test -z \"$(ls -A)\"");
}

Test(store, try_says_what_fails)
{
    if (geteuid() != 0 ||
        fixture_status("mkdir t && mount -t tmpfs -o size=64k none t "
                       "2>/dev/null") != 0)
        cr_skip("needs root to mount a tiny tmpfs");
    ok(bm_datastore_open(NULL, at("t"), &store, &err), err);
    cr_expect_eq(bm_datastore_try(store, &(struct bm_datastore_probe){0}, &err),
                 -ENOSPC);
    cr_expect_eq(err.status, BM_EXIT_REFUSED);
    sh("test -z \"$(ls -A t)\" && umount t");
}
