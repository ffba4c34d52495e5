// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * TLS of a connection to an NBD server: whom it is to trust, and how. For
 * nbd-connect.c.
 *
 * Threads: any.
 */
#ifndef BM_NBD_DEVICE_NBD_TLS_H
#define BM_NBD_DEVICE_NBD_TLS_H

#include "nbd/device/nbd-connect.h"

/* Whether the server can be known, before it is asked: without a list of
 * authorities libnbd takes any certificate, and without a host name it looks
 * at none, so nobody would know who answers. -EACCES; -ENOENT and others: the
 * list cannot be read. 0 also where no TLS is wanted. */
int bm_nbd_connect_trust(const struct bm_nbd_target *how, struct bm_error *err);

/* Never "TLS if possible": who stands between could say that it is not.
 * -1: libnbd says why. */
int bm_nbd_connect_tls(const struct bm_nbd_target *how, struct nbd_handle *nbd);

#endif
