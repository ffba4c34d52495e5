// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* Manifests of frozen layers, and which file each was. */
#include "blockmig/image/manifest-store.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64], image[80], other[80];
static struct bm_manifest_store manifests = {dir, "uuid"};

static void make_file(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, path, strlen(path)), (ssize_t)strlen(path));
    (void)close(fd);
}

static void keep(const char *path)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_manifest *m = NULL;
    char hex[BM_DIGEST_HEX];
    bool partial;

    cr_assert_eq(
        bm_manifest_new(NULL, dir, bm_digest_sha256, 1 << 20, &m, &err), 0);
    cr_assert_eq(bm_manifest_finish(m, hex, &partial, &err), 0);
    cr_assert_eq(bm_manifest_store_put(&manifests, path, m, &err), 0, "%s",
                 err.cause);
    bm_manifest_close(m);
}

static enum bm_kept look(const char *path)
{
    struct bm_error err = BM_ERROR_INIT;
    enum bm_kept kept;

    cr_assert_eq(bm_manifest_store_look(&manifests, path, &kept, &err), 0);
    return kept;
}

static void set_up(void)
{
    strcpy(dir, "/tmp/bm-vault-XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
    snprintf(image, sizeof image, "%s/image", dir);
    snprintf(other, sizeof other, "%s/other", dir);
    make_file(image);
    make_file(other);
}

static int remove_one(const char *path, const struct stat *st, int type,
                      struct FTW *ftw)
{
    return remove(path);
}

static void tear_down(void)
{
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

TestSuite(manifests, .init = set_up, .fini = tear_down);

Test(manifests, what_was_not_noted_has_no_manifest)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_manifest *m = NULL;

    cr_assert_eq(look(image), BM_KEPT_NONE);
    cr_assert_eq(bm_manifest_store_open(&manifests, image, &m, &err), -ENOENT);
}

Test(manifests, what_was_noted_is_the_same_until_somebody_writes_to_it)
{
    keep(image);
    cr_assert_eq(look(image), BM_KEPT_SAME);
    usleep(10000);
    make_file(image);
    cr_assert_eq(look(image), BM_KEPT_CHANGED);
}

Test(manifests, another_file_of_that_name_is_a_change)
{
    keep(image);
    cr_assert_eq(rename(other, image), 0);
    cr_assert_eq(look(image), BM_KEPT_CHANGED);
}

Test(manifests, one_that_is_wrong_stays_so_until_it_is_right)
{
    struct bm_error err = BM_ERROR_INIT;

    keep(image);
    cr_assert_eq(bm_manifest_store_stamp(&manifests, image, true, &err), 0);
    cr_assert_eq(look(image), BM_KEPT_WRONG);
    cr_assert_eq(bm_manifest_store_stamp(&manifests, image, false, &err), 0);
    cr_assert_eq(look(image), BM_KEPT_SAME);
}

Test(manifests, a_merge_hands_it_on)
{
    struct bm_error err = BM_ERROR_INIT;

    keep(image);
    keep(other);
    cr_assert_eq(bm_manifest_store_hand(&manifests, image, other, &err), 0);
    cr_assert_eq(look(image), BM_KEPT_NONE);
    cr_assert_eq(look(other), BM_KEPT_SAME);
}

Test(manifests, but_not_of_a_file_that_was_written_to)
{
    struct bm_error err = BM_ERROR_INIT;

    keep(image);
    usleep(10000);
    make_file(image);
    cr_assert_eq(bm_manifest_store_hand(&manifests, image, other, &err), 0);
    cr_assert_eq(look(image), BM_KEPT_NONE);
    cr_assert_eq(look(other), BM_KEPT_NONE);
}

Test(manifests, a_damaged_note_is_no_proof)
{
    char command[256];

    keep(image);
    snprintf(command, sizeof command,
             "for f in %s/manifests/uuid/*.json; do echo x >$f; done", dir);
    cr_assert_eq(system(command), 0);
    cr_assert_eq(look(image), BM_KEPT_CHANGED);
}
