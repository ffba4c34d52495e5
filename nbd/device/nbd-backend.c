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
    struct bm_lanes lanes; /* first */
    /* for new connections; lanes.dial borrows them */
    char *uri, *certificates, *psk;
};

static void close_nbd(struct bm_device *dev)
{
    struct nbd_device *nbd = (struct nbd_device *)dev;

    bm_lanes_clear(&nbd->lanes);
    free(nbd->uri);
    free(nbd->certificates);
    free(nbd->psk);
    free(nbd);
}

static const struct bm_device_ops nbd_ops = {
    .submit = bm_lanes_submit,
    .poll = bm_lanes_poll,
    .notify = bm_lanes_notify,
    .extents = bm_lanes_extents,
    .flush = bm_lanes_flush,
    .close = close_nbd,
};

static void cleanup_nbd(struct nbd_device **nbd)
{
    if (*nbd)
        close_nbd(&(*nbd)->lanes.dev);
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
    struct bm_dial *dial = &nbd->lanes.dial;
    int rc = bm_lanes_init(&nbd->lanes, uri, how, err);

    if (rc != 0)
        return rc;
    if (copy_text(uri, &nbd->uri) != 0 ||
        copy_text(how->tls_certificates, &nbd->certificates) != 0 ||
        copy_text(how->tls_psk, &nbd->psk) != 0)
        return bm_fail_errno(err, ENOMEM, "cannot open %s", uri);
    dial->uri = nbd->uri;
    dial->tls_certificates = nbd->certificates;
    dial->tls_psk = nbd->psk;
    /* What a server had not yet flushed may be lost with it. */
    dial->again = !how->write;
    nbd->lanes.dev.ops = &nbd_ops;
    nbd->lanes.dev.medium = "server";
    return 0;
}

static int add_link(struct bm_lanes *lanes, int timeout_ms,
                    struct bm_error *err)
{
    int rc = bm_link_open(&lanes->dial, bm_now_ms() + timeout_ms,
                          &lanes->links[lanes->dev.lanes], err);

    if (rc == 0)
        lanes->dev.lanes++;
    return rc;
}

/* A server may take fewer clients than it says, and let the others wait: that
 * is not worth the whole time. */
static void add_links(struct bm_lanes *lanes, unsigned wanted)
{
    if (!bm_link_facts(lanes->links[0])->multi_conn)
        return;
    while (lanes->dev.lanes < wanted &&
           add_link(lanes, lanes->dial.connect_ms / 4, NULL) == 0)
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
        rc = add_link(&nbd->lanes, nbd->lanes.dial.connect_ms, err);
    if (rc != 0)
        return rc;
    add_links(&nbd->lanes, how->lanes);
    rc = bm_lanes_agree(&nbd->lanes, how, err);
    if (rc == 0)
        *out = &BM_STEAL(nbd)->lanes.dev;
    return rc;
}
