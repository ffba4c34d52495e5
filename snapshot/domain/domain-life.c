// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The XML of a domain, and the ends and beginnings of its guest. Each is one
 * libvirt call that can be abandoned.
 */
#include "nbd/base/cleanup.h"
#include "snapshot/libvirt/timed-call.h"
#include "snapshot/domain/domain.h"

#include <errno.h>
#include <libvirt/virterror.h>
#include <string.h>

struct life {
    virDomainPtr dom;   /* a reference, or NULL */
    virConnectPtr conn; /* a reference, or NULL */
    char *file, *xml;   /* in, and out */
    unsigned flags;
};

static void life_free(void *arg)
{
    struct life *life = arg;

    if (life->dom)
        virDomainFree(life->dom);
    if (life->conn)
        virConnectClose(life->conn);
    free(life->file);
    free(life->xml);
    free(life);
}

static struct life *of_domain(struct bm_domain *domain)
{
    struct life *life = calloc(1, sizeof *life);

    if (life) {
        virDomainRef(domain->dom);
        life->dom = domain->dom;
    }
    return life;
}

static struct life *of_connection(struct bm_connection *conn, const char *file,
                                  const char *xml)
{
    struct life *life = calloc(1, sizeof *life);

    if (!life)
        return NULL;
    life->conn = bm_connection_handle(conn);
    if (life->conn)
        virConnectRef(life->conn);
    life->file = file ? strdup(file) : NULL;
    life->xml = strdup(xml);
    if (life->conn && life->xml && (!file || life->file))
        return life;
    life_free(life);
    return NULL;
}

/* Takes life; NULL: out of memory. */
static int run(const char *what, int timeout_ms, int (*fn)(void *),
               struct life *life, struct bm_error *err)
{
    int rc;

    if (!life)
        return bm_fail_errno(err, ENOMEM, "%s", what);
    rc = bm_call(what, timeout_ms, fn, life, life_free, err);
    if (rc != -ETIMEDOUT)
        life_free(life);
    return rc;
}

static int xml_fn(void *arg)
{
    struct life *life = arg;

    life->xml = virDomainGetXMLDesc(life->dom, life->flags);
    return life->xml ? 0 : -1;
}

int bm_domain_xml(struct bm_domain *domain, bool saved, char **out,
                  struct bm_error *err)
{
    struct life *life = of_domain(domain);
    char what[300];
    int rc;

    snprintf(what, sizeof what, "cannot read the XML of domain %s",
             domain->name);
    if (!life)
        return bm_fail_errno(err, ENOMEM, "%s", what);
    life->flags = VIR_DOMAIN_XML_SECURE | (saved ? VIR_DOMAIN_XML_INACTIVE : 0);
    rc = bm_call(what, bm_call_ms(), xml_fn, life, life_free, err);
    if (rc == -ETIMEDOUT)
        return rc;
    if (!rc)
        *out = BM_STEAL(life->xml);
    life_free(life);
    return rc;
}

static int destroy_fn(void *arg)
{
    struct life *life = arg;

    if (virDomainDestroy(life->dom) == 0 || virDomainIsActive(life->dom) == 0)
        return 0;
    return virDomainDestroy(life->dom); /* its error is the one to show */
}

int bm_domain_destroy(struct bm_domain *domain, struct bm_error *err)
{
    char what[300];

    snprintf(what, sizeof what, "cannot end the guest %s", domain->name);
    return run(what, bm_call_ms(), destroy_fn, of_domain(domain), err);
}

static int start_fn(void *arg)
{
    struct life *life = arg;

    if (virDomainCreate(life->dom) == 0 || virDomainIsActive(life->dom) > 0)
        return 0;
    return virDomainCreate(life->dom); /* its error is the one to show */
}

int bm_domain_start(struct bm_domain *domain, struct bm_error *err)
{
    char what[300];

    snprintf(what, sizeof what, "cannot start the guest %s", domain->name);
    return run(what, 2 * bm_call_ms(), start_fn, of_domain(domain), err);
}

static int define_fn(void *arg)
{
    struct life *life = arg;
    virDomainPtr dom = virDomainDefineXML(life->conn, life->xml);

    if (!dom)
        return -1;
    virDomainFree(dom);
    return 0;
}

int bm_domain_define(struct bm_connection *conn, const char *xml,
                     struct bm_error *err)
{
    return run("cannot write the saved XML of the domain", bm_call_ms(),
               define_fn, of_connection(conn, NULL, xml), err);
}

static int restore_fn(void *arg)
{
    struct life *life = arg;

    return virDomainRestoreFlags(life->conn, life->file, life->xml,
                                 VIR_DOMAIN_SAVE_RUNNING);
}

int bm_domain_restore(struct bm_connection *conn, const char *file,
                      const char *xml, int timeout_ms, struct bm_error *err)
{
    char what[400];

    snprintf(what, sizeof what, "cannot go on from the memory in %.300s", file);
    return run(what, timeout_ms, restore_fn, of_connection(conn, file, xml),
               err);
}
