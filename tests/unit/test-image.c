// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/image/qemu-img.h"
#include "tests/unit/server-fixture.h"

#include <errno.h>
#include <sys/stat.h>

TestSuite(image, .init = fixture_setup, .fini = fixture_teardown);

Test(image, info_of_an_overlay)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_image_info info;

    sh("qemu-img create -q -f raw base 2M");
    sh("qemu-img create -q -f qcow2 -b base -F raw top");
    sh("qemu-img snapshot -c s1 top");
    sh("qemu-img bitmap --add top b0");
    ok(bm_image_read_info(at("top"), "qcow2", &info, &err), err);
    cr_expect_eq(info.virtual_size, 2 << 20);
    cr_expect_gt(info.actual_size, 0);
    cr_expect_str_eq(info.format, "qcow2");
    cr_expect_str_eq(info.backing, at("base"));
    cr_expect_str_eq(info.backing_format, "raw");
    cr_expect_eq(info.snapshots, 1);
    cr_expect_eq(info.bitmaps, 1);
    cr_expect_not(info.encrypted || info.data_file);
    bm_image_info_clear(&info);
}

/* What another image of the same kind is made with: qemu-img takes it. */
Test(image, info_says_how_it_was_made)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_image_info info;
    static const char *const made[] = {
        "cluster_size=2M,compat=1.1,refcount_bits=16,lazy_refcounts=on,"
        "extended_l2=on,compression_type=zstd",
        "cluster_size=512,compat=0.10"};
    static const char *const said[] = {
        "cluster_size=2097152,compat=1.1,refcount_bits=16,lazy_refcounts=on,"
        "extended_l2=on,compression_type=zstd",
        "cluster_size=512,compat=0.10"};

    for (size_t i = 0; i < 2; i++) {
        sh("qemu-img create -q -f qcow2 -o %s disk 64M", made[i]);
        ok(bm_image_read_info("disk", "qcow2", &info, &err), err);
        cr_expect_str_eq(info.options, said[i]);
        cr_expect_not(info.thick);
        sh("qemu-img create -q -f qcow2 -o %s again 64M", info.options);
        bm_image_info_clear(&info);
    }
    sh("qemu-img create -q -f raw -o preallocation=falloc thick 1M");
    ok(bm_image_read_info("thick", "raw", &info, &err), err);
    cr_expect(info.thick);
    cr_expect_null(info.options);
    bm_image_info_clear(&info);
}

Test(image, info_tells_a_relative_link)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_image_info info;

    sh("qemu-img create -q -f raw base 1M");
    sh("qemu-img create -q -f qcow2 -b base -F raw near");
    sh("qemu-img create -q -f qcow2 -b %s -F raw far", at("base"));
    ok(bm_image_read_info(at("near"), "qcow2", &info, &err), err);
    cr_expect(info.relative);
    bm_image_info_clear(&info);
    ok(bm_image_read_info(at("far"), "qcow2", &info, &err), err);
    cr_expect_not(info.relative);
    cr_expect_not(info.thick);
    bm_image_info_clear(&info);
}

Test(image, info_sees_an_external_data_file)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_image_info info;

    sh("qemu-img create -q -f qcow2 -o data_file=data disk 1M");
    ok(bm_image_read_info("disk", "qcow2", &info, &err), err);
    cr_expect(info.data_file);
    bm_image_info_clear(&info);
}

Test(image, info_sees_encryption)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_image_info info;

    /* qemu-img times its key derivation, and may fail on a busy host */
    sh("for i in 1 2 3 4 5; do qemu-img create -q -f qcow2 "
       "--object secret,id=s,data=x -o encrypt.format=luks,"
       "encrypt.key-secret=s,encrypt.iter-time=20 disk 1M && break; done "
       "2>/dev/null");
    ok(bm_image_read_info("disk", "qcow2", &info, &err), err);
    cr_expect(info.encrypted);
    bm_image_info_clear(&info);
}

/* What a guest writes into its raw disk must not be taken for a header. */
Test(image, explicit_format_is_not_probed)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_image_info info;

    sh("qemu-img create -q -f qcow2 -b /etc/passwd -u -F raw disk 1M");
    ok(bm_image_read_info("disk", "raw", &info, &err), err);
    cr_expect_str_eq(info.format, "raw");
    cr_expect_null(info.backing);
    bm_image_info_clear(&info);
}

Test(image, odd_names_are_files)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_image_info info;

    sh("qemu-img create -q -f raw ./nbd:x 1M; cp ./nbd:x ./-f");
    ok(bm_image_read_info("nbd:x", "raw", &info, &err), err);
    bm_image_info_clear(&info);
    ok(bm_image_read_info("-f", "raw", &info, &err), err);
    bm_image_info_clear(&info);
}

Test(image, missing_file_is_enoent)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_image_info info;

    cr_assert_eq(bm_image_read_info("none", "raw", &info, &err), -ENOENT);
    cr_assert(strstr(err.cause, "No such file"));
}

Test(image, spec_names_every_layer)
{
    const struct bm_image_layer layers[] = {{"/t", "qcow2", false, 0},
                                            {"/b", "qcow2", true, 0}};
    char *spec = bm_image_spec(layers, 2, true);

    cr_assert_str_eq(
        spec,
        "json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\","
        "\"filename\":\"/t\",\"locking\":\"auto\",\"cache\":{\"direct\":true}},"
        "\"backing\":{\"driver\":\"qcow2\",\"file\":{\"driver\":"
        "\"host_device\",\"filename\":\"/b\",\"locking\":\"auto\",\"cache\":{"
        "\"direct\":true}},\"backing\":null}}");
    free(spec);
}

Test(image, spec_of_one_raw_file)
{
    const struct bm_image_layer layer = {"/a \"b\"", "raw", false, 0};
    char *spec = bm_image_spec(&layer, 1, false);

    cr_assert_str_eq(spec, "json:{\"driver\":\"raw\",\"file\":{\"driver\":"
                           "\"file\",\"filename\":\"/a \\\"b\\\"\","
                           "\"locking\":\"auto\"}}");
    free(spec);
}

/* A qcow2 chain: base has 1..., top has 2... */
static void make_chain(void)
{
    sh("qemu-img create -q -f qcow2 base 8M && "
       "qemu-io -f qcow2 -c 'write -P 1 0 4M' base >/dev/null && "
       "qemu-img create -q -f qcow2 -b base -F qcow2 top && "
       "qemu-io -f qcow2 -c 'write -P 2 1M 1M' top >/dev/null");
}

Test(image, commit_merges_down)
{
    struct bm_error err = BM_ERROR_INIT;

    make_chain();
    sh("qemu-img convert -f qcow2 -O raw top expected");
    ok(bm_image_commit(at("top"), "qcow2", NULL, &err), err);
    sh("qemu-img compare -q -f qcow2 -F raw base expected");
    sh("qemu-img compare -q -f qcow2 -F raw top expected");
}

static int note(void *opaque, uint64_t done, uint64_t total)
{
    uint64_t *seen = opaque;

    cr_expect(done >= *seen && done <= total);
    *seen = done;
    return 0;
}

Test(image, flatten_needs_no_backing_file)
{
    struct bm_error err = BM_ERROR_INIT;
    uint64_t seen = 0;

    make_chain();
    sh("qemu-img convert -f qcow2 -O raw top expected");
    ok(bm_image_flatten(at("top"), note, &seen, &err), err);
    cr_expect_eq(seen, 10000);
    sh("rm base && qemu-img compare -q -f qcow2 -F raw top expected");
    sh("qemu-img check -q -f qcow2 top");
}

static int refuse(void *opaque, uint64_t done, uint64_t total)
{
    return 1;
}

Test(image, flatten_cancelled_is_as_good_as_before)
{
    struct bm_error err = BM_ERROR_INIT;

    make_chain();
    sh("qemu-img convert -f qcow2 -O raw top expected");
    cr_expect_eq(bm_image_flatten(at("top"), refuse, NULL, &err), -ECANCELED);
    sh("qemu-img compare -q -f qcow2 -F raw top expected");
}

Test(image, commit_needs_a_backing_format)
{
    struct bm_error err = BM_ERROR_INIT;

    sh("qemu-img create -q -f qcow2 alone 1M");
    cr_assert_eq(bm_image_commit("alone", "qcow2", NULL, &err), -EINVAL);
}

Test(image, rebase_changes_the_link_alone)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_image_info info;

    make_chain();
    sh("cp base base2");
    ok(bm_image_rebase_unsafe(at("top"), at("base2"), "qcow2", &err), err);
    ok(bm_image_read_info("top", "qcow2", &info, &err), err);
    cr_expect_str_eq(info.backing, at("base2"));
    cr_expect_str_eq(info.backing_format, "qcow2");
    bm_image_info_clear(&info);
    ok(bm_image_rebase_unsafe(at("top"), NULL, NULL, &err), err);
    ok(bm_image_read_info("top", "qcow2", &info, &err), err);
    cr_expect_null(info.backing);
    bm_image_info_clear(&info);
}

Test(image, check_of_clean_leaking_and_broken)
{
    struct bm_error err = BM_ERROR_INIT;

    make_chain();
    ok(bm_image_check("base", "qcow2", &err), err);
    sh("truncate -s 1M raw");
    ok(bm_image_check("raw", "raw", &err), err);
    /* the first entry of the refcount block: the header's own cluster */
    sh("printf '\\0\\0' | dd of=base bs=1 seek=131072 conv=notrunc "
       "2>/dev/null");
    cr_assert_eq(bm_image_check("base", "qcow2", &err), -EUCLEAN);
    cr_assert_eq(bm_image_check("none", "qcow2", &err), -ENOENT);
}
