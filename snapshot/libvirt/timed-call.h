// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Libvirt calls that can be abandoned. QEMU has hung for good inside a
 * libvirt call (docs/pitfalls.md P50), so each has a deadline, at which the
 * caller walks away (nbd/thread/timed-call.h).
 */
#ifndef BM_SNAPSHOT_LIBVIRT_TIMED_CALL_H
#define BM_SNAPSHOT_LIBVIRT_TIMED_CALL_H

#include "nbd/base/error.h"

/*
 * fn runs in another thread with arg; it returns 0, or -1 with libvirt's
 * error set in that thread. Whatever fn reads or writes must be owned by
 * arg: after a time-out arg belongs to the call, and arg_free(arg) is called
 * when fn returns, however late. After success or failure within the
 * deadline arg belongs to the caller again.
 *
 * Returns 0; -ETIMEDOUT when abandoned (arg is gone, status BM_EXIT_HELD);
 * otherwise the error of libvirt, mapped (bm_virt_error).
 */
int bm_call(const char *what, int timeout_ms, int (*fn)(void *arg), void *arg,
            void (*arg_free)(void *arg), struct bm_error *err);

/* The deadline of an ordinary call in milliseconds: $BLOCKMIG_CALL_MS, else
 * 20000. Read once. */
int bm_call_ms(void);

/*
 * Fills err from libvirt's last error in this thread. Decides by code and
 * domain, never by text. ENOENT unknown object, EBUSY a job is active or the
 * domain is busy, ENOTSUP unsupported, ECONNRESET connection lost, EHOSTDOWN
 * the guest's agent does not answer, else EIO.
 */
int bm_virt_error(struct bm_error *err, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

#endif
