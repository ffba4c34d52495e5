// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* An NBD export that is reached by a URI. */
#include "nbd/device/backends.h"

#include "nbd/base/cleanup.h"
#include "nbd/device/nbd-multi-conn.h"
#include "nbd/base/units.h"

#include <errno.h>
#include <string.h>

struct nbd_device {
    struct bm_multi_conn queues; /* first */
    /* for new connections; queues.dial borrows them */
    char *uri, *certificates, *psk;
};

static void close_nbd(struct bm_device *dev)
{
    struct nbd_device *nbd = (struct nbd_device *)dev;

    bm_multi_conn_clear(&nbd->queues);
    free(nbd->uri);
    free(nbd->certificates);
    free(nbd->psk);
    free(nbd);
}

static const struct bm_device_ops nbd_ops = {
    .submit = bm_multi_conn_submit,
    .poll = bm_multi_conn_poll,
    .notify = bm_multi_conn_notify,
    .extents = bm_multi_conn_extents,
    .flush = bm_multi_conn_flush,
    .close = close_nbd,
};

static void cleanup_nbd(struct nbd_device **nbd)
{
    if (*nbd)
        close_nbd(&(*nbd)->queues.dev);
}
#define OWN_DEVICE __attribute__((cleanup(cleanup_nbd)))

static int copy_text(const char *text, char **out)
{
    if (!text)
        return 0;
    *out = strdup(text);
    return *out ? 0 : -ENOMEM;
}

static int init(struct nbd_device *nbd, const char *uri,
                const struct bm_open *how, struct bm_error *err)
{
    struct bm_nbd_target *target = &nbd->queues.target;
    int rc = bm_multi_conn_init(&nbd->queues, uri, how, err);

    if (rc != 0)
        return rc;
    if (copy_text(uri, &nbd->uri) != 0 ||
        copy_text(how->tls_certificates, &nbd->certificates) != 0 ||
        copy_text(how->tls_psk, &nbd->psk) != 0)
        return bm_fail_errno(err, ENOMEM, "cannot open %s", uri);
    target->uri = nbd->uri;
    target->tls_certificates = nbd->certificates;
    target->tls_psk = nbd->psk;
    /* What a server had not yet flushed may be lost with it. */
    target->again = !how->write;
    nbd->queues.dev.ops = &nbd_ops;
    nbd->queues.dev.medium = "server";
    return 0;
}

static int add_link(struct bm_multi_conn *queues, int timeout_ms,
                    struct bm_error *err)
{
    int rc = bm_nbd_open(&queues->target, bm_now_ms() + timeout_ms,
                         &queues->conns[queues->dev.queues], err);

    if (rc == 0)
        queues->dev.queues++;
    return rc;
}

/* A server may take fewer clients than it says, and let the others wait: that
 * is not worth the whole time. */
static void add_links(struct bm_multi_conn *queues, unsigned wanted)
{
    if (!bm_nbd_facts_of(queues->conns[0])->multi_conn)
        return;
    while (queues->dev.queues < wanted &&
           add_link(queues, queues->target.connect_ms / 4, NULL) == 0)
        continue;
}

int bm_device_nbd_open(const char *uri, const struct bm_open *how,
                       struct bm_device **out, struct bm_error *err)
{
    OWN_DEVICE struct nbd_device *nbd = calloc(1, sizeof *nbd);
    int rc;

    if (!nbd)
        return bm_fail_errno(err, ENOMEM, "cannot open %s", uri);
    rc = init(nbd, uri, how, err);
    if (rc == 0)
        rc = add_link(&nbd->queues, nbd->queues.target.connect_ms, err);
    if (rc != 0)
        return rc;
    add_links(&nbd->queues, how->queues);
    rc = bm_multi_conn_agree(&nbd->queues, how, err);
    if (rc == 0)
        *out = &BM_STEAL(nbd)->queues.dev;
    return rc;
}
