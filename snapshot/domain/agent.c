// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/domain/agent.h"

#include "snapshot/libvirt/timed-call.h"

#include <errno.h>
#include <stdlib.h>

struct ask_context {
    virDomainPtr dom; /* a reference */
    int count;        /* the answer */
};

static void ask_free(void *arg)
{
    struct ask_context *ask = arg;

    virDomainFree(ask->dom);
    free(ask);
}

int bm_agent_ms(void)
{
    return bm_call_ms() / 2;
}

/* Without it libvirt waits for the agent for ever, and no other call to it can
 * be made. It holds for the handshake too, which libvirt tries twice: so all
 * of it takes three times as long at most. */
static int bound(virDomainPtr dom, int ms)
{
    int seconds = ms / 1000;

    return virDomainAgentSetResponseTimeout(dom, seconds ? seconds : 1, 0);
}

/* libvirt's default; what somebody else has set it to cannot be asked. */
static int unbound_fn(void *arg)
{
    return virDomainAgentSetResponseTimeout(
        ((struct ask_context *)arg)->dom,
        VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK, 0);
}

static int freeze_fn(void *arg)
{
    struct ask_context *ask = arg;

    if (bound(ask->dom, bm_agent_ms()) < 0)
        return -1;
    ask->count = virDomainFSFreeze(ask->dom, NULL, 0, 0);
    return ask->count < 0 ? -1 : 0;
}

static int thaw_fn(void *arg)
{
    struct ask_context *ask = arg;

    if (bound(ask->dom, bm_call_ms() / 4) < 0)
        return -1;
    ask->count = virDomainFSThaw(ask->dom, NULL, 0, 0);
    return ask->count < 0 ? -1 : 0;
}

/* Of all that can be asked this does least. */
static int ping_fn(void *arg)
{
    virDomainPtr dom = ((struct ask_context *)arg)->dom;
    long long seconds;
    unsigned nseconds;

    if (bound(dom, bm_call_ms() / 4) < 0)
        return -1;
    return virDomainGetTime(dom, &seconds, &nseconds, 0);
}

static int run(struct bm_domain *domain, const char *verb, int (*fn)(void *),
               int *count, struct bm_error *err)
{
    struct ask_context *ask = calloc(1, sizeof *ask);
    char what[300];
    int rc;

    snprintf(what, sizeof what, "cannot %s %s by its agent", verb,
             domain->name);
    if (!ask)
        return bm_fail_errno(err, ENOMEM, "%s", what);
    virDomainRef(domain->dom);
    ask->dom = domain->dom;
    rc = bm_call(what, 2 * bm_call_ms(), fn, ask, ask_free, err);
    if (rc == -ETIMEDOUT)
        return rc;
    if (count)
        *count = ask->count;
    ask_free(ask);
    return rc;
}

/* With a bound, which is not left behind. */
static int run_bound(struct bm_domain *domain, const char *verb,
                     int (*fn)(void *), int *count, struct bm_error *err)
{
    struct bm_error ignored = BM_ERROR_INIT;
    int rc = run(domain, verb, fn, count, err);

    if (rc != -ETIMEDOUT)
        (void)run(domain, "lift the bound on", unbound_fn, NULL, &ignored);
    return rc;
}

int bm_agent_ping(struct bm_domain *domain, struct bm_error *err)
{
    return run_bound(domain, "reach", ping_fn, NULL, err);
}

int bm_agent_freeze(struct bm_domain *domain, int *count, struct bm_error *err)
{
    return run_bound(domain, "freeze the file systems of", freeze_fn, count,
                     err);
}

int bm_agent_thaw(struct bm_domain *domain, int *count, struct bm_error *err)
{
    return run_bound(domain, "thaw the file systems of", thaw_fn, count, err);
}
