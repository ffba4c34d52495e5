// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/run/wait-space.h"

#include "blockmig/run/space-private.h"
#include "nbd/base/units.h"

#include <errno.h>

#define WAIT_MS 20000
#define WAIT_LOOK_MS 200

int bm_space_wait(struct bm_run *run, struct bm_error *err)
{
    int64_t until = bm_now_ms() + WAIT_MS;
    struct bm_error why = BM_ERROR_INIT;

    if (bm_space_check(run->job, BM_SOME_SPACE, false, &why) != -ENOSPC)
        return -ENOENT;
    *err = why;
    (void)bm_run_note(run, &why, "%s; waiting for some", why.cause);
    while (bm_now_ms() < until) {
        bm_sleep_ms(WAIT_LOOK_MS);
        bm_run_progress(run, 0, 0);
        if (bm_space_check(run->job, BM_SOME_SPACE, false, &why) != -ENOSPC)
            return 0;
    }
    return bm_space_held(-ENOSPC, err);
}
