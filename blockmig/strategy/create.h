// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The making of one restore point, in parts, so that those of several domains
 * can be made at one instant (group.h). create.c.
 */
#ifndef BM_STRATEGY_CREATE_H
#define BM_STRATEGY_CREATE_H

#include "blockmig/run/run.h"

/* All that can be done before: overlays and metadata, in the journal. */
int bm_create_prepare(struct bm_run *run, struct bm_error *err);
/* The transaction itself. */
int bm_create_ask(struct bm_run *run, struct bm_error *err);

#endif
