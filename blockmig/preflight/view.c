// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/preflight/preflight-private.h"
#include "blockmig/datastore/space-required.h"
#include "blockmig/image/owned-file.h"
#include "nbd/base/cleanup.h"
#include "nbd/base/units.h"

/* Older ones end the guest when a client of such a view disconnects: their NBD
 * server closes it in the I/O thread (docs/pitfalls.md P28). */
#define SAFE_QEMU 9000000ul

static int check_runs(const struct bm_preflight_context *look)
{
    if (look->domain->active)
        return 0;
    return BM_REFUSED(look, "view", "", "use --mode row",
                      "the guest is off: there is nobody to serve a view");
}

static int check_iothread(const struct bm_preflight_context *look,
                          const struct bm_disk *disk)
{
    unsigned long version = 0;

    if (!disk->iothread ||
        (virConnectGetVersion(bm_connection_handle(look->conn), &version) ==
             0 &&
         version >= SAFE_QEMU))
        return 0;
    return BM_REFUSED(look, "iothread", disk->target, "use --mode row",
                      "the disk has an iothread: QEMU %lu.%lu ends the guest "
                      "when a client of a view of it disconnects",
                      version / 1000000, version / 1000 % 1000);
}

static int check_space(const struct bm_preflight_context *look,
                       const struct bm_job_disk *plan)
{
    BM_FREE char *folder = bm_file_folder(plan->fixed.switch_overlay);
    char wants[32], has[32];
    uint64_t available = 0;

    if (!folder)
        return -ENOMEM;
    if (access(folder, W_OK | X_OK) != 0 ||
        bm_space_available(folder, &available) != 0)
        return BM_REFUSED(look, "scratch", plan->target,
                          "give another folder with --overlay-dir",
                          "no file can be made in %s", folder);
    bm_format_size(plan->fixed.capacity, wants, sizeof wants);
    bm_format_size(available, has, sizeof has);
    if (available < 2 * bm_ballast_size(folder))
        return BM_REFUSED(look, "scratch", plan->target,
                          "give another folder with --overlay-dir",
                          "%s has %s free only", folder, has);
    if (available < plan->fixed.capacity)
        return BM_WARNED(look, "scratch", plan->target, NULL,
                         "%s has %s free: the view ends when the guest has "
                         "overwritten so much of %s",
                         folder, has, wants);
    return BM_FINE(look, "scratch", plan->target, "%s: %s free", folder, has);
}

int bm_preflight_view(struct bm_connection *conn, struct bm_domain *domain,
                      const struct bm_job *job, struct bm_preflight *preflight,
                      struct bm_error *err)
{
    const struct bm_preflight_context look = {conn, domain, NULL, job,
                                              preflight};
    int rc = bm_preflight_domain(&look, err);

    if (!rc)
        rc = check_runs(&look);
    for (size_t i = 0; !rc && i < job->n_disks; i++) {
        const struct bm_job_disk *plan = &job->disks[i];
        struct bm_disk *disk = bm_domain_disk(domain, plan->target);

        rc = disk ? check_iothread(&look, disk) : 0;
        if (!rc && disk && disk->encrypted)
            rc = BM_REFUSED(&look, "encryption", plan->target,
                            "leave the disk out",
                            "the disk is encrypted, and its view is not");
        if (!rc && disk && disk->mirror)
            rc = BM_REFUSED(&look, "block-job", plan->target,
                            "wait for its end", "the disk has a block job");
        if (!rc)
            rc = check_space(&look, plan);
    }
    return rc == -ENOMEM ? bm_fail_errno(err, ENOMEM, "cannot check") : rc;
}
