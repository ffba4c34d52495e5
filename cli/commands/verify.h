// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* The verify of frozen layers, for the commands that make or check manifests.
 */
#ifndef CLI_COMMANDS_VERIFY_H
#define CLI_COMMANDS_VERIFY_H

#include "cli/session/snapshot-context.h"
#include "cli/session/session.h"

/* Of the domain's frozen layers, or of a point's (NULL: all); dir is the state
 * directory. Prints what it finds. -EBADMSG with BM_EXIT_PROOF: one differs. */
int cli_verify(struct cli_snapshot_context *context,
               const struct cli_options *options, const char *dir,
               const struct bm_restore_point *point, struct bm_error *err);

#endif
