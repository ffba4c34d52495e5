// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/libvirt/connection.h"

#include "nbd/base/cleanup.h"
#include "nbd/base/units.h"
#include "nbd/thread/timed-call.h"
#include "snapshot/libvirt/timed-call.h"
#include "snapshot/libvirt/event-log.h"

#include <errno.h>
#include <libvirt/virterror.h>
#include <string.h>

#define OPEN_MS 15000
#define N_CALLBACKS 4

/* What a callback is given: which of our connections it speaks for. */
struct source {
    struct bm_event_log *log;
    unsigned generation;
};

struct bm_connection {
    virConnectPtr handle;
    char *wanted; /* as given; NULL: libvirt's default */
    char *uri;
    struct bm_event_log *log;
    int callbacks[N_CALLBACKS]; /* ids; -1: not registered */
    struct source *closer;      /* the close callback's; ours to free, since
                                 * not every driver calls its freecb */
};

/* --- the event thread, one a process --- */

static void *event_thread(void *opaque)
{
    (void)opaque;
    for (;;)
        if (virEventRunDefaultImpl() < 0)
            bm_sleep_ms(10);
    return NULL;
}

/* The loop sleeps until libvirt has something: this wakes it now and then,
 * so that handles added by other threads are seen at once in any version. */
static void tick(int timer, void *opaque)
{
    (void)timer, (void)opaque;
}

static void be_quiet(void *opaque, virErrorPtr error)
{
    (void)opaque, (void)error;
}

static int events_ready;

static void start_events(void)
{
    pthread_t thread;

    virSetErrorFunc(NULL, be_quiet);
    if (virInitialize() < 0 || virEventRegisterDefaultImpl() < 0)
        return;
    if (virEventAddTimeout(500, tick, NULL, NULL) < 0)
        return;
    if (pthread_create(&thread, NULL, event_thread, NULL))
        return;
    pthread_detach(thread);
    events_ready = 1;
}

static struct source *source_new(struct bm_event_log *log, unsigned generation)
{
    struct source *source = calloc(1, sizeof *source);

    if (!source)
        return NULL;
    source->log = log;
    source->generation = generation;
    bm_event_log_ref(log);
    return source;
}

static void source_free(void *opaque)
{
    struct source *source = opaque;

    bm_event_log_unref(source->log);
    free(source);
}

/* --- libvirt's callbacks: copy and go, never block --- */

static void add_event(void *opaque, virDomainPtr dom, enum bm_event_kind kind,
                      const char *disk, int type, int code, int detail)
{
    struct source *source = opaque;
    struct bm_event event = {
        .kind = kind, .type = type, .code = code, .detail = detail};

    if (virDomainGetUUIDString(dom, event.uuid) < 0)
        return;
    snprintf(event.disk, sizeof event.disk, "%s", disk ? disk : "");
    bm_event_log_add(source->log, &event);
}

static int on_lifecycle(virConnectPtr conn, virDomainPtr dom, int event,
                        int detail, void *opaque)
{
    (void)conn;
    add_event(opaque, dom, BM_EVENT_LIFECYCLE, NULL, 0, event, detail);
    return 0;
}

static void on_job(virConnectPtr conn, virDomainPtr dom, const char *disk,
                   int type, int status, void *opaque)
{
    (void)conn;
    add_event(opaque, dom, BM_EVENT_JOB, disk, type, status, 0);
}

static void on_reboot(virConnectPtr conn, virDomainPtr dom, void *opaque)
{
    (void)conn;
    add_event(opaque, dom, BM_EVENT_REBOOT, NULL, 0, 0, 0);
}

static void on_io_error(virConnectPtr conn, virDomainPtr dom, const char *path,
                        const char *alias, int action, const char *reason,
                        void *opaque)
{
    (void)conn, (void)path, (void)reason;
    add_event(opaque, dom, BM_EVENT_IO_ERROR, alias, 0, action, 0);
}

static void on_close(virConnectPtr conn, int reason, void *opaque)
{
    struct source *source = opaque;
    struct bm_event event = {.kind = BM_EVENT_GONE, .code = reason};

    (void)conn;
    bm_event_log_lose(source->log, source->generation, &event);
}

/* --- opening --- */

struct open_call {
    char *uri;
    struct bm_event_log *log;
    unsigned generation;
    virConnectPtr handle;
    char *real_uri;
    int callbacks[N_CALLBACKS];
    struct source *closer;
};

/* A registration holds a reference to the handle: without this the handle
 * would outlive its close. */
static void stop_listening(virConnectPtr handle, int callbacks[],
                           struct source *closer)
{
    for (int i = 0; i < N_CALLBACKS; i++)
        if (callbacks[i] >= 0)
            virConnectDomainEventDeregisterAny(handle, callbacks[i]);
    virConnectUnregisterCloseCallback(handle, on_close);
    if (closer)
        source_free(closer);
}

static void open_free(void *arg)
{
    struct open_call *call = arg;

    if (call->handle) {
        stop_listening(call->handle, call->callbacks, call->closer);
        virConnectClose(call->handle);
    }
    bm_event_log_unref(call->log);
    free(call->uri);
    free(call->real_uri);
    free(call);
}

static int listen_to(struct open_call *call, int slot, int id,
                     virConnectDomainEventGenericCallback fn)
{
    struct source *source = source_new(call->log, call->generation);

    if (!source)
        return -1;
    call->callbacks[slot] = virConnectDomainEventRegisterAny(
        call->handle, NULL, id, fn, source, source_free);
    if (call->callbacks[slot] >= 0)
        return 0;
    source_free(source);
    /* a driver without this event (test:///) is no reason to fail */
    return virGetLastErrorCode() == VIR_ERR_NO_SUPPORT ? 0 : -1;
}

static int listen_all(struct open_call *call)
{
    call->closer = source_new(call->log, call->generation);
    if (!call->closer)
        return -1;
    if (virConnectRegisterCloseCallback(call->handle, on_close, call->closer,
                                        NULL) < 0 &&
        virGetLastErrorCode() != VIR_ERR_NO_SUPPORT)
        return -1;
    if (listen_to(call, 0, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
                  VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle)) < 0 ||
        listen_to(call, 1, VIR_DOMAIN_EVENT_ID_BLOCK_JOB_2,
                  VIR_DOMAIN_EVENT_CALLBACK(on_job)) < 0 ||
        listen_to(call, 2, VIR_DOMAIN_EVENT_ID_REBOOT,
                  VIR_DOMAIN_EVENT_CALLBACK(on_reboot)) < 0 ||
        listen_to(call, 3, VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON,
                  VIR_DOMAIN_EVENT_CALLBACK(on_io_error)) < 0)
        return -1;
    return 0;
}

static int open_fn(void *arg)
{
    struct open_call *call = arg;

    call->handle = virConnectOpen(call->uri);
    if (!call->handle)
        return -1;
    if (virConnectSetKeepAlive(call->handle, 5, 3) < 0 &&
        virGetLastErrorCode() != VIR_ERR_NO_SUPPORT)
        return -1;
    if (listen_all(call) < 0)
        return -1;
    call->real_uri = virConnectGetURI(call->handle);
    return call->real_uri ? 0 : -1;
}

static int open_handle(struct bm_connection *conn, unsigned generation,
                       struct bm_error *err)
{
    struct open_call *call = calloc(1, sizeof *call);
    char what[300];
    int rc;

    if (!call)
        return bm_fail_errno(err, ENOMEM, "cannot connect to libvirt");
    call->log = conn->log;
    bm_event_log_ref(call->log);
    call->generation = generation;
    for (int i = 0; i < N_CALLBACKS; i++)
        call->callbacks[i] = -1;
    call->uri = conn->wanted ? strdup(conn->wanted) : NULL;
    snprintf(what, sizeof what, "cannot connect to libvirt at %s",
             conn->wanted ? conn->wanted : "the default URI");
    rc = bm_call(what, OPEN_MS, open_fn, call, open_free, err);
    if (rc == -ETIMEDOUT)
        return rc;
    if (!rc) {
        conn->handle = BM_STEAL(call->handle);
        memcpy(conn->callbacks, call->callbacks, sizeof conn->callbacks);
        conn->closer = BM_STEAL(call->closer);
        free(conn->uri);
        conn->uri = BM_STEAL(call->real_uri);
    } else {
        bm_remedy(err, "see whether libvirtd runs, and give its URI with -c");
    }
    open_free(call);
    return rc;
}

int bm_connection_open(const char *uri, struct bm_connection **out,
                       struct bm_error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct bm_connection *conn;
    int rc;

    pthread_once(&once, start_events);
    if (!events_ready)
        return bm_virt_error(err, "cannot start libvirt's event loop");
    conn = calloc(1, sizeof *conn);
    if (!conn || !(conn->log = bm_event_log_new())) {
        free(conn);
        return bm_fail_errno(err, ENOMEM, "cannot connect to libvirt");
    }
    conn->wanted = uri ? strdup(uri) : NULL;
    rc = open_handle(conn, 0, err);
    if (rc) {
        bm_connection_close(conn);
        return rc;
    }
    *out = conn;
    return 0;
}

/* A close is an RPC: with a call that hangs it could hang as well, so then
 * the handle is left to the end of the process. */
static void drop_handle(struct bm_connection *conn)
{
    if (!conn->handle)
        return;
    if (!bm_calls_abandoned()) {
        stop_listening(conn->handle, conn->callbacks, conn->closer);
        virConnectClose(conn->handle);
    }
    conn->handle = NULL;
}

void bm_connection_close(struct bm_connection *conn)
{
    if (!conn)
        return;
    drop_handle(conn);
    bm_event_log_unref(conn->log);
    free(conn->wanted);
    free(conn->uri);
    free(conn);
}

virConnectPtr bm_connection_handle(struct bm_connection *conn)
{
    return conn->handle;
}

const char *bm_connection_uri(struct bm_connection *conn)
{
    return conn->uri;
}

bool bm_connection_lost(struct bm_connection *conn)
{
    /* without a handle the last try to connect again has failed */
    return !conn->handle || bm_event_log_lost(conn->log);
}

int bm_connection_reopen(struct bm_connection *conn, int timeout_ms,
                         struct bm_error *err)
{
    int64_t until = bm_now_ms() + timeout_ms;
    int rc;

    drop_handle(conn);
    for (;;) {
        rc = open_handle(conn, bm_event_log_renew(conn->log), err);
        if (!rc || bm_now_ms() >= until)
            return rc;
        bm_sleep_ms(1000);
    }
}

uint64_t bm_connection_mark(struct bm_connection *conn)
{
    return bm_event_log_mark(conn->log);
}

int bm_connection_next(struct bm_connection *conn, const char *uuid,
                       uint64_t *seq, int timeout_ms, struct bm_event *event)
{
    return bm_event_log_next(conn->log, uuid, seq, timeout_ms, event);
}
