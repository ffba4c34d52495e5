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

const struct bm_nbd_facts *bm_nbd_facts_of(const struct bm_nbd *conn)
{
    return &conn->facts;
}

const struct bm_nbd_target *bm_nbd_target_of(const struct bm_nbd *conn)
{
    return conn->how;
}

int bm_nbd_write_error(const struct bm_nbd *conn)
{
    return conn->write_error;
}

int bm_nbd_new(const struct bm_nbd_target *how, int sock, struct bm_nbd **out,
               struct bm_error *err)
{
    BM_FREE struct bm_nbd *conn = calloc(1, sizeof *conn);
    int rc;

    if (!conn) {
        (void)close(sock);
        return bm_fail_errno(err, ENOMEM, "cannot connect to %s", how->name);
    }
    conn->how = how;
    rc = bm_nbd_connect_socket(how, sock, &conn->nbd, err);
    if (rc == 0)
        *out = BM_STEAL(conn);
    return rc;
}

int bm_nbd_wait_ready(struct bm_nbd *conn, int64_t deadline,
                      struct bm_error *err)
{
    return bm_nbd_connect_finish(conn->how, conn->nbd, deadline, &conn->facts,
                                 err);
}

int bm_nbd_open(const struct bm_nbd_target *how, int64_t deadline,
                struct bm_nbd **out, struct bm_error *err)
{
    BM_FREE struct bm_nbd *conn = calloc(1, sizeof *conn);
    int rc;

    if (!conn)
        return bm_fail_errno(err, ENOMEM, "cannot connect to %s", how->name);
    conn->how = how;
    rc = bm_nbd_connect(how, deadline, &conn->nbd, &conn->facts, err);
    if (rc == 0)
        *out = BM_STEAL(conn);
    return rc;
}

/* For good. Without the handle libnbd cannot touch any buffer. */
static int give_up(struct bm_nbd *conn, int rc)
{
    nbd_close(BM_STEAL(conn->nbd));
    bm_pieces_end(conn, ENOTCONN);
    return rc;
}

void bm_nbd_free(struct bm_nbd *conn)
{
    if (!conn)
        return;
    bm_nbd_connect_hang_up(BM_STEAL(conn->nbd));
    bm_pieces_end(conn, ENOTCONN);
    free(conn);
}

static int is_alive(const struct bm_nbd *conn, struct bm_error *err)
{
    if (conn->nbd)
        return 0;
    return bm_fail(err, ENOTCONN, "the connection to %s was lost before",
                   conn->how->name);
}

static int changed(const struct bm_nbd *conn, struct bm_error *err)
{
    return bm_fail(err, EIO, "lost the connection to %s", conn->how->name);
}

/* Another disk under the old name would be read as if it were the old one. */
static int check_same(const struct bm_nbd *conn, const struct bm_nbd_facts *now,
                      struct bm_error *err)
{
    const struct bm_nbd_facts *then = &conn->facts;

    if (now->size != then->size) {
        changed(conn, err);
        bm_cause(err,
                 "it changed its size from %" PRIu64 " to %" PRIu64 " bytes",
                 then->size, now->size);
        return -EIO;
    }
    if (now->minimum <= then->minimum && now->maximum >= then->maximum &&
        now->has_zero == then->has_zero && now->has_dirty == then->has_dirty)
        return 0;
    changed(conn, err);
    return bm_cause(err, "it came back as another kind of server"), -EIO;
}

/* Longer and longer, two thirds of connect_ms in all: a server that restarts
 * refuses connections at once. */
static int pause_before(const struct bm_nbd *conn)
{
    static const int per_mille[ATTEMPTS] = {0, 10, 50, 200, 400};

    return (int)((int64_t)conn->how->connect_ms * per_mille[conn->attempts] /
                 1000);
}

/* Given how it was lost, which err says, as it does what failed since. */
static int connect_again(struct bm_nbd *conn, int rc, struct bm_error *err)
{
    struct bm_error why = BM_ERROR_INIT;
    struct bm_nbd_facts facts = {.size = 0};
    char line[sizeof err->cause];
    int64_t end;

    if (conn->attempts == 0)
        conn->lost_since = bm_now_ms();
    end = conn->lost_since + conn->how->connect_ms;
    while (rc != 0 && conn->attempts < ATTEMPTS && bm_now_ms() < end) {
        bm_sleep_ms(pause_before(conn));
        conn->attempts++;
        rc = bm_nbd_connect(conn->how, end, &conn->nbd, &facts, &why);
    }
    if (rc == 0)
        return check_same(conn, &facts, err);
    if (why.code) {
        bm_error_line(&why, line, sizeof line);
        bm_fail(err, -rc, "lost the connection to %s", conn->how->name);
        bm_cause(err, "%s", line);
    }
    return rc;
}

/* Given how it was lost, which err says. */
static int recover(struct bm_nbd *conn, int rc, struct bm_error *err)
{
    nbd_close(BM_STEAL(conn->nbd));
    if (conn->how->again)
        rc = connect_again(conn, rc, err);
    if (rc != 0)
        return give_up(conn, rc);
    conn->lost = false;
    conn->last_progress = bm_now_ms();
    bm_pieces_replay(conn);
    return 0;
}

/* After libnbd had its turn, which failed with rc and err, or did not: ends
 * what is done, sends what waits. */
static int settle(struct bm_nbd *conn, int rc, struct bm_error *err)
{
    conn->lost = rc != 0;
    do {
        bm_pieces_harvest(conn);
        if (conn->lost && rc == 0) {
            rc = bm_fail(err, ENOTCONN, "lost the connection to %s",
                         conn->how->name);
            bm_cause(err, "the server hung up");
        }
        if (conn->lost)
            rc = recover(conn, rc, err);
        if (rc == 0)
            bm_pieces_feed(conn);
    } while (rc == 0 && bm_pieces_back(conn));
    return rc;
}

/* The clock of progress starts with the first request after a pause. */
static void touch(struct bm_nbd *conn)
{
    if (bm_pieces_idle(conn))
        conn->last_progress = bm_now_ms();
}

int bm_nbd_submit(struct bm_nbd *conn, struct bm_request *req,
                  struct bm_error *err)
{
    int rc = is_alive(conn, err);

    if (rc != 0) {
        bm_pieces_done(conn, req, ENOTCONN);
        return rc;
    }
    touch(conn);
    bm_pieces_add(conn, req);
    return settle(conn, 0, err);
}

/* A queue that waits for nothing is not polled: that its server has gone
 * matters when it is asked again. */
int64_t bm_nbd_poll(struct bm_nbd *conn, struct pollfd *pfd)
{
    *pfd = (struct pollfd){.fd = -1};
    if (!conn->nbd || bm_pieces_idle(conn))
        return INT64_MAX;
    *pfd = bm_nbd_connect_pollfd(conn->nbd);
    return conn->last_progress + conn->how->progress_ms;
}

int bm_nbd_notify(struct bm_nbd *conn, short revents, bool late,
                  struct bm_error *err)
{
    int rc = is_alive(conn, err);

    if (rc != 0)
        return rc;
    if (revents) {
        conn->last_progress = bm_now_ms();
        rc = bm_nbd_connect_notify(conn->how, conn->nbd, revents, err);
    } else if (late && !bm_pieces_idle(conn)) {
        rc = bm_fail(err, ETIMEDOUT, "%s gave nothing for %d ms",
                     conn->how->name, conn->how->progress_ms);
    }
    return settle(conn, rc, err);
}

static int turn(struct bm_nbd *conn, struct bm_error *err)
{
    struct pollfd pfd;
    int64_t deadline = bm_nbd_poll(conn, &pfd);
    int rc = bm_nbd_connect_poll(&pfd, deadline);

    if (rc != 0 && rc != -ETIMEDOUT) {
        bm_fail_errno(err, -rc, "cannot poll %s", conn->how->name);
        return settle(conn, rc, err);
    }
    return bm_nbd_notify(conn, rc == 0 ? pfd.revents : 0, rc != 0, err);
}

int bm_nbd_wait(struct bm_nbd *conn, const struct bm_request *req,
                struct bm_error *err)
{
    int rc = 0;

    while (rc == 0 && !req->done)
        rc = turn(conn, err);
    return rc;
}

/* One command, waited for; it goes again with all else that is in flight. */
static int run(struct bm_nbd *conn, struct bm_piece command, const char *what,
               struct bm_error *err)
{
    struct bm_request req = {.done = false};
    struct bm_piece *piece = &conn->pieces[BM_PIECE_SYNC];
    int rc = is_alive(conn, err);

    if (rc != 0)
        return rc;
    touch(conn);
    *piece = command;
    piece->req = &req;
    bm_pieces_send(conn, piece);
    rc = settle(conn, 0, err);
    if (rc == 0)
        rc = bm_nbd_wait(conn, &req, err);
    if (rc == 0 && req.error)
        rc = bm_fail_errno(err, req.error, "cannot %s %s", what,
                           conn->how->name);
    return rc;
}

int bm_nbd_flush(struct bm_nbd *conn, struct bm_error *err)
{
    struct bm_piece flush = {.command = BM_COMMAND_FLUSH};

    if (!conn->facts.can_flush)
        return is_alive(conn, err);
    return run(conn, flush, "flush", err);
}

int bm_nbd_status(struct bm_nbd *conn, uint64_t offset, uint64_t len,
                  bm_nbd_on_status callback, void *opaque, struct bm_error *err)
{
    struct bm_piece status = {.command = BM_COMMAND_STATUS,
                              .offset = offset,
                              .len = len,
                              .status = callback,
                              .opaque = opaque};

    return run(conn, status, "get the extents of", err);
}
