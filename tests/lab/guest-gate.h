// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The gate through which each worker of the guest goes before each operation:
 * closed, the guest has nothing in flight. Part of guest.c.
 */
#ifndef LAB_GUEST_GATE_H
#define LAB_GUEST_GATE_H

#include <pthread.h>

/* All by gate.lock. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned closed; /* by that many */
    unsigned inside;
} gate = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0};

static void gate_pass(void)
{
    pthread_mutex_lock(&gate.lock);
    gate.inside--;
    pthread_cond_broadcast(&gate.changed);
    while (gate.closed > 0)
        pthread_cond_wait(&gate.changed, &gate.lock);
    gate.inside++;
    pthread_mutex_unlock(&gate.lock);
}

/* Returns when no worker has a request in flight. */
static void guest_park(void)
{
    pthread_mutex_lock(&gate.lock);
    gate.closed++;
    while (gate.inside > 0)
        pthread_cond_wait(&gate.changed, &gate.lock);
    pthread_mutex_unlock(&gate.lock);
}

static void guest_go(void)
{
    pthread_mutex_lock(&gate.lock);
    gate.closed -= gate.closed > 0;
    pthread_cond_broadcast(&gate.changed);
    pthread_mutex_unlock(&gate.lock);
}

#endif
