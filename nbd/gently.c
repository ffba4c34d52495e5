// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/gently.h"

#include <linux/ioprio.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOWEST 19

struct task {
    int (*work)(void *opaque);
    void *opaque;
    int rc;
};

/* Both only help; a host that forbids them still gets its work done. */
static void *run(void *opaque)
{
    struct task *task = opaque;

    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), LOWEST);
    (void)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0,
                  IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, IOPRIO_NR_LEVELS - 1));
    task->rc = task->work(task->opaque);
    return NULL;
}

int bm_gently(int (*work)(void *opaque), void *opaque, struct bm_error *err)
{
    struct task task = {.work = work, .opaque = opaque};
    pthread_t thread;
    int rc = pthread_create(&thread, NULL, run, &task);

    if (rc != 0)
        return bm_fail_errno(err, rc, "cannot start a thread");
    pthread_join(thread, NULL);
    return task.rc;
}
