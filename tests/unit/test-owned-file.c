// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* A file that is removed slowly: only what nobody else can see is cut short. */
#include "blockmig/image/owned-file.h"

#include "nbd/base/cleanup.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIZE (100 << 20)

static char dir[] = "/tmp/bm-files-XXXXXX", path[64], other[64];

static void make(void)
{
    int fd;

    cr_assert_not_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/image", dir);
    snprintf(other, sizeof other, "%s/other", dir);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    cr_assert(fd >= 0 && ftruncate(fd, SIZE) == 0);
    close(fd);
}

static void unmake(void)
{
    (void)unlink(path);
    (void)unlink(other);
    (void)rmdir(dir);
}
TestSuite(files, .init = make, .fini = unmake);

static void removed(void)
{
    struct bm_error err = BM_ERROR_INIT;

    cr_expect_eq(bm_file_remove_slowly(path, &err), 0);
    cr_expect_neq(access(path, F_OK), 0);
}

Test(files, its_name_is_gone)
{
    removed();
    removed(); /* one that is not there is fine */
}

Test(files, another_name_keeps_all_of_it)
{
    struct stat st;

    cr_assert_eq(link(path, other), 0);
    removed();
    cr_assert_eq(stat(other, &st), 0);
    cr_expect_eq(st.st_size, SIZE);
}

Test(files, who_has_it_open_keeps_all_of_it)
{
    BM_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;

    removed();
    cr_assert_eq(fstat(fd, &st), 0);
    cr_expect_eq(st.st_size, SIZE);
}

Test(files, a_link_is_removed_and_not_followed)
{
    struct stat st;

    cr_assert_eq(rename(path, other), 0);
    cr_assert_eq(symlink(other, path), 0);
    removed();
    cr_assert_eq(stat(other, &st), 0);
    cr_expect_eq(st.st_size, SIZE);
}
