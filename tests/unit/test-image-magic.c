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
    cr_expect_not(bm_image_names_none(at("a")));
    cr_expect_not(bm_image_names_none(at("b")));
    cr_expect_not(bm_image_names_none(at("c")));
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
    cr_expect_not(bm_image_names_none(at("fifo")));
    cr_expect_not(bm_image_names_none(at("folder")));
    cr_expect_not(bm_image_names_none(at("missing")));
}
