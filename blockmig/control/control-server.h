// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A running job listens on a private socket DIR/ID.sock; `job watch`,
 * `job cancel` and others speak to it there. One line asks, one line answers:
 * "status" -> one JSON object of the newest progress; "cancel", "undo",
 * "accept", "pause" and what limits.h reads -> "ok"; "resume" -> "ok", or "not
 * paused".
 *
 * Threads: the server has a thread of its own; all but start and stop may be
 * called from any.
 */
#ifndef BM_CONTROL_CONTROL_SERVER_H
#define BM_CONTROL_CONTROL_SERVER_H

#include "blockmig/control/limits.h"
#include "nbd/base/error.h"

#include <stdbool.h>

struct bm_control;

int bm_control_start(const char *dir, const char *id, struct bm_control **out,
                     struct bm_error *err);
void bm_control_stop(struct bm_control *control); /* accepts NULL */
/* The newest progress as one line of JSON (copied). */
void bm_control_publish(struct bm_control *control, const char *json);
/* A client asked for a cancel. */
bool bm_control_cancelled(struct bm_control *control);
/* What a client asked of a settled job: the last one counts. */
enum bm_settle_decision {
    BM_DECISION_NONE,
    BM_DECISION_UNDO,
    BM_DECISION_ACCEPT
};
enum bm_settle_decision bm_control_decision(struct bm_control *control);
/* A client asked for a pause, and none asked since to go on. */
bool bm_control_paused(struct bm_control *control);
/* What clients have set since the last call; false: nothing. */
bool bm_control_limits(struct bm_control *control, struct bm_limits *out);

/* The client side: *answer (caller frees) within 5 s. -ENOENT: not running. */
int bm_control_ask(const char *dir, const char *id, const char *line,
                   char **answer, struct bm_error *err);

#endif
