// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The guard's files in the state directory: DIR/ID.guard, locked while it
 * watches, and DIR/ID.unclean, the mark that the guest ran on the new image
 * before that was frozen: old and new can then not be compared any more.
 */
#ifndef BM_GUARD_GUARD_FILES_H
#define BM_GUARD_GUARD_FILES_H

#include "nbd/base/error.h"

#include <stdbool.h>

/* Waits until no guard of a dead run is at work on this job. */
int bm_unclean_wait(const char *dir, const char *id, int timeout_ms,
                    struct bm_error *err);
bool bm_unclean_set(const char *dir, const char *id);
/* Leaves the mark, durably; before the guest is resumed. */
int bm_unclean_leave(const char *dir, const char *id, struct bm_error *err);
/* Takes both files of a finished job away. */
void bm_unclean_forget(const char *dir, const char *id);

#endif
