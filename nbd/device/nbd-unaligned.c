// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/device/nbd-unaligned.h"

#include "nbd/base/cleanup.h"
#include "nbd/device/nbd-private.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

bool bm_is_unaligned(const struct bm_nbd_facts *facts,
                     const struct bm_request *req)
{
    uint32_t block = facts->minimum;

    return req->op != BM_READ && block > 1 &&
           (req->offset % block || req->len % block);
}

/* No whole block is there to be changed, and what a server makes of less is
 * nowhere said: QEMU does not even serve such a disk for writing. */
static int check_tail(const struct bm_nbd *conn, const struct bm_request *req,
                      struct bm_error *err)
{
    const struct bm_nbd_facts *facts = bm_nbd_facts_of(conn);
    uint32_t tail = (uint32_t)(facts->size % facts->minimum);

    if (req->offset + req->len <= facts->size - tail)
        return 0;
    bm_fail(err, EINVAL, "cannot write the last %" PRIu32 " bytes of %s", tail,
            bm_nbd_target_of(conn)->name);
    bm_cause(err,
             "its size is %" PRIu64 " bytes, but it takes only whole blocks "
             "of %" PRIu32,
             facts->size, facts->minimum);
    bm_remedy(err, "let the server offer whole blocks");
    return -EINVAL;
}

/* Submits and waits; what the request came to is in its error. */
static int run(struct bm_nbd *conn, struct bm_request *req,
               struct bm_error *err)
{
    int rc = bm_nbd_submit(conn, req, err);

    return rc ? rc : bm_nbd_wait(conn, req, err);
}

/* Part of one block, for which there is room in `block`. */
static int change(struct bm_nbd *conn, pthread_mutex_t *mutex, char *block,
                  struct bm_request *part, struct bm_error *err)
{
    BM_LOCK(mutex);
    uint32_t size = bm_nbd_facts_of(conn)->minimum;
    size_t skip = part->offset % size;
    struct bm_request whole = {.op = BM_READ,
                               .buf = block,
                               .len = size,
                               .offset = part->offset - skip};
    int rc = run(conn, &whole, err);

    if (rc == 0 && whole.error == 0) {
        if (part->op == BM_ZERO)
            memset(block + skip, 0, part->len);
        else /* a write has data: NOLINTNEXTLINE(*NonNullParamChecker) */
            memcpy(block + skip, part->buf, part->len);
        whole.op = BM_WRITE;
        rc = run(conn, &whole, err);
    }
    part->error = whole.error;
    return rc;
}

/* What comes next of [offset, end): up to where a block begins, then all whole
 * blocks, then the rest. */
static uint64_t next_len(uint32_t block, uint64_t offset, uint64_t end)
{
    uint64_t left = end - offset, skip = offset % block;

    if (skip)
        return left < block - skip ? left : block - skip;
    return left < block ? left : left - left % block;
}

static int write_parts(struct bm_nbd *conn, pthread_mutex_t *mutex, char *block,
                       struct bm_request *req, struct bm_error *err)
{
    uint32_t size = bm_nbd_facts_of(conn)->minimum;
    uint64_t done = 0;
    int rc = 0;

    while (rc == 0 && req->error == 0 && done < req->len) {
        struct bm_request part = {.op = req->op, .offset = req->offset + done};

        part.len = next_len(size, part.offset, req->offset + req->len);
        if (req->op == BM_WRITE)
            part.buf = (char *)req->buf + done;
        rc = part.offset % size || part.len % size
                 ? change(conn, mutex, block, &part, err)
                 : run(conn, &part, err);
        req->error = part.error;
        done += part.len;
    }
    return rc;
}

int bm_unaligned_write(struct bm_nbd *conn, pthread_mutex_t *mutex,
                       struct bm_request *req, struct bm_error *err)
{
    BM_FREE char *block = malloc(bm_nbd_facts_of(conn)->minimum);
    int rc = check_tail(conn, req, err);

    if (rc == 0 && !block)
        req->error = ENOMEM;
    else if (rc == 0)
        rc = write_parts(conn, mutex, block, req, err);
    else
        req->error = EINVAL;
    req->done = true;
    return rc;
}
