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

struct list {
    size_t n;
    char *paths[];
};

struct bm_behind {
    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake;
    struct list *next; /* owned; NULL: as before */
    bool over;
};

static void list_free(struct list *list)
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
static bool take(struct bm_behind *behind, struct list **list)
{
    struct timespec until = bm_deadline(EVERY_MS);

    BM_LOCK(&behind->lock);
    while (!behind->over &&
           pthread_cond_timedwait(&behind->wake, &behind->lock, &until) == 0)
        ;
    if (behind->next) {
        list_free(*list);
        *list = BM_STEAL(behind->next);
    }
    return !behind->over;
}

static void *run(void *opaque)
{
    struct list *list = NULL;

    while (take(opaque, &list))
        for (size_t i = 0; list && i < list->n; i++)
            send(list->paths[i]);
    list_free(list);
    return NULL;
}

static void behind_free(struct bm_behind *behind)
{
    list_free(behind->next);
    pthread_cond_destroy(&behind->wake);
    pthread_mutex_destroy(&behind->lock);
    free(behind);
}

struct bm_behind *bm_behind_start(void)
{
    struct bm_behind *behind = calloc(1, sizeof *behind);

    if (!behind)
        return NULL;
    pthread_mutex_init(&behind->lock, NULL);
    bm_cond_init(&behind->wake);
    if (pthread_create(&behind->thread, NULL, run, behind) == 0)
        return behind;
    behind_free(behind);
    return NULL;
}

void bm_behind_follow(struct bm_behind *behind, char *paths[], size_t n)
{
    struct list *list = calloc(1, sizeof *list + n * sizeof *paths);

    for (size_t i = 0; i < n; i++)
        if (list)
            list->paths[list->n++] = paths[i];
        else
            free(paths[i]);
    if (!list)
        return;
    BM_LOCK(&behind->lock);
    list_free(behind->next);
    behind->next = list;
}

void bm_behind_stop(struct bm_behind *behind)
{
    struct timespec until = bm_deadline(STOP_MS);

    if (!behind)
        return;
    pthread_mutex_lock(&behind->lock);
    behind->over = true;
    pthread_cond_signal(&behind->wake);
    pthread_mutex_unlock(&behind->lock);
    if (pthread_clockjoin_np(behind->thread, NULL, CLOCK_MONOTONIC, &until))
        pthread_detach(behind->thread); /* it keeps what it has */
    else
        behind_free(behind);
}
