// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/thread/background.h"

#include "nbd/base/cleanup.h"
#include "nbd/base/units.h"

#include <errno.h>
#include <linux/ioprio.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOWEST 19
#define LOOK_MS 200

struct bm_background_task {
    struct bm_background how;
    pthread_t thread;
    pthread_mutex_t lock; /* guards done */
    pthread_cond_t ended;
    bool done;
    int rc;
};

static atomic_bool left;

bool bm_background_left(void)
{
    return atomic_load(&left);
}

/* The priorities only help; a host that forbids them still gets its work
 * done. */
static void *run(void *opaque)
{
    struct bm_background_task *task = opaque;
    int rc;

    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), LOWEST);
    if (task->how.idle)
        (void)sched_setscheduler(0, SCHED_IDLE, &(struct sched_param){0});
    (void)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0,
                  IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, IOPRIO_NR_LEVELS - 1));
    rc = task->how.work(task->how.opaque);
    BM_LOCK(&task->lock);
    task->rc = rc;
    task->done = true;
    pthread_cond_signal(&task->ended);
    return NULL;
}

static struct bm_background_task *task_new(const struct bm_background *how)
{
    struct bm_background_task *task = calloc(1, sizeof *task);

    if (!task)
        return NULL;
    task->how = *how;
    pthread_mutex_init(&task->lock, NULL);
    bm_cond_init(&task->ended);
    return task;
}

static void task_free(struct bm_background_task *task)
{
    pthread_cond_destroy(&task->ended);
    pthread_mutex_destroy(&task->lock);
    free(task);
}

static bool ended(struct bm_background_task *task)
{
    struct timespec until = bm_deadline(LOOK_MS);

    BM_LOCK(&task->lock);
    while (!task->done)
        if (pthread_cond_timedwait(&task->ended, &task->lock, &until) ==
            ETIMEDOUT)
            break;
    return task->done;
}

int bm_background_start(const struct bm_background *how,
                        struct bm_background_task **out, struct bm_error *err)
{
    struct bm_background_task *task = task_new(how);
    int rc = task ? pthread_create(&task->thread, NULL, run, task) : ENOMEM;

    *out = rc ? NULL : task;
    if (!rc)
        return 0;
    if (task)
        task_free(task);
    return bm_fail_errno(err, rc, "cannot start a thread");
}

/* A thread that is left behind keeps its task, and is not cancelled: its own
 * threads stand on its stack. */
int bm_background_finish(struct bm_background_task *task, struct bm_error *err)
{
    int rc = 0;

    while (!ended(task)) {
        rc = task->how.look(task->how.opaque, err);
        if (rc) {
            atomic_store(&left, true);
            pthread_detach(task->thread);
            return rc;
        }
    }
    pthread_join(task->thread, NULL);
    rc = task->rc;
    task_free(task);
    return rc;
}

int bm_background_run(const struct bm_background *how, struct bm_error *err)
{
    struct bm_background_task *task;
    int rc = bm_background_start(how, &task, err);

    return rc ? rc : bm_background_finish(task, err);
}
