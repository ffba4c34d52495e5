// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/run/writeback.h"
#include "nbd/base/units.h"
#include "tests/unit/fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

TestSuite(writeback, .init = fixture_setup, .fini = fixture_teardown);

/* Whether some of it has no place on the medium yet, as the file system says
 * (fiemap.rst); without delayed allocation there is nothing to be seen. */
static bool waits(int fd)
{
    struct {
        struct fiemap head;
        struct fiemap_extent extents[64];
    } map = {.head = {.fm_length = FIEMAP_MAX_OFFSET, .fm_extent_count = 64}};
    bool found = false;

    if (ioctl(fd, FS_IOC_FIEMAP, &map.head) != 0) {
        cr_assert_eq(errno, EOPNOTSUPP);
        cr_skip_test("the file system of /tmp cannot tell");
    }
    for (unsigned i = 0; i < map.head.fm_mapped_extents; i++)
        found |= (map.extents[i].fe_flags & FIEMAP_EXTENT_DELALLOC) != 0;
    return found;
}

static int written(const char *path)
{
    static char block[1 << 20];
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    cr_assert_geq(fd, 0);
    memset(block, 0x5a, sizeof block);
    cr_assert_eq(write(fd, block, sizeof block), (ssize_t)sizeof block);
    return fd;
}

Test(writeback, what_is_written_goes_to_the_medium_soon)
{
    struct bm_writeback *writeback = bm_writeback_start();
    char *paths[] = {strdup("not-there"), strdup("image")};
    int fd = written("image"), looks = 0;

    cr_assert_not_null(writeback);
    cr_assert(waits(fd), "the file system does not delay");
    bm_writeback_follow(writeback, paths, 2);
    while (waits(fd) && looks++ < 100)
        bm_sleep_ms(20);
    cr_expect_not(waits(fd));
    bm_writeback_stop(writeback);
    close(fd);
}

Test(writeback, what_is_not_followed_waits)
{
    struct bm_writeback *writeback = bm_writeback_start();
    char *first[] = {strdup("image")}, *then[] = {strdup("other")};
    int fd;

    cr_assert_not_null(writeback);
    bm_writeback_follow(writeback, first, 1);
    bm_writeback_follow(writeback, then, 1);
    bm_sleep_ms(100);
    fd = written("image");
    cr_assert(waits(fd), "the file system does not delay");
    bm_sleep_ms(200);
    cr_expect(waits(fd));
    bm_writeback_stop(writeback);
    close(fd);
}

Test(writeback, it_ends_at_once)
{
    struct bm_writeback *writeback = bm_writeback_start();
    int64_t begin = bm_now_ms();

    cr_assert_not_null(writeback);
    bm_writeback_stop(writeback);
    bm_writeback_stop(NULL);
    cr_expect_lt(bm_now_ms() - begin, 500);
}
