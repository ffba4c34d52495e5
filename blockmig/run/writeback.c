// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/run/writeback.h"

#include "nbd/base/cleanup.h"
#include "nbd/base/units.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>

/* Of 5 ms a flush took no less than of 20, and a pull of 32 MiB/s stalled. */
#define EVERY_MS 20
#define STOP_MS 1000

struct list_context {
    size_t n;
    char *paths[];
};

struct bm_writeback {
    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake;
    struct list_context *next; /* owned; NULL: as before */
    bool over;                 /* asked to end */
    bool ended;                /* the thread touches nothing of this any more */
};

static void list_free(struct list_context *list)
{
    for (size_t i = 0; list && i < list->n; i++)
        free(list->paths[i]);
    free(list);
}

/* Opened anew each time, so that a file that is removed goes at once. */
static void send(const char *path)
{
    BM_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd >= 0)
        (void)sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

/* false: it is over. */
static bool take(struct bm_writeback *writeback, struct list_context **list)
{
    struct timespec until = bm_deadline(EVERY_MS);

    BM_LOCK(&writeback->lock);
    while (!writeback->over &&
           pthread_cond_timedwait(&writeback->wake, &writeback->lock, &until) ==
               0)
        ;
    if (writeback->next) {
        list_free(*list);
        *list = BM_STEAL(writeback->next);
    }
    return !writeback->over;
}

static void *send_dirty(void *opaque)
{
    struct bm_writeback *writeback = opaque;
    struct list_context *list = NULL;

    while (take(writeback, &list))
        for (size_t i = 0; list && i < list->n; i++)
            send(list->paths[i]);
    list_free(list);
    BM_LOCK(&writeback->lock);
    writeback->ended = true;
    pthread_cond_signal(&writeback->wake);
    return NULL;
}

static void writeback_free(struct bm_writeback *writeback)
{
    list_free(writeback->next);
    pthread_cond_destroy(&writeback->wake);
    pthread_mutex_destroy(&writeback->lock);
    free(writeback);
}

struct bm_writeback *bm_writeback_start(void)
{
    struct bm_writeback *writeback = calloc(1, sizeof *writeback);

    if (!writeback)
        return NULL;
    pthread_mutex_init(&writeback->lock, NULL);
    bm_cond_init(&writeback->wake);
    if (pthread_create(&writeback->thread, NULL, send_dirty, writeback) == 0)
        return writeback;
    writeback_free(writeback);
    return NULL;
}

void bm_writeback_follow(struct bm_writeback *writeback, char *paths[],
                         size_t n)
{
    struct list_context *list = calloc(1, sizeof *list + n * sizeof *paths);

    for (size_t i = 0; i < n; i++)
        if (list)
            list->paths[list->n++] = paths[i];
        else
            free(paths[i]);
    if (!list)
        return;
    BM_LOCK(&writeback->lock);
    list_free(writeback->next);
    writeback->next = list;
}

void bm_writeback_stop(struct bm_writeback *writeback)
{
    struct timespec until = bm_deadline(STOP_MS);
    bool ended;

    if (!writeback)
        return;
    pthread_mutex_lock(&writeback->lock);
    writeback->over = true;
    pthread_cond_signal(&writeback->wake);
    while (!writeback->ended &&
           pthread_cond_timedwait(&writeback->wake, &writeback->lock, &until) ==
               0)
        ;
    ended = writeback->ended;
    pthread_mutex_unlock(&writeback->lock);
    if (!ended) {
        pthread_detach(writeback->thread); /* it keeps what it has */
        return;
    }
    pthread_join(writeback->thread, NULL);
    writeback_free(writeback);
}
