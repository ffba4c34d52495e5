// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/thread/timed-call.h"

#include "nbd/base/units.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

struct call {
    pthread_mutex_t lock; /* guards done, abandoned */
    pthread_cond_t ended;
    bool done, abandoned;
    void (*fn)(void *);
    void *arg;
    void (*arg_free)(void *);
};

static atomic_uint abandoned_calls;

unsigned bm_calls_abandoned(void)
{
    return atomic_load(&abandoned_calls);
}

static void call_free(struct call *call)
{
    pthread_cond_destroy(&call->ended);
    pthread_mutex_destroy(&call->lock);
    free(call);
}

static void *call_thread(void *opaque)
{
    struct call *call = opaque;
    bool abandoned;

    call->fn(call->arg);
    pthread_mutex_lock(&call->lock);
    call->done = true;
    abandoned = call->abandoned;
    pthread_cond_signal(&call->ended);
    pthread_mutex_unlock(&call->lock);
    if (abandoned) {
        call->arg_free(call->arg);
        call_free(call);
        atomic_fetch_sub(&abandoned_calls, 1);
    }
    return NULL;
}

/* Waits for the end; false: abandoned, the thread owns the call now. */
static bool call_wait(struct call *call, int timeout_ms)
{
    struct timespec until = bm_deadline(timeout_ms);
    bool done;

    pthread_mutex_lock(&call->lock);
    while (!call->done)
        if (pthread_cond_timedwait(&call->ended, &call->lock, &until) ==
            ETIMEDOUT)
            break;
    done = call->done;
    if (!done) {
        call->abandoned = true;
        atomic_fetch_add(&abandoned_calls, 1);
    }
    pthread_mutex_unlock(&call->lock);
    return done;
}

static int start_thread(struct call *call)
{
    pthread_t thread;
    pthread_attr_t attr;
    int rc;

    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    rc = pthread_create(&thread, &attr, call_thread, call);
    pthread_attr_destroy(&attr);
    return -rc;
}

int bm_timed_call(int timeout_ms, void (*fn)(void *arg), void *arg,
                  void (*arg_free)(void *arg))
{
    struct call *call = calloc(1, sizeof *call);
    int rc;

    if (!call)
        return -ENOMEM;
    call->fn = fn;
    call->arg = arg;
    call->arg_free = arg_free;
    pthread_mutex_init(&call->lock, NULL);
    bm_cond_init(&call->ended);
    rc = start_thread(call);
    if (!rc && !call_wait(call, timeout_ms))
        return -ETIMEDOUT;
    call_free(call);
    return rc;
}
