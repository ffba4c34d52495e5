// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/device/nbd-tls.h"

#include "nbd/base/cleanup.h"

#include <errno.h>
#include <libnbd.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static bool wants_tls(const struct bm_nbd_target *how)
{
    return how->tls_certificates || how->tls_psk ||
           (how->uri && strncasecmp(how->uri, "nbds", 4) == 0);
}

static int no_trust(const struct bm_nbd_target *how, const char *cause,
                    struct bm_error *err)
{
    bm_fail(err, EACCES, "cannot connect to %s", how->name);
    return bm_cause(err, "%s", cause), -EACCES;
}

int bm_nbd_connect_trust(const struct bm_nbd_target *how, struct bm_error *err)
{
    BM_FREE char *authorities = NULL;

    if (!wants_tls(how) || how->tls_psk)
        return 0;
    if (!how->tls_certificates)
        return no_trust(how,
                        "TLS needs --tls-certificates or --tls-psk, to "
                        "know the server by",
                        err);
    if (!how->uri || strncasecmp(how->uri, "nbds+unix", 9) == 0)
        return no_trust(how,
                        "a certificate is for a host's name, and a Unix "
                        "socket has none: --tls-psk serves there",
                        err);
    if (asprintf(&authorities, "%s/ca-cert.pem", how->tls_certificates) < 0)
        return bm_fail_errno(err, ENOMEM, "cannot connect to %s", how->name);
    if (access(authorities, R_OK) == 0)
        return 0;
    bm_fail_errno(err, errno, "cannot connect to %s", how->name);
    return bm_cause(err, "%s: %s", authorities, strerror(err->code)),
           -err->code;
}

int bm_nbd_connect_tls(const struct bm_nbd_target *how, struct nbd_handle *nbd)
{
    if (!wants_tls(how))
        return 0;
    if (nbd_set_tls(nbd, LIBNBD_TLS_REQUIRE) != 0)
        return -1;
    if (how->tls_certificates &&
        nbd_set_tls_certificates(nbd, how->tls_certificates) != 0)
        return -1;
    return how->tls_psk ? nbd_set_tls_psk_file(nbd, how->tls_psk) : 0;
}
