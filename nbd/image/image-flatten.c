// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/base/cleanup.h"
#include "nbd/image/qemu-img-private.h"
#include "nbd/image/qemu-img.h"
#include "nbd/base/fsync.h"

#include <errno.h>
#include <string.h>

struct meter {
    bm_image_progress progress;
    void *opaque;
    uint64_t done; /* hundredths of a percent */
};

/* "    (12.34/100%)", as qemu-img -p prints it. */
static int on_tick(void *opaque, const char *line)
{
    struct meter *meter = opaque;
    const char *open_paren = line ? strchr(line, '(') : NULL;

    if (open_paren && strstr(open_paren, "/100%")) {
        double percent = strtod(open_paren + 1, NULL);

        if (percent >= 0 && percent <= 100)
            meter->done = (uint64_t)(percent * 100);
    }
    return meter->progress ? meter->progress(meter->opaque, meter->done, 10000)
                           : 0;
}

int bm_image_flatten(const char *path, bm_image_progress progress, void *opaque,
                     struct bm_error *err)
{
    BM_FREE char *name = bm_image_plain_name(path);
    struct meter meter = {progress, opaque, 0};
    const char *argv[] = {"qemu-img", "rebase", "-p", "-f", "qcow2",
                          "-b",       "",       name, NULL};
    int rc;

    if (!name)
        return bm_fail_errno(err, ENOMEM, "cannot flatten %s", path);
    rc = bm_image_refine(
        bm_child_run(argv, 0, on_tick, &meter, NULL, NULL, err), err);
    return rc == 0 ? bm_fsync_file(path, err) : rc;
}
