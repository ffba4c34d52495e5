// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* What room the overlays of a job need, by files of known size. */
#include "blockmig/run/ballast.h"
#include "blockmig/datastore/space-required.h"

#include "nbd/base/cleanup.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <ftw.h>
#include <string.h>
#include <sys/stat.h>

#define MIB (UINT64_C(1) << 20)

static char dir[64];

static void set_up(void)
{
    strcpy(dir, "/tmp/bm-needs-XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
}

static int remove_one(const char *path, const struct stat *st, int type,
                      struct FTW *ftw)
{
    return remove(path);
}

static void tear_down(void)
{
    nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

TestSuite(required, .init = set_up, .fini = tear_down);

/* A file of size bytes, so many of which take room. Caller frees the name. */
static char *file(const char *name, uint64_t size, uint64_t held)
{
    BM_CLOSE int fd = -1;
    char *path;

    cr_assert_gt(asprintf(&path, "%s/%s", dir, name), 0);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    cr_assert_geq(fd, 0);
    cr_assert_eq(ftruncate(fd, (off_t)size), 0);
    if (held)
        cr_assert_eq(posix_fallocate(fd, 0, (off_t)held), 0);
    return path;
}

static void layer(struct bm_chain *chain, const char *name, uint64_t size,
                  uint64_t held)
{
    BM_FREE char *path = file(name, size, held);

    cr_assert_eq(bm_chain_append(chain, BM_SOURCE_FILE, path, "qcow2"), 0);
}

/* A disk of 8 MiB: two source overlays of 1 and 2 MiB on a source that holds
 * `held`. */
static struct bm_job *overlaid(uint64_t held)
{
    struct bm_job *job = bm_job_new();
    struct bm_job_disk *disk;

    job->domain = strdup("vm");
    job->n_disks = 1;
    job->disks = disk = calloc(1, sizeof *disk);
    disk->target = strdup("vda");
    bm_job_fill_disk(disk)->capacity = 8 * MIB;
    disk->overlays.n_source = 2;
    layer(&disk->source, "two", 2 * MIB, 2 * MIB);
    layer(&disk->source, "one", MIB, MIB);
    layer(&disk->source, "source", 8 * MIB, held);
    layer(&disk->dest, "image", 8 * MIB, 7 * MIB);
    bm_job_fill_disk(disk)->switch_overlay = file("overlay", 3 * MIB, 3 * MIB);
    return job;
}

static void is_about(uint64_t got, uint64_t want)
{
    cr_assert_geq(got, want);
    cr_assert_lt(got, want + MIB / 2, "%llu", (unsigned long long)got);
}

Test(required, back)
{
    struct bm_job *sparse = overlaid(MIB), *tight, *full;

    is_about(bm_space_required_back(&sparse->disks[0]), 3 * MIB);
    bm_job_free(sparse);
    tight = overlaid(6 * MIB);
    is_about(bm_space_required_back(&tight->disks[0]) + MIB / 4, 2 * MIB);
    bm_job_free(tight);
    full = overlaid(8 * MIB);
    cr_assert_eq(bm_space_required_back(&full->disks[0]), 0);
    bm_job_free(full);
}

static struct bm_space_need needed(struct bm_job *job, enum bm_state state)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_space_required required;
    struct bm_space_need first = {0};

    bm_job_set_state(job, state);
    cr_assert_eq(bm_space_required_find(job, &required, &err), 0);
    cr_assert_leq(required.n, 1); /* all on one file system */
    if (required.n)
        first = required.all[0];
    bm_space_required_clear(&required);
    return first;
}

Test(required, by_state)
{
    struct bm_job *job = overlaid(MIB);
    struct bm_space_need it = needed(job, BM_STATE_COPYING);

    cr_assert(it.written);
    cr_assert_gt(it.available, 0);
    is_about(it.bytes, 3 * MIB);
    is_about(bm_space_required_overlays(job, &job->disks[0]), 3 * MIB);
    /* the new image has a hole of 1 MiB; the source is not written any more */
    it = needed(job, BM_STATE_SETTLED);
    cr_assert(it.written);
    is_about(it.bytes + MIB / 4, MIB);
    it = needed(job, BM_STATE_RELEASING);
    cr_assert_not(it.written);
    job->staged.off = true;
    it = needed(job, BM_STATE_COPYING);
    cr_assert_not(it.written);
    bm_job_free(job);
}

/* The source is why they are elsewhere: its room stops nothing. */
Test(required, on_target)
{
    struct bm_job *job = overlaid(MIB);
    struct bm_space_need it;

    bm_job_fill_plan(job)->on_target = true;
    it = needed(job, BM_STATE_COPYING);
    cr_assert(it.written);
    cr_assert_eq(it.bytes, 0);
    it = needed(job, BM_STATE_ROLLING_BACK);
    is_about(it.bytes, 3 * MIB);
    bm_job_free(job);
}

/* What tells no size is not full. */
Test(required, no_size)
{
    uint64_t available = 0;

    cr_assert_eq(bm_space_available("/proc", &available), 0);
    cr_assert_eq(available, UINT64_MAX);
    cr_assert_lt(bm_space_available("/nowhere/at/all", &available), 0);
}

Test(required, ballast)
{
    uint64_t size = bm_ballast_size(dir);

    cr_assert_geq(size, 16 * MIB);
    cr_assert_leq(size, 256 * MIB);
    cr_assert_eq(bm_ballast_size("/nowhere/at/all"), 16 * MIB);
}
