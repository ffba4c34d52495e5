// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The commands, one function each.
 */
#ifndef CLI_COMMANDS_COMMANDS_H
#define CLI_COMMANDS_COMMANDS_H

#include "cli/options/invocation.h"

int cli_move(struct cli *cli, struct bm_error *err);
int cli_job_list(struct cli *cli, struct bm_error *err);
int cli_job_show(struct cli *cli, struct bm_error *err);
int cli_job_watch(struct cli *cli, struct bm_error *err);
int cli_job_set(struct cli *cli, struct bm_error *err);
int cli_job_pause(struct cli *cli, struct bm_error *err);
int cli_job_cancel(struct cli *cli, struct bm_error *err);
int cli_job_undo(struct cli *cli, struct bm_error *err);
int cli_job_accept(struct cli *cli, struct bm_error *err);
int cli_job_resume(struct cli *cli, struct bm_error *err);
int cli_job_release(struct cli *cli, struct bm_error *err);
int cli_job_events(struct cli *cli, struct bm_error *err);
int cli_job_prune(struct cli *cli, struct bm_error *err);
int cli_store_list(struct cli *cli, struct bm_error *err);
int cli_store_show(struct cli *cli, struct bm_error *err);
int cli_store_probe(struct cli *cli, struct bm_error *err);
int cli_snapshot_list(struct cli *cli, struct bm_error *err);
int cli_snapshot_tree(struct cli *cli, struct bm_error *err);
int cli_snapshot_merge(struct cli *cli, struct bm_error *err);
int cli_snapshot_make(struct cli *cli, struct bm_error *err);
int cli_snapshot_flatten(struct cli *cli, struct bm_error *err);
int cli_snapshot_verify(struct cli *cli, struct bm_error *err);
int cli_snapshot_doctor(struct cli *cli, struct bm_error *err);
int cli_snapshot_group(struct cli *cli, struct bm_error *err);
int cli_snapshot_view(struct cli *cli, struct bm_error *err);
int cli_snapshot_save(struct cli *cli, struct bm_error *err);
int cli_snapshot_show(struct cli *cli, struct bm_error *err);
int cli_doctor(struct cli *cli, struct bm_error *err);
int cli_compare(struct cli *cli, struct bm_error *err);
int cli_copy(struct cli *cli, struct bm_error *err);
int cli_hash(struct cli *cli, struct bm_error *err);

#endif
