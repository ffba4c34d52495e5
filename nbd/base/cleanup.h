// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The one cleanup habit: a local that owns something says so with
 * __attribute__((cleanup)). A function uses these or nothing, never a goto
 * ladder beside them. Ownership is handed on with BM_STEAL.
 */
#ifndef BM_NBD_BASE_CLEANUP_H
#define BM_NBD_BASE_CLEANUP_H

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void bm_cleanup_free(void *p)
{
    free(*(void **)p);
}

/* Closing at scope exit is for descriptors whose close cannot lose data. */
static inline void bm_cleanup_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
}

static inline void bm_cleanup_file(FILE **f)
{
    if (*f)
        (void)fclose(*f);
}

static inline void bm_cleanup_unlock(pthread_mutex_t **m)
{
    if (*m)
        pthread_mutex_unlock(*m);
}

#define BM_FREE __attribute__((cleanup(bm_cleanup_free)))
#define BM_CLOSE __attribute__((cleanup(bm_cleanup_fd)))
#define BM_FCLOSE __attribute__((cleanup(bm_cleanup_file)))

/* Locks m until the end of the scope; one a scope. */
#define BM_LOCK(m)                                                             \
    __attribute__((cleanup(bm_cleanup_unlock))) pthread_mutex_t *bm_locked_ =  \
        (m);                                                                   \
    pthread_mutex_lock(bm_locked_)

/* Hands a pointer on: the local no longer owns it. */
#define BM_STEAL(p)                                                            \
    ({                                                                         \
        __auto_type stolen_ = (p);                                             \
        (p) = NULL;                                                            \
        stolen_;                                                               \
    })

#endif
