// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Work that yields to everybody else on the host: beside a live guest that is
 * worth more than any limit of the rate.
 */
#ifndef BM_GENTLY_H
#define BM_GENTLY_H

#include "nbd/error.h"

/*
 * Runs work in a thread of the lowest CPU and I/O priority, as will be the
 * threads and processes that it starts, and returns what it returns. The
 * caller waits, so nothing runs beside it. (An unprivileged thread could not
 * get its own priority back.) -EAGAIN: no thread to be had.
 */
int bm_gently(int (*work)(void *opaque), void *opaque, struct bm_error *err);

#endif
