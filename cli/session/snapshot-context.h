// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What the snapshot commands look at: a domain, its restore points, its images.
 */
#ifndef CLI_SESSION_SNAPSHOT_CONTEXT_H
#define CLI_SESSION_SNAPSHOT_CONTEXT_H

#include "cli/options/invocation.h"
#include "snapshot/tree/image-tree.h"

struct cli_snapshot_context {
    struct bm_connection *conn; /* borrowed */
    struct bm_connection *own;  /* the same, if it is its own */
    struct bm_domain *domain;
    struct bm_restore_points points;
    struct bm_image_tree tree;
};

/* Reads the domain that the first argument names; tree, and others as of
 * bm_tree_find, only if asked for. */
enum cli_tree { CLI_KIN_NONE, CLI_KIN_OWN, CLI_KIN_ALL };
int cli_snapshot_context_read(const struct cli *cli, enum cli_tree which,
                              struct cli_snapshot_context *out,
                              struct bm_error *err);
/* The same by a connection that is there. */
int cli_snapshot_context_look(const struct cli *cli, struct bm_connection *conn,
                              enum cli_tree which,
                              struct cli_snapshot_context *out,
                              struct bm_error *err);
void cli_snapshot_context_end(struct cli_snapshot_context *context);
#define CLI_SNAPSHOT_CONTEXT                                                   \
    __attribute__((                                                            \
        cleanup(cli_snapshot_context_end))) struct cli_snapshot_context

/* -ENOENT with BM_EXIT_REFUSED: there is none of that name. Borrowed. */
int cli_snapshot_context_point(const struct cli_snapshot_context *context,
                               const char *name,
                               const struct bm_restore_point **out,
                               struct bm_error *err);
/* The disk of that name, or the only one that is written to; borrowed. */
int cli_disk(struct bm_domain *domain, const char *name, struct bm_disk **out,
             struct bm_error *err);
/* -EINVAL with BM_EXIT_USAGE: --disk must say. */
int cli_which_disk(const struct bm_domain *domain, const char *why,
                   struct bm_error *err);
/* "disk", "disk+memory", "internal", ... */
const char *cli_point_kind(const struct bm_restore_point *point);

#endif
