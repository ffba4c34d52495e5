// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/job/disk-location.h"
#include "blockmig/job/job-chain.h"

#include <errno.h>
#include <stddef.h>

const char *bm_location_name(enum bm_location location)
{
    static const char *const names[] = {"on the source",
                                        "on the target",
                                        "on the target under our overlay",
                                        "on the source under our overlay",
                                        "on the target above the source",
                                        "gone",
                                        "on a chain that is not ours"};

    return names[location];
}

int bm_chain_on_top(const char *overlay, const struct bm_chain *below,
                    struct bm_chain *out)
{
    struct bm_chain chain = {0};
    int rc = bm_chain_append(&chain, BM_SOURCE_FILE, overlay, "qcow2");

    for (size_t i = 0; !rc && i < below->n; i++)
        rc = bm_chain_add(&chain, &below->layers[i]);
    if (rc) {
        bm_chain_clear(&chain);
        return rc;
    }
    chain.complete = true;
    *out = chain;
    return 0;
}

int bm_chain_overlay(const struct bm_job_disk *plan, struct bm_chain *out)
{
    return bm_chain_on_top(plan->fixed.switch_overlay, &plan->dest, out);
}

int bm_chain_back(const struct bm_job_disk *plan, struct bm_chain *out)
{
    return bm_chain_on_top(plan->fixed.rollback_overlay, &plan->source, out);
}

/* Whether chain is `overlay` on `below`. */
static bool is_on(const struct bm_chain *chain, const char *overlay,
                  const struct bm_chain *below)
{
    struct bm_chain wanted;
    bool same;

    if (!overlay || bm_chain_on_top(overlay, below, &wanted) < 0)
        return false;
    same = bm_chain_equal(chain, &wanted);
    bm_chain_clear(&wanted);
    return same;
}

static enum bm_location place(const struct bm_chain *chain,
                              const struct bm_job_disk *plan)
{
    if (bm_chain_equal(chain, &plan->source))
        return BM_AT_SOURCE;
    if (bm_chain_equal(chain, &plan->dest))
        return BM_AT_DEST;
    if (is_on(chain, plan->fixed.switch_overlay, &plan->dest))
        return BM_AT_OVERLAY;
    /* shut off, the overlay itself is put back on the source */
    if (is_on(chain, plan->fixed.rollback_overlay, &plan->source) ||
        is_on(chain, plan->fixed.switch_overlay, &plan->source))
        return BM_AT_BACK;
    if (is_on(chain, bm_job_new_image(plan)->path, &plan->source))
        return BM_AT_PULL;
    return BM_AT_FOREIGN;
}

int bm_disk_location_chain(const struct bm_domain *domain,
                           const struct bm_disk *disk, struct bm_chain *out,
                           struct bm_error *err)
{
    int rc = bm_chain_copy(&disk->chain, out);

    if (rc)
        return bm_fail_errno(err, -rc, "cannot read the chain of %s",
                             disk->target);
    rc = domain->active ? 0 : bm_chain_complete(out, err);
    if (rc)
        bm_chain_clear(out);
    return rc;
}

int bm_disk_location(const struct bm_domain *domain, const struct bm_disk *disk,
                     const struct bm_job_disk *plan, struct bm_error *err)
{
    struct bm_chain chain;
    enum bm_location found;
    int rc;

    if (!domain || !disk)
        return BM_AT_NOWHERE;
    if (domain->active)
        return (int)place(&disk->chain, plan);
    rc = bm_disk_location_chain(domain, disk, &chain, err);
    if (rc)
        return rc;
    found = place(&chain, plan);
    bm_chain_clear(&chain);
    return (int)found;
}
