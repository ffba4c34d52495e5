// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/device/nbd-connection.h"

#include "nbd/base/cleanup.h"
#include "nbd/device/nbd-private.h"
#include "nbd/base/units.h"

#include <errno.h>
#include <inttypes.h>
#include <libnbd.h>

#define ATTEMPTS 5u

const struct bm_facts *bm_link_facts(const struct bm_link *link)
{
    return &link->facts;
}

const struct bm_dial *bm_link_dial(const struct bm_link *link)
{
    return link->how;
}

int bm_link_write_error(const struct bm_link *link)
{
    return link->write_error;
}

int bm_link_new(const struct bm_dial *how, int sock, struct bm_link **out,
                struct bm_error *err)
{
    BM_FREE struct bm_link *link = calloc(1, sizeof *link);
    int rc;

    if (!link) {
        (void)close(sock);
        return bm_fail_errno(err, ENOMEM, "cannot connect to %s", how->name);
    }
    link->how = how;
    rc = bm_dial_socket(how, sock, &link->nbd, err);
    if (rc == 0)
        *out = BM_STEAL(link);
    return rc;
}

int bm_link_wait_ready(struct bm_link *link, int64_t deadline,
                       struct bm_error *err)
{
    return bm_dial_finish(link->how, link->nbd, deadline, &link->facts, err);
}

int bm_link_open(const struct bm_dial *how, int64_t deadline,
                 struct bm_link **out, struct bm_error *err)
{
    BM_FREE struct bm_link *link = calloc(1, sizeof *link);
    int rc;

    if (!link)
        return bm_fail_errno(err, ENOMEM, "cannot connect to %s", how->name);
    link->how = how;
    rc = bm_dial(how, deadline, &link->nbd, &link->facts, err);
    if (rc == 0)
        *out = BM_STEAL(link);
    return rc;
}

/* For good. Without the handle libnbd cannot touch any buffer. */
static int give_up(struct bm_link *link, int rc)
{
    nbd_close(BM_STEAL(link->nbd));
    bm_pieces_end(link, ENOTCONN);
    return rc;
}

void bm_link_free(struct bm_link *link)
{
    if (!link)
        return;
    bm_dial_hang_up(BM_STEAL(link->nbd));
    bm_pieces_end(link, ENOTCONN);
    free(link);
}

static int is_alive(const struct bm_link *link, struct bm_error *err)
{
    if (link->nbd)
        return 0;
    return bm_fail(err, ENOTCONN, "the connection to %s was lost before",
                   link->how->name);
}

static int changed(const struct bm_link *link, struct bm_error *err)
{
    return bm_fail(err, EIO, "lost the connection to %s", link->how->name);
}

/* Another disk under the old name would be read as if it were the old one. */
static int check_same(const struct bm_link *link, const struct bm_facts *now,
                      struct bm_error *err)
{
    const struct bm_facts *then = &link->facts;

    if (now->size != then->size) {
        changed(link, err);
        bm_cause(err,
                 "it changed its size from %" PRIu64 " to %" PRIu64 " bytes",
                 then->size, now->size);
        return -EIO;
    }
    if (now->minimum <= then->minimum && now->maximum >= then->maximum &&
        now->has_zero == then->has_zero && now->has_dirty == then->has_dirty)
        return 0;
    changed(link, err);
    return bm_cause(err, "it came back as another kind of server"), -EIO;
}

/* Longer and longer, two thirds of connect_ms in all: a server that restarts
 * refuses connections at once. */
static int pause_before(const struct bm_link *link)
{
    static const int per_mille[ATTEMPTS] = {0, 10, 50, 200, 400};

    return (int)((int64_t)link->how->connect_ms * per_mille[link->attempts] /
                 1000);
}

/* Given how it was lost, which err says, as it does what failed since. */
static int connect_again(struct bm_link *link, int rc, struct bm_error *err)
{
    struct bm_error why = BM_ERROR_INIT;
    struct bm_facts facts = {.size = 0};
    char line[sizeof err->cause];
    int64_t end;

    if (link->attempts == 0)
        link->lost_since = bm_now_ms();
    end = link->lost_since + link->how->connect_ms;
    while (rc != 0 && link->attempts < ATTEMPTS && bm_now_ms() < end) {
        bm_sleep_ms(pause_before(link));
        link->attempts++;
        rc = bm_dial(link->how, end, &link->nbd, &facts, &why);
    }
    if (rc == 0)
        return check_same(link, &facts, err);
    if (why.code) {
        bm_error_line(&why, line, sizeof line);
        bm_fail(err, -rc, "lost the connection to %s", link->how->name);
        bm_cause(err, "%s", line);
    }
    return rc;
}

/* Given how it was lost, which err says. */
static int recover(struct bm_link *link, int rc, struct bm_error *err)
{
    nbd_close(BM_STEAL(link->nbd));
    if (link->how->again)
        rc = connect_again(link, rc, err);
    if (rc != 0)
        return give_up(link, rc);
    link->lost = false;
    link->last_progress = bm_now_ms();
    bm_pieces_replay(link);
    return 0;
}

/* After libnbd had its turn, which failed with rc and err, or did not: ends
 * what is done, sends what waits. */
static int settle(struct bm_link *link, int rc, struct bm_error *err)
{
    link->lost = rc != 0;
    do {
        bm_pieces_harvest(link);
        if (link->lost && rc == 0) {
            rc = bm_fail(err, ENOTCONN, "lost the connection to %s",
                         link->how->name);
            bm_cause(err, "the server hung up");
        }
        if (link->lost)
            rc = recover(link, rc, err);
        if (rc == 0)
            bm_pieces_feed(link);
    } while (rc == 0 && bm_pieces_back(link));
    return rc;
}

/* The clock of progress starts with the first request after a pause. */
static void touch(struct bm_link *link)
{
    if (bm_pieces_idle(link))
        link->last_progress = bm_now_ms();
}

int bm_link_submit(struct bm_link *link, struct bm_request *req,
                   struct bm_error *err)
{
    int rc = is_alive(link, err);

    if (rc != 0) {
        bm_pieces_done(link, req, ENOTCONN);
        return rc;
    }
    touch(link);
    bm_pieces_add(link, req);
    return settle(link, 0, err);
}

/* A lane that waits for nothing is not polled: that its server has gone
 * matters when it is asked again. */
int64_t bm_link_poll(struct bm_link *link, struct pollfd *pfd)
{
    *pfd = (struct pollfd){.fd = -1};
    if (!link->nbd || bm_pieces_idle(link))
        return INT64_MAX;
    *pfd = bm_dial_pollfd(link->nbd);
    return link->last_progress + link->how->progress_ms;
}

int bm_link_notify(struct bm_link *link, short revents, bool late,
                   struct bm_error *err)
{
    int rc = is_alive(link, err);

    if (rc != 0)
        return rc;
    if (revents) {
        link->last_progress = bm_now_ms();
        rc = bm_dial_notify(link->how, link->nbd, revents, err);
    } else if (late && !bm_pieces_idle(link)) {
        rc = bm_fail(err, ETIMEDOUT, "%s gave nothing for %d ms",
                     link->how->name, link->how->progress_ms);
    }
    return settle(link, rc, err);
}

static int turn(struct bm_link *link, struct bm_error *err)
{
    struct pollfd pfd;
    int64_t deadline = bm_link_poll(link, &pfd);
    int rc = bm_dial_poll(&pfd, deadline);

    if (rc != 0 && rc != -ETIMEDOUT) {
        bm_fail_errno(err, -rc, "cannot poll %s", link->how->name);
        return settle(link, rc, err);
    }
    return bm_link_notify(link, rc == 0 ? pfd.revents : 0, rc != 0, err);
}

int bm_link_wait(struct bm_link *link, const struct bm_request *req,
                 struct bm_error *err)
{
    int rc = 0;

    while (rc == 0 && !req->done)
        rc = turn(link, err);
    return rc;
}

/* One command, waited for; it goes again with all else that is in flight. */
static int run(struct bm_link *link, struct bm_piece command, const char *what,
               struct bm_error *err)
{
    struct bm_request req = {.done = false};
    struct bm_piece *piece = &link->pieces[BM_PIECE_SYNC];
    int rc = is_alive(link, err);

    if (rc != 0)
        return rc;
    touch(link);
    *piece = command;
    piece->req = &req;
    bm_pieces_send(link, piece);
    rc = settle(link, 0, err);
    if (rc == 0)
        rc = bm_link_wait(link, &req, err);
    if (rc == 0 && req.error)
        rc = bm_fail_errno(err, req.error, "cannot %s %s", what,
                           link->how->name);
    return rc;
}

int bm_link_flush(struct bm_link *link, struct bm_error *err)
{
    struct bm_piece flush = {.command = BM_COMMAND_FLUSH};

    if (!link->facts.can_flush)
        return is_alive(link, err);
    return run(link, flush, "flush", err);
}

int bm_link_status(struct bm_link *link, uint64_t offset, uint64_t len,
                   bm_link_on_status callback, void *opaque,
                   struct bm_error *err)
{
    struct bm_piece status = {.command = BM_COMMAND_STATUS,
                              .offset = offset,
                              .len = len,
                              .status = callback,
                              .opaque = opaque};

    return run(link, status, "get the extents of", err);
}
