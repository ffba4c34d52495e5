// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * An open block device: a file or host device, an NBD export, or an image of
 * any QEMU format behind a qemu-nbd of our own. One table of operations.
 *
 * Requests are asynchronous: submit, then wait. A device has queues (for NBD:
 * connections); each queue belongs to one thread at a time. Offsets and
 * lengths are bytes, and need no alignment: a device that needs one (O_DIRECT,
 * NBD block sizes) sees to it itself where a request is unaligned, whatever
 * other queues write beside it. Only the tail of an NBD export that is no whole
 * number of its own blocks cannot be written.
 *
 * Requests in flight must not overlap where one of them writes.
 *
 * A request that was submitted is done in the end, in one way or another:
 * after a wait that failed all requests of that queue are done, with an error,
 * and their buffers are the caller's again.
 */
#ifndef BM_NBD_DEVICE_DEVICE_H
#define BM_NBD_DEVICE_DEVICE_H

#include "nbd/base/error.h"
#include "nbd/image/qemu-img.h"

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define BM_QUEUES_MAX 64u
#define BM_REQUEST_MAX (UINT32_C(32) << 20) /* bytes of a read or write */
#define BM_BUFFER_ALIGN 4096u /* of buffers that O_DIRECT takes as they are */
/* No sign of life for so long: the peer hangs. */
#define BM_PROGRESS_MS 30000
#define BM_CONNECT_MS 10000

enum bm_op {
    BM_READ,
    BM_WRITE,
    BM_ZERO, /* any length; may punch a hole */
};

struct bm_request {
    enum bm_op op;
    void *buf;
    uint64_t len, offset;
    bool done;
    int error;     /* positive errno once done; 0: all of it was done */
    void *private; /* the device's */
};

/* One run of bytes that are alike. */
struct bm_extent {
    uint64_t offset, length;
    bool zero; /* in the map asked for: reads as zeroes; or: clean */
};

/* What extents can tell. */
enum bm_map {
    BM_MAP_ZERO,  /* base:allocation: what reads as zeroes */
    BM_MAP_DIRTY, /* the map that was named when the device was opened */
};

struct bm_device;

struct bm_device_ops {
    /* All may fail the request itself (done, error) instead. Negative errno:
     * the queue is of no use any more, or the request, done, was refused. */
    int (*submit)(struct bm_device *dev, unsigned queue, struct bm_request *req,
                  struct bm_error *err);
    /* What to poll for (fd -1: nothing), by when (bm_now_ms; INT64_MAX: no
     * deadline); NULL: every request is done when submit returns. */
    int64_t (*poll)(struct bm_device *dev, unsigned queue, struct pollfd *pfd);
    /* After poll(2); revents 0 with `late`: the deadline has passed. Brings a
     * lost connection back if it can, and sends again what was in flight. */
    int (*notify)(struct bm_device *dev, unsigned queue, short revents,
                  bool late, struct bm_error *err);
    int (*extents)(struct bm_device *dev, unsigned queue, enum bm_map map,
                   uint64_t offset, uint64_t len, struct bm_extent *runs,
                   size_t max, size_t *n, struct bm_error *err);
    /* Called for each queue in turn; where one speaks for all the others do
     * nothing. */
    int (*flush)(struct bm_device *dev, unsigned queue, struct bm_error *err);
    int (*intact)(const struct bm_device *dev, struct bm_error *err);
    /* NULL: it has no page cache of this host. */
    int (*drop_cache)(struct bm_device *dev, struct bm_error *err);
    void (*close)(struct bm_device *dev); /* frees dev and its name too */
};

/* The facts; the first member of each kind of device. Read only. */
struct bm_device {
    const struct bm_device_ops *ops;
    char *name;    /* for messages; owned */
    uint64_t size; /* bytes, exactly: a unaligned raw file keeps its tail */
    unsigned queues;
    uint32_t chunk;  /* the request size that suits it, a power of two */
    uint32_t sector; /* the smallest piece that can be read on its own */
    bool writable;
    bool zeroed;        /* new: all of it reads as zeroes */
    bool local;         /* a file or device of this host, not by NBD */
    bool can_zero;      /* BM_ZERO is cheaper than writing zeroes */
    const char *medium; /* where reads come from: "medium" (O_DIRECT),
                         * "server" (NBD), "cache" */
};

/* How to open. All zero: read-only, format probed, one queue, page cache. */
struct bm_open {
    const char *format; /* "raw", "qcow2", ...; NULL: probed. A probed image
                         * that names another file is refused */
    const char *dirty;  /* a persistent bitmap of the image, or a meta context
                         * with a colon in it, to be asked as BM_MAP_DIRTY */
    unsigned depth;     /* not 0: instead of a bitmap, BM_MAP_DIRTY is what the
                         * uppermost so many layers of the image hold */
    unsigned queues;    /* wanted, 0: one; a device may have fewer */
    bool write;         /* for one writer: QEMU's locks are taken */
    bool keep;          /* what is written is to stay in the page cache */
    bool zeroed;        /* the caller has just made it: it reads as zeroes */
    bool direct;        /* O_DIRECT: an error where that cannot be had */
    bool share;         /* take no lock: someone may write it meanwhile */
    const char *tls_certificates; /* a folder, as of libnbd; NULL: none */
    const char *tls_psk;          /* a file of pre-shared keys */
    int connect_ms, progress_ms;  /* 0: as above */
};

/*
 * Opens a path or an NBD URI (nbd://, nbds://, nbd+unix://, nbds+unix://; an
 * nbds one is TLS or nothing). A raw file or device is read by ourselves, any
 * other format by a qemu-nbd of our own that dies with us. An image someone
 * has open for writing (or at all, with `write`): -EBUSY.
 */
int bm_device_open(const char *where, const struct bm_open *how,
                   struct bm_device **out, struct bm_error *err);

/*
 * Opens a frozen chain (see bm_image_spec) read-only, with the formats given.
 * O_DIRECT where every layer takes it. The layers are not locked unless
 * qemu-nbd -r does so (qcow2): hold bm_frozen_lock too.
 */
int bm_device_open_image(const struct bm_image_layer *layers, size_t n,
                         unsigned queues, struct bm_device **out,
                         struct bm_error *err);

/* The same, with BM_MAP_DIRTY telling what the uppermost `depth` layers of two
 * or more hold. */
int bm_device_open_chain(const struct bm_image_layer *layers, size_t n,
                         unsigned queues, unsigned depth,
                         struct bm_device **out, struct bm_error *err);

/* As bm_device_open_chain, but it takes no lock, nor minds one: who reads so
 * must look whether the files were changed meanwhile. */
int bm_device_open_shared(const struct bm_image_layer *layers, size_t n,
                          unsigned queues, unsigned depth,
                          struct bm_device **out, struct bm_error *err);

bool bm_is_nbd_uri(const char *where);

/* As many queues as there are cores to serve them: what to ask for. */
unsigned bm_device_lanes(void);

/* Drains, disconnects, ends its server. Flush first: a close that fails tells
 * nobody. Accepts NULL. */
void bm_device_close(struct bm_device *dev);

/* -EINVAL beyond the end, -EROFS. len 0 is done at once. A request that could
 * not be submitted is done, with that error. */
int bm_device_submit(struct bm_device *dev, unsigned queue,
                     struct bm_request *req, struct bm_error *err);

/* One queue of one device. */
struct bm_queue {
    struct bm_device *dev;
    unsigned number;
};
/*
 * Drives both queues (either may have dev NULL) until req, of one of them, is
 * done. 0 also when req has failed: see req->error. Negative errno: a queue was
 * lost for good (-ETIMEDOUT: it hung), all its requests are done with ENOTCONN.
 */
int bm_device_wait(const struct bm_queue queues[2],
                   const struct bm_request *req, struct bm_error *err);

/* Whether a read's errno says that a sector cannot be read, unlike of a device
 * that is gone. */
bool bm_is_bad_sector(int error);

/* Sets err for a request that failed: what was tried, where, strerror. */
int bm_request_failed(const struct bm_device *dev, const struct bm_request *req,
                      struct bm_error *err);

/* Exactly len bytes, or an error; several requests in flight. */
int bm_device_pread(struct bm_device *dev, unsigned queue, void *buf,
                    size_t len, uint64_t offset, struct bm_error *err);
int bm_device_pwrite(struct bm_device *dev, unsigned queue, const void *buf,
                     size_t len, uint64_t offset, struct bm_error *err);

int bm_device_zero(struct bm_device *dev, unsigned queue, uint64_t len,
                   uint64_t offset, struct bm_error *err);

/*
 * The runs of [offset, offset+len), ascending, contiguous, clamped to the
 * range, at most max; neighbours differ. Fewer than max: the range is covered,
 * else ask again from the end of the last one. Always some progress. A device
 * that cannot tell says: one run, not zero (not clean).
 */
int bm_device_extents(struct bm_device *dev, unsigned queue, enum bm_map map,
                      uint64_t offset, uint64_t len, struct bm_extent *runs,
                      size_t max, size_t *n, struct bm_error *err);

/* What was written on any queue is durable. Call when no request is in
 * flight; it flushes every queue where one does not speak for all. Once data
 * may have been lost, every flush fails with the error that told of it. */
int bm_device_flush(struct bm_device *dev, struct bm_error *err);

/*
 * A file that is cut off while it is read gives short reads (an error), but
 * QEMU reads zeroes there. So when all was read ask whether each file is at
 * least as long as when it was opened: 0, or -EIO.
 */
int bm_device_intact(const struct bm_device *dev, struct bm_error *err);

/* Forgets what the page cache holds of it, so that reads come from the
 * medium. 0, or -ENOTSUP: not a local file. */
int bm_device_drop_cache(struct bm_device *dev, struct bm_error *err);

/* Of the qemu-nbd of ours, for tests; 0: none. */
pid_t bm_device_server_pid(const struct bm_device *dev);

#endif
