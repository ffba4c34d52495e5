// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/preflight/preflight.h"

#include "blockmig/preflight/preflight-private.h"
#include "snapshot/domain/agent.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* --- the domain as a whole --- */

static int check_state(const struct bm_preflight_context *look)
{
    const struct bm_domain *domain = look->domain;

    switch (domain->state) {
    case VIR_DOMAIN_RUNNING:
    case VIR_DOMAIN_BLOCKED:
        return BM_FINE(look, "state", "", "the guest runs");
    case VIR_DOMAIN_SHUTOFF:
        return BM_FINE(look, "state", "", "the domain is shut off");
    case VIR_DOMAIN_PAUSED:
        if (domain->reason == VIR_DOMAIN_PAUSED_IOERROR)
            return BM_REFUSED(look, "state", "",
                              "mend its storage and resume the guest first",
                              "the guest is paused by an I/O error");
        return BM_REFUSED(look, "state", "", "resume the guest first",
                          "the guest is paused");
    case VIR_DOMAIN_PMSUSPENDED:
        return BM_REFUSED(look, "state", "", "wake the guest first",
                          "the guest sleeps (pmsuspended)");
    default:
        return BM_REFUSED(look, "state", "", "see virsh domstate --reason",
                          "the domain is neither running nor shut off");
    }
}

static int check_busy(const struct bm_preflight_context *look,
                      struct bm_error *err)
{
    bool busy;
    int rc = bm_domain_busy(look->domain, &busy, err);

    if (rc)
        return rc;
    if (busy)
        return BM_REFUSED(look, "domain-job", "",
                          "wait for its end, see virsh domjobinfo",
                          "a backup, save, dump or migration of the domain "
                          "is under way");
    return BM_FINE(look, "domain-job", "", "no other job of the domain");
}

static int check_saved(const struct bm_preflight_context *look)
{
    const char *where = bm_domain_away(look->domain);

    if (where)
        return BM_REFUSED(look, "away", "",
                          "bring the guest back, or start it and shut it off",
                          "%s, which names the old disks", where);
    return BM_FINE(look, "away", "", "not saved to a file, nor migrated");
}

static int check_stamp(const struct bm_preflight_context *look)
{
    if (!look->domain->stamp)
        return BM_FINE(look, "stamp", "", "no other job has the domain");
    if (strstr(look->domain->stamp, look->job->id))
        return 0;
    return BM_REFUSED(look, "stamp", "",
                      "resume that job with its own --state; if it has ended: "
                      "blockmig snapshot doctor --fix; if it is lost: "
                      "virsh metadata DOMAIN --uri " BM_STAMP_URI " --remove",
                      "the domain bears the stamp of a blockmig job: %s",
                      look->domain->stamp);
}

int bm_preflight_agent(const struct bm_preflight_context *look)
{
    struct bm_error err = BM_ERROR_INIT;

    if (bm_agent_ping(look->domain, &err))
        return BM_REFUSED(look, "quiesce", "",
                          "start qemu-guest-agent in the guest, behind a "
                          "channel org.qemu.guest_agent.0, or leave --quiesce "
                          "out",
                          "%s: %.300s", err.what, err.cause);
    return BM_FINE(look, "quiesce", "", "the guest's agent answers");
}

/* Of those that freeze the disk of a guest, staged alone asks its agent. */
static int check_quiesce(const struct bm_preflight_context *look)
{
    if (!look->job->request.quiesce)
        return 0;
    if (!look->domain->active)
        return BM_FINE(look, "quiesce", "",
                       "the guest is off: its file systems are at rest");
    if (look->job->plan.strategy != BM_STRATEGY_STAGED)
        return BM_REFUSED(look, "quiesce", "",
                          "use --strategy staged, or leave --quiesce out",
                          "the strategy %s has no use for frozen file systems",
                          bm_strategy_name(look->job->plan.strategy));
    return bm_preflight_agent(look);
}

/* A promise that nobody would keep. */
static int check_overlay_max(const struct bm_preflight_context *look)
{
    if (!look->job->request.overlay_max || !look->domain->active ||
        look->job->plan.strategy == BM_STRATEGY_STAGED)
        return 0;
    return BM_REFUSED(look, "overlay-max", "",
                      "use --strategy staged, or leave --overlay-max out",
                      "the strategy %s does not watch how large its overlay "
                      "becomes",
                      bm_strategy_name(look->job->plan.strategy));
}

static int check_labels(const struct bm_preflight_context *look)
{
    const char *model = look->domain->seclabel_model;

    if (model && !strcmp(model, "apparmor"))
        return BM_WARNED(look, "apparmor", "",
                         "allow the datastore's folder in "
                         "/etc/apparmor.d/local/abstractions/libvirt-qemu",
                         "AppArmor confines the guest; libvirt rewrites its "
                         "profile at the end of every block job");
    return BM_FINE(look, "labels", "", "no AppArmor profile in the way");
}

/* Files are made, locked and compared by us: they must be on this host. */
static int check_here(const struct bm_preflight_context *look)
{
    const char *host = strstr(look->job->uri, "://");

    if (host && host[3] != '/' && host[3] != '\0')
        return BM_REFUSED(look, "host", "", "run blockmig on that host",
                          "%s is another host: its images are not ours",
                          look->job->uri);
    if (strstr(look->job->uri, ":///system") && geteuid() != 0)
        return BM_REFUSED(look, "host", "", "run blockmig as root",
                          "guests of %s own their images, which we could not "
                          "lock and compare",
                          look->job->uri);
    return BM_FINE(look, "host", "", "the hypervisor is this host's");
}

int bm_preflight_domain(const struct bm_preflight_context *look,
                        struct bm_error *err)
{
    int rc = check_state(look);

    if (!rc && look->domain->active)
        rc = check_busy(look, err);
    if (!rc)
        rc = check_saved(look);
    if (!rc)
        rc = check_stamp(look);
    if (!rc)
        rc = check_labels(look);
    return rc ? rc : check_here(look);
}

static int check_domain(const struct bm_preflight_context *look,
                        struct bm_error *err)
{
    int rc = bm_preflight_domain(look, err);

    if (!rc)
        rc = bm_preflight_snapshots(look, err);
    if (!rc)
        rc = bm_preflight_checkpoints(look, err);
    if (!rc)
        rc = check_quiesce(look);
    return rc ? rc : check_overlay_max(look);
}

int bm_preflight_run(struct bm_connection *conn, struct bm_domain *domain,
                     const struct bm_datastore *store, const struct bm_job *job,
                     struct bm_preflight *preflight, struct bm_error *err)
{
    const struct bm_preflight_context look = {conn, domain, store, job,
                                              preflight};
    int rc = check_domain(&look, err);

    for (size_t i = 0; !rc && i < job->n_disks; i++) {
        struct bm_disk *disk = bm_domain_disk(domain, job->disks[i].target);

        rc = disk ? bm_preflight_disk(&look, &job->disks[i], disk, err)
                  : BM_REFUSED(&look, "disk", job->disks[i].target, NULL,
                               "the disk is gone");
        if (!rc)
            rc = bm_preflight_chain(&look, &job->disks[i]);
    }
    if (!rc && job->request.rescue)
        rc = bm_preflight_rescue(&look);
    if (!rc)
        rc = bm_preflight_target(&look, err);
    return rc == -ENOMEM ? bm_fail_errno(err, ENOMEM, "cannot check the move")
                         : rc;
}
