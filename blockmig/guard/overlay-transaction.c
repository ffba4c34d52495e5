// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/guard/overlay-transaction.h"

#include "nbd/base/cleanup.h"
#include "snapshot/libvirt/timed-call.h"

#include <errno.h>

int bm_overlays_put(struct bm_domain *domain, const struct bm_job *job,
                    const char *const *overlays, bool made,
                    struct bm_error *err)
{
    BM_FREE const char **all = calloc(domain->n_disks + 1, sizeof *all);

    if (!all)
        return bm_fail_errno(err, ENOMEM, "cannot freeze %s", job->domain);
    for (size_t i = 0; i < job->n_disks; i++) {
        struct bm_disk *disk = bm_domain_disk(domain, job->disks[i].target);

        all[disk - domain->disks] = overlays[i];
    }
    return bm_domain_freeze(domain, all, made, bm_call_ms(), err);
}
