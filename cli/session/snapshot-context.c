// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "cli/session/snapshot-context.h"

#include "cli/session/store-watchdog.h"

#include <errno.h>
#include <string.h>

int cli_snapshot_context_look(const struct cli *cli, struct bm_connection *conn,
                              enum cli_tree which,
                              struct cli_snapshot_context *out,
                              struct bm_error *err)
{
    int rc = bm_domain_open(conn, cli->args[0], &out->domain, err);

    out->conn = conn;
    if (!rc)
        rc = bm_restore_points_read(out->domain, &out->points, err);
    if (!rc && which != CLI_KIN_NONE)
        rc = bm_tree_find(conn, out->domain, &out->points, which == CLI_KIN_ALL,
                          &out->tree, err);
    return rc;
}

int cli_snapshot_context_read(const struct cli *cli, enum cli_tree which,
                              struct cli_snapshot_context *out,
                              struct bm_error *err)
{
    int rc = cli_watchdog_connect(cli, &out->own, err);

    return rc ? rc : cli_snapshot_context_look(cli, out->own, which, out, err);
}

void cli_snapshot_context_end(struct cli_snapshot_context *context)
{
    bm_tree_clear(&context->tree);
    bm_restore_points_clear(&context->points);
    bm_domain_free(context->domain);
    bm_connection_close(context->own);
}

int cli_snapshot_context_point(const struct cli_snapshot_context *context,
                               const char *name,
                               const struct bm_restore_point **out,
                               struct bm_error *err)
{
    *out = bm_restore_points_find(&context->points, name);
    if (*out)
        return 0;
    bm_fail(err, ENOENT, "domain %s has no snapshot %s", context->domain->name,
            name);
    bm_remedy(err, "see 'blockmig snapshot list %s'", context->domain->name);
    return bm_status(err, BM_EXIT_REFUSED), -ENOENT;
}

int cli_which_disk(const struct bm_domain *domain, const char *why,
                   struct bm_error *err)
{
    bm_fail(err, EINVAL, "cannot choose a disk of %s", domain->name);
    bm_cause(err, "%s", why);
    bm_remedy(err, "name one with --disk");
    return bm_status(err, BM_EXIT_USAGE), -EINVAL;
}

int cli_disk(struct bm_domain *domain, const char *name, struct bm_disk **out,
             struct bm_error *err)
{
    *out = name ? bm_domain_disk(domain, name) : NULL;
    if (name && !*out) {
        bm_fail(err, ENOENT, "domain %s has no disk %s", domain->name, name);
        return bm_status(err, BM_EXIT_REFUSED), -ENOENT;
    }
    for (size_t d = 0; !name && d < domain->n_disks; d++) {
        struct bm_disk *disk = &domain->disks[d];

        if (strcmp(disk->device, "disk") != 0 || disk->readonly)
            continue;
        if (*out)
            return cli_which_disk(domain, "it has several", err);
        *out = disk;
    }
    return *out ? 0
                : cli_which_disk(domain, "it has none that is written to", err);
}

const char *cli_point_kind(const struct bm_restore_point *point)
{
    if (bm_restore_point_internal(point))
        return "internal";
    return point->memory ? "disk+memory" : "disk";
}
