// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Named points of a move, so that a test can kill us, or change the world
 * behind our back, exactly there: when $BLOCKMIG_STOP_AT names the point (or
 * the next one of a list, by commas) the process stops itself (SIGSTOP).
 * docs/testing.md lists them.
 */
#ifndef BM_JOB_FAILPOINT_H
#define BM_JOB_FAILPOINT_H

/* name: "STATE" or "STATE.STEP". */
void bm_failpoint(const char *name);

#endif
