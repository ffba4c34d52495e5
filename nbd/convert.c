// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/cleanup.h"
#include "nbd/image.h"
#include "nbd/sync.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

struct meter {
    bm_image_progress progress;
    void *opaque;
    uint64_t done, total;
};

struct target {
    const char *path, *format;
    bool block;
};

/* "    (12.34/100%)", as qemu-img -p prints it. */
static int on_tick(void *opaque, const char *line)
{
    struct meter *meter = opaque;
    const char *open_paren = line ? strchr(line, '(') : NULL;

    if (open_paren && strstr(open_paren, "/100%")) {
        double percent = strtod(open_paren + 1, NULL);

        if (percent >= 0 && percent <= 100)
            meter->done = (uint64_t)((double)meter->total * (percent / 100));
    }
    return meter->progress
               ? meter->progress(meter->opaque, meter->done, meter->total)
               : 0;
}

/* Makes a file so that O_DIRECT can be tried on it; and a guest's disk is
 * nobody else's to read, where qemu-img would make it 0644. */
static int make_target(const struct target *to, struct bm_error *err)
{
    int flags = O_RDWR | O_CLOEXEC | (to->block ? 0 : O_CREAT);
    BM_CLOSE int fd = open(to->path, flags, 0600);

    if (fd < 0)
        return bm_fail_errno(err, errno, "cannot open %s", to->path);
    return 0;
}

static int run_convert(const char *source, const struct target *to, bool direct,
                       uint64_t bandwidth, struct meter *meter,
                       struct bm_error *err)
{
    char rate[32];
    const char *argv[20] = {"qemu-img", "convert", "-p"};
    size_t n = 3;
    bool raw = strcmp(to->format, "raw") == 0;

    argv[n++] = "-t";
    argv[n++] = direct ? "none" : "writeback";
    argv[n++] = "-T";
    argv[n++] = direct ? "none" : "writeback";
    /* Out of order helps raw and would scatter the clusters of a qcow2. */
    if (raw)
        argv[n++] = "-W";
    /* A device cannot be created; it is written all over, zeroes too. */
    if (raw && to->block)
        argv[n++] = "-n";
    if (bandwidth) {
        snprintf(rate, sizeof rate, "%" PRIu64, bandwidth);
        argv[n++] = "-r";
        argv[n++] = rate;
    }
    argv[n++] = "-O";
    argv[n++] = to->format;
    argv[n++] = source;
    argv[n] = to->path;
    return bm_child_run(argv, 0, on_tick, meter, NULL, NULL, err);
}

static int convert(const struct bm_image_layer *layers, size_t n,
                   const struct target *to, bool direct, uint64_t bandwidth,
                   struct meter *meter, struct bm_error *err)
{
    BM_FREE char *source = bm_image_spec(layers, n, direct);
    struct bm_error scratch = BM_ERROR_INIT;
    struct bm_error *e = err ? err : &scratch;
    int rc;

    if (!source)
        return bm_fail_errno(err, ENOMEM, "cannot copy to %s", to->path);
    rc = run_convert(source, to, direct, bandwidth, meter, e);
    if (rc != -EIO)
        return rc;
    e->code = bm_qemu_errno(e->cause);
    snprintf(e->what, sizeof e->what, "cannot copy %s to %s", layers[0].path,
             to->path);
    return -e->code;
}

static bool target_direct(const struct target *to)
{
    struct bm_image_layer layer = {
        .path = to->path, .format = to->format, .block = to->block};

    return bm_image_direct(&layer, 1);
}

static int make_durable(const struct target *to, struct bm_error *err)
{
    int rc = bm_sync_file(to->path, err);

    return rc != 0 || to->block ? rc : bm_sync_folder_of(to->path, err);
}

int bm_image_convert(const struct bm_image_layer *layers, size_t n,
                     const char *path, const char *format, bool target_block,
                     uint64_t bandwidth, bm_image_progress progress,
                     void *opaque, struct bm_error *err)
{
    struct target to = {path, format, target_block};
    struct meter meter = {progress, opaque, 0, 0};
    struct bm_image_info info;
    bool direct;
    int rc = bm_image_info(layers[0].path, layers[0].format, &info, err);

    if (rc != 0)
        return rc;
    meter.total = info.virtual_size;
    bm_image_info_clear(&info);
    rc = make_target(&to, err);
    if (rc != 0)
        return rc;
    direct = bm_image_direct(layers, n) && target_direct(&to);
    rc = convert(layers, n, &to, direct, bandwidth, &meter, err);
    if (rc == -EINVAL && direct) /* open took O_DIRECT, reads did not */
        rc = convert(layers, n, &to, false, bandwidth, &meter, err);
    return rc == 0 ? make_durable(&to, err) : rc;
}
