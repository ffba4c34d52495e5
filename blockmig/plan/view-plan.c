// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The plan of a fleeting view, and what is looked at before.
 */
#include "blockmig/image/owned-file.h"
#include "blockmig/plan/snapshot-plan-private.h"
#include "nbd/base/cleanup.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define SOCKET_MAX 107 /* unix(7) */

static int refuse(int code, struct bm_error *err)
{
    return bm_status(err, BM_EXIT_REFUSED), -code;
}

/* QEMU makes it: of the system's libvirt only the folder of the domain is
 * allowed to it (virt-aa-helper). */
static char *socket_name(const struct bm_domain *domain,
                         const struct bm_job *job, const char *state_dir)
{
    char *name;
    int n;

    if (strstr(job->uri, ":///system") && geteuid() == 0)
        n = asprintf(&name,
                     "/var/lib/libvirt/qemu/domain-%d-%.20s/blockmig-%s.sock",
                     domain->id, domain->name, job->id);
    else
        n = asprintf(&name, "%s/%s.view", state_dir, job->id);

    return n < 0 ? NULL : name;
}

static int set_socket(const struct bm_domain *domain, struct bm_job *job,
                      const char *state_dir, struct bm_error *err)
{
    job->snapshot->socket = socket_name(domain, job, state_dir);
    if (!job->snapshot->socket)
        return bm_snapshot_no_memory(err);
    if (strlen(job->snapshot->socket) <= SOCKET_MAX)
        return 0;
    bm_fail(err, ENAMETOOLONG, "cannot serve a view of %s", domain->name);
    bm_cause(err, "%s is too long for a socket", job->snapshot->socket);
    bm_remedy(err, "give a --state of a shorter name");
    return refuse(ENAMETOOLONG, err);
}

/* It stays on what it is on; old blocks go beside that. */
static int add_disk(struct bm_domain *domain, struct bm_disk *disk,
                    const struct bm_snapshot_options *options,
                    struct bm_job *job, struct bm_error *err)
{
    const struct bm_layer *top = &disk->chain.layers[0];
    BM_FREE char *folder = NULL;
    struct bm_job_disk *plan;
    char *scratch;
    int rc = bm_domain_disk_size(domain, disk, err);

    if (rc)
        return rc;
    folder = options->overlay_dir ? strdup(options->overlay_dir)
             : top->type == BM_SOURCE_FILE && top->path
                 ? bm_file_folder(top->path)
                 : NULL;
    if (!folder) {
        bm_fail(err, EINVAL, "cannot make a view of disk %s of %s",
                disk->target, domain->name);
        bm_cause(err, "its image stands in no folder");
        bm_remedy(err, "give one with --overlay-dir");
        return refuse(EINVAL, err);
    }
    if (asprintf(&scratch, "%s/.blockmig-%s-%s-scratch.qcow2", folder, job->id,
                 disk->target) < 0)
        return bm_snapshot_no_memory(err);
    rc = bm_snapshot_add_disk(job, disk, &disk->chain, &disk->chain, scratch,
                              err);
    if (rc)
        return rc;
    /* no overlay of the guest's: its chain is and stays what it is */
    plan = &job->disks[job->n_disks - 1];
    bm_chain_clear(&plan->dest);
    if (bm_chain_copy(&plan->source, &plan->dest) < 0)
        return bm_snapshot_no_memory(err);
    plan->below = (int)plan->dest.n - 1;
    return 0;
}

int bm_snapshot_plan_view(struct bm_connection *conn, struct bm_domain *domain,
                          const struct bm_restore_points *points,
                          const struct bm_snapshot_options *options,
                          struct bm_job **out, struct bm_error *err)
{
    struct bm_job *job = NULL;
    int rc = bm_snapshot_new_job(conn, domain, "create", BM_STRATEGY_VIEW, &job,
                                 err);

    if (!rc)
        rc = bm_snapshot_set_name(domain, points, options, job, err);
    if (!rc)
        rc = bm_snapshot_check_listed(domain, options->disks, err);
    for (size_t d = 0; !rc && d < domain->n_disks; d++)
        if (bm_snapshot_wanted(&domain->disks[d], options->disks))
            rc = add_disk(domain, &domain->disks[d], options, job, err);
    if (!rc && !job->n_disks) {
        bm_fail(err, ENOENT, "domain %s has no disk to view", domain->name);
        rc = refuse(ENOENT, err);
    }
    if (!rc)
        rc = set_socket(domain, job, options->state_dir, err);
    if (rc) {
        bm_job_free(job);
        return rc;
    }
    job->limits.max_pause_ms = options->max_pause_ms;
    job->store = bm_file_folder(job->disks[0].fixed.switch_overlay);
    *out = job;
    return 0;
}
