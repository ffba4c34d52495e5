// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "cli/pedigree.h"

#include <errno.h>
#include <string.h>

int cli_pedigree_read(const struct cli *cli, enum cli_kin which,
                      struct cli_pedigree *out, struct bm_error *err)
{
    int rc = bm_connection_open(cli->options.connect, &out->conn, err);

    if (!rc)
        rc = bm_domain_open(out->conn, cli->args[0], &out->domain, err);
    if (!rc)
        rc = bm_points_read(out->domain, &out->points, err);
    if (!rc && which != CLI_KIN_NONE)
        rc = bm_kin_find(out->conn, out->domain, &out->points,
                         which == CLI_KIN_ALL, &out->kin, err);
    return rc;
}

void cli_pedigree_end(struct cli_pedigree *pedigree)
{
    bm_kin_clear(&pedigree->kin);
    bm_points_clear(&pedigree->points);
    bm_domain_free(pedigree->domain);
    bm_connection_close(pedigree->conn);
}

int cli_pedigree_point(const struct cli_pedigree *pedigree, const char *name,
                       const struct bm_point **out, struct bm_error *err)
{
    *out = bm_points_find(&pedigree->points, name);
    if (*out)
        return 0;
    bm_fail(err, ENOENT, "domain %s has no snapshot %s", pedigree->domain->name,
            name);
    bm_remedy(err, "see 'blockmig snapshot list %s'", pedigree->domain->name);
    return bm_status(err, BM_EXIT_REFUSED), -ENOENT;
}

const char *cli_point_kind(const struct bm_point *point)
{
    if (bm_point_internal(point))
        return "internal";
    return point->memory ? "disk+memory" : "disk";
}
