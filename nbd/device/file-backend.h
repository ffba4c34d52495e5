// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A file or host device, as its own files (device-file*.c) see it: opening in
 * file-backend.c, then -read.c, -write.c and -zero.c.
 *
 * Threads: each queue belongs to one; what they share says how.
 */
#ifndef BM_NBD_DEVICE_FILE_BACKEND_H
#define BM_NBD_DEVICE_FILE_BACKEND_H

#include "nbd/device/device.h"

#include <pthread.h>
#include <stdatomic.h>

#define BM_FILE_WINDOWS 8u /* of a queue that are on their way to the disk */

struct bm_file_lane {
    char *bounce; /* aligned; NULL until a unaligned request needs it */
    /* Written since write-out was last begun: so many bytes, within this. */
    uint64_t dirty, start, end;
    /* Windows that write-out was begun for, the oldest at `first`. */
    struct bm_file_window {
        uint64_t start, end;
    } sent[BM_FILE_WINDOWS];
    unsigned first, n_sent;
};

struct bm_file {
    struct bm_device dev;
    int fd;       /* through the page cache; has the locks */
    int direct;   /* with O_DIRECT, or -1 */
    bool keep;    /* what was written stays in the page cache */
    bool block;   /* a block device */
    size_t align; /* of what `direct`, or zeroing a block device, takes; a power
                   * of two */
    uint64_t cut; /* size rounded down to align */
    atomic_uint unable;     /* a bit for each way to zero that is not there */
    atomic_int write_error; /* errno: what was written may be lost */
    pthread_mutex_t unaligned; /* while less than an aligned block is changed */
    struct bm_file_lane queues[];
};

#define BM_FILE_BOUNCE ((size_t)1 << 20) /* a multiple of align */

/* The queue's bounce buffer, or NULL: out of memory. */
char *bm_file_bounce(const struct bm_file *file, struct bm_file_lane *queue);

/* pread until all is there, whatever signals do. At the end of the file it is
 * what there is. A piece that is no multiple of align is the last one: after
 * it no aligned offset is left to go on from. Negative errno. */
ssize_t bm_file_pread(int fd, char *buf, size_t len, uint64_t offset,
                      size_t align);

/* All return a positive errno or 0, as a request has it. */
int bm_file_read(const struct bm_file *file, struct bm_file_lane *queue,
                 char *buf, size_t len, uint64_t offset);
int bm_file_write(struct bm_file *file, struct bm_file_lane *queue,
                  const char *buf, size_t len, uint64_t offset);
int bm_file_zero_out(struct bm_file *file, struct bm_file_lane *queue,
                     uint64_t len, uint64_t offset);
int bm_file_sync(struct bm_file *file);

/* As bm_device_extents of BM_MAP_ZERO, by SEEK_DATA and SEEK_HOLE. */
int bm_file_runs(int fd, uint64_t offset, uint64_t len, struct bm_extent *runs,
                 size_t max, size_t *n);

#endif
