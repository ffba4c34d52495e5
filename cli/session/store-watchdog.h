// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A watch over a command that looks around before it begins anything: it stats
 * and reads a great many files, and would stand still for ever at the first
 * that lies on a store which hangs. So a thread asks them all (blockmig/
 * liveness.h) when the looking takes long, and where one does not answer it
 * says so, and ends the process. A job that runs looks after its stores itself.
 *
 * Used by the main thread alone.
 */
#ifndef CLI_SESSION_STORE_WATCHDOG_H
#define CLI_SESSION_STORE_WATCHDOG_H

#include "cli/options/invocation.h"
#include "snapshot/libvirt/connection.h"

/* Opens the connection of the options; from then on there is a watch. */
int cli_watchdog_connect(const struct cli *cli, struct bm_connection **out,
                         struct bm_error *err);
/* Its job is in the store: whoever ends now leaves it there. */
void cli_watchdog_claimed(void);
/* From now on there is none; fine if there was none. true: its thread still
 * waits for an answer, so a process that ends should just end. */
bool cli_watchdog_end(void);

#endif
