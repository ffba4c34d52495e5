// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What qemu-img said of files that have not changed since: with a chain of 32
 * a merge looks at each a dozen times, and each qemu-img takes 5 ms.
 */
#include "nbd/cleanup.h"
#include "nbd/image-parts.h"
#include "nbd/units.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

/* A chain has 200 layers at most; the oldest note makes room. */
#define NOTES 256

/* A file system's time goes in ticks of 10 ms or less; where it has no parts of
 * a second, in those of up to two (FAT). */
#define TICK_NS INT64_C(20000000)
#define COARSE_NS INT64_C(2000000000)

/* A store that does not answer by then is left to qemu-img and its limit. */
#define LOOK_MS 3000

struct note {
    char *path, *format, *text; /* format may be NULL */
    struct stat st;
};

static struct note notes[NOTES];
static size_t next;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards both */

static int64_t ns(const struct timespec *t)
{
    return t->tv_sec * INT64_C(1000000000) + t->tv_nsec;
}

static bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino &&
           a->st_size == b->st_size && a->st_blocks == b->st_blocks &&
           ns(&a->st_mtim) == ns(&b->st_mtim) &&
           ns(&a->st_ctim) == ns(&b->st_ctim);
}

static struct note *find(const char *path, const char *format)
{
    for (size_t i = 0; i < NOTES; i++)
        if (same_text(notes[i].path, path) &&
            same_text(notes[i].format, format))
            return &notes[i];
    return NULL;
}

/* --- a look at the file --- */

/* In a thread, which is left behind when its store hangs; then it frees this.
 */
struct look {
    pthread_mutex_t lock; /* guards done and left */
    pthread_cond_t ended;
    char *path;
    struct stat st;
    bool found, done, left;
};

static void look_free(struct look *look)
{
    pthread_cond_destroy(&look->ended);
    pthread_mutex_destroy(&look->lock);
    free(look->path);
    free(look);
}

/* Opened, as over NFS only that asks the server what the file is now. */
static void *look_at(void *opaque)
{
    struct look *look = opaque;
    int fd = open(look->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    bool left;

    look->found = fd >= 0 && fstat(fd, &look->st) == 0;
    bm_cleanup_fd(&fd);
    pthread_mutex_lock(&look->lock);
    look->done = true;
    left = look->left;
    pthread_cond_signal(&look->ended);
    pthread_mutex_unlock(&look->lock);
    if (left)
        look_free(look);
    return NULL;
}

static bool wait_for(struct look *look)
{
    struct timespec until = bm_deadline(LOOK_MS);

    BM_LOCK(&look->lock);
    while (!look->done)
        if (pthread_cond_timedwait(&look->ended, &look->lock, &until) ==
            ETIMEDOUT)
            break;
    look->left = !look->done;
    return look->done;
}

static struct look *look_new(const char *path)
{
    struct look *look = calloc(1, sizeof *look);

    if (!look)
        return NULL;
    pthread_mutex_init(&look->lock, NULL);
    bm_cond_init(&look->ended);
    look->path = strdup(path);
    if (look->path)
        return look;
    look_free(look);
    return NULL;
}

static bool look_for(const char *path, struct stat *st)
{
    struct look *look = look_new(path);
    pthread_t thread;
    bool found;

    if (!look || pthread_create(&thread, NULL, look_at, look) != 0) {
        if (look)
            look_free(look);
        return false;
    }
    if (!wait_for(look)) {
        pthread_detach(thread);
        return false;
    }
    pthread_join(thread, NULL);
    *st = look->st;
    found = look->found;
    look_free(look);
    return found;
}

bool bm_image_settled(const char *path, struct stat *st)
{
    struct timespec now;
    int64_t age;

    if (!look_for(path, st) || !S_ISREG(st->st_mode) ||
        clock_gettime(CLOCK_REALTIME, &now) != 0)
        return false;
    age = ns(&now) - ns(&st->st_ctim);
    return age > (st->st_ctim.tv_nsec ? TICK_NS : COARSE_NS);
}

char *bm_image_recall(const char *path, const char *format,
                      const struct stat *st)
{
    const struct note *note;

    BM_LOCK(&lock);
    note = find(path, format);
    return note && same_file(&note->st, st) ? strdup(note->text) : NULL;
}

void bm_image_remember(const char *path, const char *format,
                       const struct stat *st, const char *text)
{
    struct note *note, fresh = {strdup(path), format ? strdup(format) : NULL,
                                strdup(text), *st};
    bool whole = fresh.path && fresh.text && (fresh.format || !format);

    BM_LOCK(&lock);
    note = find(path, format);
    if (!note && whole)
        note = &notes[next++ % NOTES];
    if (note && whole) {
        struct note old = *note;

        *note = fresh;
        fresh = old;
    }
    free(fresh.path);
    free(fresh.format);
    free(fresh.text);
}
