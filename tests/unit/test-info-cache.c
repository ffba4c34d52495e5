// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/image/qemu-img-private.h"
#include "nbd/image/qemu-img.h"
#include "nbd/base/units.h"
#include "tests/unit/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(info_cache, .init = fixture_setup, .fini = fixture_teardown);

/* That is long after a change. */
static void settle(const char *path)
{
    struct stat st;

    for (int i = 0; !bm_image_settled(path, &st) && i < 100; i++)
        bm_sleep_ms(50);
    cr_assert(bm_image_settled(path, &st));
}

static uint64_t size_of(const char *path)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_image_info info;
    uint64_t size;

    ok(bm_image_read_info(path, "qcow2", &info, &err), err);
    size = info.virtual_size;
    bm_image_info_clear(&info);
    return size;
}

Test(info_cache, what_has_not_changed_is_asked_once)
{
    char *path = strdup(getenv("PATH"));

    sh("qemu-img create -q -f qcow2 disk 2M");
    settle("disk");
    cr_expect_eq(size_of("disk"), 2 << 20);
    setenv("PATH", "/nowhere", 1);
    cr_expect_eq(size_of("disk"), 2 << 20);
    setenv("PATH", path, 1);
    free(path);
}

Test(info_cache, what_has_changed_is_asked_again)
{
    sh("qemu-img create -q -f qcow2 disk 2M");
    settle("disk");
    cr_expect_eq(size_of("disk"), 2 << 20);
    sh("qemu-img resize -q disk 4M");
    cr_expect_eq(size_of("disk"), 4 << 20);
    settle("disk");
    cr_expect_eq(size_of("disk"), 4 << 20);
}

/* Another file by the same name, of the same size and age. */
Test(info_cache, what_was_replaced_is_asked_again)
{
    sh("qemu-img create -q -f qcow2 disk 2M; "
       "qemu-img create -q -f qcow2 other 4M; "
       "touch -r disk other");
    settle("disk");
    settle("other");
    cr_expect_eq(size_of("disk"), 2 << 20);
    sh("mv other disk");
    settle("disk");
    cr_expect_eq(size_of("disk"), 4 << 20);
}

Test(info_cache, another_format_is_another_question)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_image_info info;

    sh("qemu-img create -q -f qcow2 disk 2M");
    settle("disk");
    cr_expect_eq(size_of("disk"), 2 << 20);
    ok(bm_image_read_info("disk", "raw", &info, &err), err);
    cr_expect_str_eq(info.format, "raw");
    bm_image_info_clear(&info);
}

/* A second change could have the same time. */
Test(info_cache, what_has_just_changed_is_not_settled)
{
    bool settled = true;
    struct stat st;

    for (int i = 0; settled && i < 100; i++) {
        sh("rm -f file; echo > file");
        settled = bm_image_settled("file", &st);
    }
    cr_expect_not(settled);
}

Test(info_cache, only_files_settle)
{
    struct stat st;

    cr_expect_not(bm_image_settled(".", &st));
    cr_expect_not(bm_image_settled("/dev/zero", &st));
    cr_expect_not(bm_image_settled("missing", &st));
}

/* More files than there are notes. */
Test(info_cache, the_oldest_make_room)
{
    struct stat st;
    char name[32], *text;

    sh("touch file");
    settle("file");
    cr_assert(bm_image_settled("file", &st));
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "f%d", i);
        bm_image_remember(name, NULL, &st, name);
    }
    text = bm_image_recall(name, NULL, &st);
    cr_expect_str_eq(text, name);
    free(text);
    cr_expect_null(bm_image_recall("f0", NULL, &st));
}
