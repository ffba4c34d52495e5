// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/image/qemu-img-private.h"
#include "nbd/image/qemu-img.h"
#include "tests/unit/server-fixture.h"

#include <sys/stat.h>

TestSuite(image_magic, .init = fixture_setup, .fini = fixture_teardown);

static void stands_on(const char *name, const char *base)
{
    struct bm_error err = BM_ERROR_INIT;
    char *below;

    ok(bm_image_below(at(name), NULL, &below, &err), err);
    cr_expect(below && !strcmp(below, at(base)), "%s stands on %s", name,
              below ? below : "nothing");
    free(below);
}

/* Whatever qemu-img itself writes a backing file's name into. */
Test(image_magic, every_format_with_a_backing_file_is_seen)
{
    char name[40];
    FILE *images;
    unsigned n = 0;

    sh("qemu-img create -q -f raw base 2M; "
       "for f in $(qemu-img --help | sed -n 's/^Supported formats: //p'); do "
       "qemu-img create -q -f $f -b $PWD/base -F raw top.$f >log 2>&1 && "
       "qemu-img info top.$f | grep -q '^backing file' && echo top.$f; "
       "done >images; true");
    images = fopen("images", "re");
    cr_assert(images);
    for (; fscanf(images, "%39s", name) == 1; n++)
        stands_on(name, "base");
    cr_expect_eq(fclose(images), 0);
    cr_expect_geq(n, 3); /* qcow, qcow2, qed */
}

Test(image_magic, a_vmdk_stands_on_another)
{
    sh("qemu-img create -q -f vmdk base 2M; "
       "qemu-img create -q -f vmdk -b $PWD/base -F vmdk top");
    stands_on("top", "base");
}

Test(image_magic, a_text_may_describe_an_image)
{
    sh("printf '# Disk DescriptorFile\\nversion=1\\n' >a");
    sh("printf '\\nversion=1\\n' >b");
    sh("printf 'version=1\\n' >c");
    cr_expect_not(bm_image_names_none(at("a"), NULL));
    cr_expect_not(bm_image_names_none(at("b"), NULL));
    cr_expect_not(bm_image_names_none(at("c"), NULL));
}

Test(image_magic, nobody_is_asked_about_a_raw_disk)
{
    struct bm_error err = BM_ERROR_INIT;
    char *below, *path = strdup(getenv("PATH"));

    sh("qemu-img create -q -f raw zeroes 2M; : >empty; "
       "printf '\\353c\\220' >boot");
    setenv("PATH", "/nowhere", 1);
    ok(bm_image_below(at("zeroes"), NULL, &below, &err), err);
    cr_expect_null(below);
    ok(bm_image_below(at("empty"), NULL, &below, &err), err);
    cr_expect_null(below);
    ok(bm_image_below(at("boot"), NULL, &below, &err), err);
    cr_expect_null(below);
    setenv("PATH", path, 1);
    free(path);
}

Test(image_magic, what_cannot_be_looked_at_may_name_one)
{
    sh("mkfifo fifo; mkdir folder");
    cr_expect_not(bm_image_names_none(at("fifo"), NULL));
    cr_expect_not(bm_image_names_none(at("folder"), NULL));
    cr_expect_not(bm_image_names_none(at("missing"), NULL));
}

Test(image_magic, nobody_is_asked_about_an_image_that_stands_alone)
{
    sh("qemu-img create -q -f qcow2 v3 2M; "
       "qemu-img create -q -f qcow2 -o compat=0.10 v2 2M; "
       "qemu-img create -q -f qcow v1 2M");
    cr_expect(bm_image_names_none(at("v3"), NULL));
    cr_expect(bm_image_names_none(at("v3"), "qcow2"));
    cr_expect(bm_image_names_none(at("v2"), "qcow2"));
    cr_expect(bm_image_names_none(at("v1"), NULL));
}

Test(image_magic, an_image_with_its_data_elsewhere_is_asked_about)
{
    sh("qemu-img create -q -f qcow2 -o data_file=data top 2M");
    cr_expect_not(bm_image_names_none(at("top"), NULL));
    cr_expect_not(bm_image_names_none(at("top"), "qcow2"));
}

/* What is said to be a qcow2 and is none is for qemu-img to judge. */
Test(image_magic, a_format_that_is_not_there_is_asked_about)
{
    sh("qemu-img create -q -f raw raw 2M; printf 'QFI\\373' >short");
    cr_expect_not(bm_image_names_none(at("raw"), "qcow2"));
    cr_expect_not(bm_image_names_none(at("short"), "qcow2"));
    cr_expect_not(bm_image_names_none(at("short"), NULL));
}
