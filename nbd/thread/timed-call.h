// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Calls that can be abandoned. What hangs (a store without its server, QEMU
 * inside a call of libvirt's) cannot be cancelled: so it runs in a thread of
 * its own, and at its deadline the caller walks away.
 *
 * Threads: any.
 */
#ifndef BM_NBD_THREAD_TIMED_CALL_H
#define BM_NBD_THREAD_TIMED_CALL_H

/*
 * Runs fn(arg) in another thread. Whatever fn reads or writes must be owned by
 * arg. 0: fn has returned, and arg is the caller's again. -ETIMEDOUT: it was
 * abandoned; arg is gone, and arg_free(arg) is called when fn returns, however
 * late. Another negative errno: no thread to be had; arg is the caller's.
 */
int bm_timed_call(int timeout_ms, void (*fn)(void *arg), void *arg,
                  void (*arg_free)(void *arg));

/* How many abandoned calls have not returned yet. */
unsigned bm_calls_abandoned(void);

#endif
