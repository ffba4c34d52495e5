// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Preflight of the target: names, devices.
 */
#include "blockmig/image/owned-file.h"
#include "blockmig/preflight/preflight-private.h"
#include "nbd/base/cleanup.h"
#include "blockmig/job/job-chain.h"

#include <errno.h>
#include <fcntl.h>
#include <libxml/xmlstring.h>
#include <string.h>
#include <sys/stat.h>

static int check_writable(const struct bm_preflight_context *look)
{
    if (look->store->writable)
        return BM_FINE(look, "store", "", "%s %s, file system %s",
                       bm_datastore_kind_name(look->store->kind),
                       look->store->path,
                       look->store->fs_type ? look->store->fs_type : "unknown");
    return BM_REFUSED(look, "store", "",
                      "mount it read-write, or run as a user who may write",
                      "cannot write to %s", look->store->path);
}

static bool is_source(const struct bm_preflight_context *look,
                      const struct stat *st)
{
    for (size_t i = 0; i < look->job->n_disks; i++) {
        const struct bm_chain *chain = &look->job->disks[i].source;

        for (size_t l = 0; l < chain->n; l++) {
            struct stat other;

            if (chain->layers[l].path &&
                stat(chain->layers[l].path, &other) == 0 &&
                other.st_dev == st->st_dev && other.st_ino == st->st_ino)
                return true;
        }
    }
    return false;
}

/* Whether an earlier layer or disk of the job has that name too. */
static bool twice(const struct bm_preflight_context *look,
                  const struct bm_job_disk *plan, size_t layer)
{
    const char *path = bm_job_new_image(plan)[layer].path;

    for (const struct bm_job_disk *d = look->job->disks; d <= plan; d++)
        for (size_t k = 0; k < (d == plan ? layer : d->n_lower + 1); k++)
            if (!strcmp(bm_job_new_image(d)[k].path, path))
                return true;
    return false;
}

static int check_file(const struct bm_preflight_context *look,
                      const struct bm_job_disk *plan, size_t layer)
{
    const char *path = bm_job_new_image(plan)[layer].path;
    struct stat st;

    if (twice(look, plan, layer))
        return BM_REFUSED(look, "target", plan->target,
                          "move the disks one by one, with --name",
                          "another image of the job goes to %s too", path);
    if (lstat(path, &st) == 0) {
        if (is_source(look, &st))
            return BM_REFUSED(look, "target", plan->target,
                              "choose another store or give --name",
                              "%s is the source itself", path);
        return BM_REFUSED(look, "target", plan->target,
                          "move it away, or give --name",
                          "the target file %s exists", path);
    }
    if (errno != ENOENT)
        return BM_REFUSED(look, "target", plan->target, NULL,
                          "cannot look at %s: %s", path, strerror(errno));
    return BM_FINE(look, "target", plan->target, "%s is free", path);
}

static int check_files(const struct bm_preflight_context *look,
                       const struct bm_job_disk *plan)
{
    int rc = 0;

    for (size_t k = 0; !rc && k <= plan->n_lower; k++)
        rc = check_file(look, plan, k);
    return rc;
}

/* A device that is mounted, or part of something, refuses O_EXCL. */
static int check_device_free(const struct bm_preflight_context *look,
                             const struct bm_job_disk *plan)
{
    const char *path = bm_job_new_image(plan)->path;
    BM_CLOSE int fd = open(path, O_RDONLY | O_EXCL | O_CLOEXEC);

    if (fd >= 0)
        return 0;
    return BM_REFUSED(
        look, "target", plan->target, "choose a device that nobody uses",
        "cannot have %s for ourselves: %s", path, strerror(errno));
}

static int check_device_size(const struct bm_preflight_context *look,
                             const struct bm_job_disk *plan)
{
    uint64_t size = look->store->capacity;

    if (size < plan->fixed.capacity)
        return BM_REFUSED(look, "size", plan->target, "choose a larger device",
                          "%s has %llu bytes, the disk %llu", look->store->path,
                          (unsigned long long)size,
                          (unsigned long long)plan->fixed.capacity);
    if (!bm_job_new_image(plan)->slice)
        return 0;
    return BM_FINE(look, "size", plan->target,
                   "%s has %llu bytes, of which the guest will see the first "
                   "%llu (a slice)",
                   look->store->path, (unsigned long long)size,
                   (unsigned long long)plan->fixed.capacity);
}

static int check_signature(const struct bm_preflight_context *look,
                           const struct bm_job_disk *plan)
{
    if (!look->store->signature)
        return BM_FINE(look, "signature", plan->target,
                       "nothing that libblkid knows is on %s",
                       look->store->path);
    return bm_preflight_add(
        look->list, look->job->request.force ? BM_WARN : BM_REFUSE, "signature",
        plan->target, "see wipefs; --force overwrites it",
        "%s bears a signature: %s", look->store->path, look->store->signature);
}

static int check_device(const struct bm_preflight_context *look,
                        const struct bm_job_disk *plan)
{
    struct stat st;
    int rc;

    if (stat(bm_job_new_image(plan)->path, &st) == 0 && is_source(look, &st))
        return BM_REFUSED(look, "target", plan->target, "choose another device",
                          "%s is the source itself", look->store->path);
    rc = check_device_free(look, plan);
    if (!rc)
        rc = check_device_size(look, plan);
    return rc ? rc : check_signature(look, plan);
}

/* In libvirt's XML a line break becomes a blank, and what is no UTF-8 another
 * name: QEMU would write to another file than ours. */
static bool fits_xml(const char *path)
{
    for (const char *p = path; *p; p++)
        if ((unsigned char)*p < ' ')
            return false;
    return xmlCheckUTF8(BAD_CAST path) == 1;
}

static int bad_name(const struct bm_preflight_context *look,
                    const struct bm_job_disk *plan, const char *path)
{
    return BM_REFUSED(look, "name", plan->target,
                      "choose a name in UTF-8 without line breaks",
                      "libvirt cannot bear the name %s", path);
}

static int check_names(const struct bm_preflight_context *look,
                       const struct bm_job_disk *plan)
{
    const char *const paths[] = {bm_job_new_image(plan)->path,
                                 plan->fixed.switch_overlay,
                                 plan->fixed.rollback_overlay};

    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
        if (paths[i] && !fits_xml(paths[i]))
            return bad_name(look, plan, paths[i]);
    for (size_t k = 1; k <= plan->n_lower; k++)
        if (!fits_xml(bm_job_new_image(plan)[k].path))
            return bad_name(look, plan, bm_job_new_image(plan)[k].path);
    return 0;
}

static int check_overlay_folder(const struct bm_preflight_context *look,
                                const struct bm_job_disk *plan,
                                const char *overlay)
{
    BM_FREE char *folder = overlay ? bm_file_folder(overlay) : NULL;

    if (!folder)
        return BM_REFUSED(look, "overlay", plan->target,
                          "give --overlay-dir DIR, or --proof none",
                          "neither store can hold the overlay of the switch");
    if (access(folder, W_OK | X_OK) < 0)
        return BM_REFUSED(look, "overlay", plan->target,
                          "give --overlay-dir DIR, or --proof none",
                          "cannot make the overlay in %s: %s", folder,
                          strerror(errno));
    return 0;
}

static int check_overlays(const struct bm_preflight_context *look,
                          const struct bm_job_disk *plan)
{
    int rc;

    if (!look->job->request.proof ||
        look->job->plan.strategy == BM_STRATEGY_COLD)
        return 0;
    rc = check_overlay_folder(look, plan, plan->fixed.switch_overlay);
    return rc ? rc
              : check_overlay_folder(look, plan, plan->fixed.rollback_overlay);
}

/* What is true of every pull is said before it. */
static int check_pull(const struct bm_preflight_context *look)
{
    int rc;

    if (look->job->plan.strategy != BM_STRATEGY_PULL)
        return 0;
    if (look->store->kind == BM_DATASTORE_BLOCK)
        return BM_REFUSED(look, "pull", "", "use --strategy staged",
                          "a pull begins with an overlay, which is a file, and "
                          "not on a device such as %s",
                          look->store->path);
    if (look->domain->checkpoints)
        return BM_REFUSED(look, "pull", "", "use --strategy blockcopy",
                          "the domain has %d checkpoints, whose bitmaps a pull "
                          "does not carry over",
                          look->domain->checkpoints);
    rc = BM_WARNED(look, "both-stores", "", NULL,
                   "until the pull has ended the guest needs both stores: "
                   "without either of them its I/O fails");
    return rc ? rc
              : BM_WARNED(look, "proof", "", "use --strategy staged",
                          "what is pulled is not proven");
}

/* The way back of a pull is a commit into the source. */
static int check_way_back(const struct bm_preflight_context *look,
                          const struct bm_job_disk *plan)
{
    const char *path = plan->source.n ? plan->source.layers[0].path : NULL;

    if (look->job->plan.strategy != BM_STRATEGY_PULL || !path ||
        access(path, W_OK) == 0)
        return 0;
    return BM_WARNED(look, "way-back", plan->target, NULL,
                     "%s takes no writes, so the move cannot be given up once "
                     "it is frozen",
                     path);
}

int bm_preflight_target(const struct bm_preflight_context *look,
                        struct bm_error *err)
{
    bool block = look->store->kind == BM_DATASTORE_BLOCK;
    int rc = check_writable(look);

    if (!rc)
        rc = bm_preflight_space(look, err);
    if (!rc)
        rc = check_pull(look);
    for (size_t i = 0; !rc && i < look->job->n_disks; i++) {
        const struct bm_job_disk *plan = &look->job->disks[i];

        rc = check_names(look, plan);
        if (!rc)
            rc = block ? check_device(look, plan) : check_files(look, plan);
        if (!rc)
            rc = check_overlays(look, plan);
        if (!rc)
            rc = check_way_back(look, plan);
    }
    return rc;
}
