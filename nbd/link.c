// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/link.h"

#include "nbd/cleanup.h"
#include "nbd/device.h"
#include "nbd/units.h"

#include <assert.h>
#include <errno.h>
#include <libnbd.h>
#include <poll.h>
#include <string.h>

#define CONTEXT "base:allocation"
#define STATE_ZERO 2u /* NBD protocol, base:allocation, bit 1 */
/* Replies count in 32 bits; QEMU's requests must be below 2 GiB. */
#define STATUS_MAX (UINT64_C(1) << 30)
#define GOODBYE_MS 2000

struct bm_link {
    struct nbd_handle *nbd; /* NULL once it has failed */
    const char *name;
    uint64_t size;
    bool has_extents;
    int progress_ms;
    int64_t last_progress; /* bm_now_ms of the newest sign of life */
};

/* Fails with libnbd's own words. Call at once after the failed call. */
static int nbd_trouble(struct bm_error *err, const char *what, const char *name)
{
    int code = nbd_get_errno();
    const char *why = nbd_get_error();

    bm_fail(err, code ? code : EIO, "%s %s", what, name);
    bm_cause(err, "%s", why ? why : "unknown NBD error");
    return code ? -code : -EIO;
}

/* Without the handle libnbd cannot touch any buffer. */
void bm_link_abandon(struct bm_link *link)
{
    nbd_close(BM_STEAL(link->nbd));
}

int bm_link_new(int sock, const char *name, struct bm_link **out,
                struct bm_error *err)
{
    BM_CLOSE int owned = sock;
    struct bm_link *link = calloc(1, sizeof *link);

    if (!link)
        return bm_fail_errno(err, ENOMEM, "cannot connect to %s", name);
    link->name = name;
    link->progress_ms = BM_LINK_PROGRESS_MS;
    link->nbd = nbd_create();
    /* Each error is looked at, so buffers need not be zeroed before. */
    if (!link->nbd || nbd_set_pread_initialize(link->nbd, false) != 0 ||
        nbd_add_meta_context(link->nbd, CONTEXT) != 0) {
        int rc = nbd_trouble(err, "cannot connect to", name);

        bm_link_free(link);
        return rc;
    }
    owned = -1; /* libnbd closes it, also when this fails */
    if (nbd_aio_connect_socket(link->nbd, sock) != 0) {
        int rc = nbd_trouble(err, "cannot connect to", name);

        bm_link_free(link);
        return rc;
    }
    *out = link;
    return 0;
}

/* What to poll for, and nothing (-1) on a link that is no more. */
static struct pollfd poll_for(struct bm_link *link)
{
    struct pollfd pfd = {-1, 0, 0};
    unsigned direction;

    if (!link || !link->nbd)
        return pfd;
    pfd.fd = nbd_aio_get_fd(link->nbd);
    direction = nbd_aio_get_direction(link->nbd);
    if (direction & LIBNBD_AIO_DIRECTION_READ)
        pfd.events |= POLLIN;
    if (direction & LIBNBD_AIO_DIRECTION_WRITE)
        pfd.events |= POLLOUT;
    return pfd;
}

/* Lets libnbd go on after a poll. */
static int notify(struct bm_link *link, const struct pollfd *pfd,
                  struct bm_error *err)
{
    unsigned direction = nbd_aio_get_direction(link->nbd);
    int rc = 0;

    if (!pfd->revents)
        return 0;
    link->last_progress = bm_now_ms();
    if ((pfd->revents & (POLLIN | POLLHUP | POLLERR)) &&
        (direction & LIBNBD_AIO_DIRECTION_READ))
        rc = nbd_aio_notify_read(link->nbd);
    else if ((pfd->revents & (POLLOUT | POLLHUP | POLLERR)) &&
             (direction & LIBNBD_AIO_DIRECTION_WRITE))
        rc = nbd_aio_notify_write(link->nbd);
    return rc == 0 ? 0 : nbd_trouble(err, "lost the connection to", link->name);
}

static int poll_once(struct pollfd *pfds, size_t n, int64_t deadline)
{
    int64_t left = deadline - bm_now_ms();
    int rc = poll(pfds, (nfds_t)n, left > 0 ? (int)left : 0);

    if (rc < 0)
        return errno == EINTR ? 0 : -errno;
    return rc > 0 || left > 0 ? 0 : -ETIMEDOUT;
}

static int read_facts(struct bm_link *link, struct bm_error *err)
{
    int64_t size = nbd_get_size(link->nbd);

    if (size < 0)
        return nbd_trouble(err, "cannot get the size of", link->name);
    link->size = (uint64_t)size;
    link->has_extents = nbd_can_meta_context(link->nbd, CONTEXT) == 1;
    return 0;
}

int bm_link_wait_ready(struct bm_link *link, int64_t deadline_ms,
                       struct bm_error *err)
{
    while (nbd_aio_is_connecting(link->nbd) == 1) {
        struct pollfd pfd = poll_for(link);
        int rc = poll_once(&pfd, 1, deadline_ms);

        if (rc == -ETIMEDOUT)
            return bm_fail(err, ETIMEDOUT, "%s did not answer in time",
                           link->name);
        if (rc == 0)
            rc = notify(link, &pfd, err);
        if (rc != 0)
            return rc;
    }
    if (nbd_aio_is_ready(link->nbd) != 1)
        return bm_fail(err, EIO, "cannot connect to %s", link->name);
    return read_facts(link, err);
}

uint64_t bm_link_size(const struct bm_link *link)
{
    return link->size;
}

void bm_link_set_deadline(struct bm_link *link, int ms)
{
    link->progress_ms = ms;
}

/* A server that is not told goodbye may complain, nbdkit even aborts. */
static void say_goodbye(struct bm_link *link)
{
    int64_t deadline = bm_now_ms() + GOODBYE_MS;

    if (nbd_aio_is_ready(link->nbd) != 1 ||
        nbd_aio_disconnect(link->nbd, 0) != 0)
        return;
    while (nbd_aio_is_closed(link->nbd) != 1 &&
           nbd_aio_is_dead(link->nbd) != 1) {
        struct pollfd pfd = poll_for(link);

        if (poll_once(&pfd, 1, deadline) != 0 || notify(link, &pfd, NULL) != 0)
            return;
    }
}

void bm_link_free(struct bm_link *link)
{
    if (!link)
        return;
    if (link->nbd)
        say_goodbye(link);
    bm_link_abandon(link);
    free(link);
}

static int on_read(void *opaque, int *error)
{
    struct bm_read *rd = opaque;

    rd->error = *error;
    rd->done = true;
    return 1; /* retire it */
}

static int is_alive(const struct bm_link *link, struct bm_error *err)
{
    if (link->nbd)
        return 0;
    return bm_fail(err, ENOTCONN, "the connection to %s was lost before",
                   link->name);
}

/* The clock of progress starts with the first request after a pause. */
static void touch(struct bm_link *link)
{
    if (nbd_aio_in_flight(link->nbd) <= 0)
        link->last_progress = bm_now_ms();
}

int bm_link_submit(struct bm_link *link, struct bm_read *rd,
                   struct bm_error *err)
{
    nbd_completion_callback callback = {.callback = on_read, .user_data = rd};
    int rc = is_alive(link, err);

    if (rc != 0)
        return rc;
    touch(link);
    rd->done = false;
    rd->error = 0;
    if (nbd_aio_pread(link->nbd, rd->buf, rd->len, rd->offset, callback, 0) < 0)
        return nbd_trouble(err, "cannot read from", link->name);
    return 0;
}

static bool all_done(struct bm_read *const reads[], size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (reads[i] && !reads[i]->done)
            return false;
    return true;
}

/* One poll over the links with unfinished reads, at most two of them. */
static int turn(struct bm_link *const links[], struct bm_read *const reads[],
                size_t n, struct bm_error *err)
{
    struct pollfd pfds[2] = {{-1, 0, 0}, {-1, 0, 0}};
    int64_t deadline = INT64_MAX;
    struct bm_link *slow = NULL;
    int rc;

    for (size_t i = 0; i < n; i++) {
        int64_t end;

        if (!reads[i])
            continue;
        pfds[i] = poll_for(links[i]); /* others may be in flight on it */
        end = links[i]->last_progress + links[i]->progress_ms;
        if (!reads[i]->done && end < deadline) {
            deadline = end;
            slow = links[i];
        }
    }
    rc = poll_once(pfds, n, deadline);
    if (rc == -ETIMEDOUT) {
        bm_link_abandon(slow);
        return bm_fail(err, ETIMEDOUT, "%s gave nothing for %d ms", slow->name,
                       slow->progress_ms);
    }
    for (size_t i = 0; rc == 0 && i < n; i++)
        if (reads[i]) {
            rc = notify(links[i], &pfds[i], err);
            if (rc != 0)
                bm_link_abandon(links[i]);
        }
    return rc;
}

int bm_link_wait(struct bm_link *const links[], struct bm_read *const reads[],
                 size_t n, struct bm_error *err)
{
    int rc = 0;

    assert(n <= 2);
    for (size_t i = 0; rc == 0 && i < n; i++)
        if (reads[i] && !reads[i]->done)
            rc = is_alive(links[i], err);
    while (rc == 0 && !all_done(reads, n))
        rc = turn(links, reads, n, err);
    for (size_t i = 0; rc == 0 && i < n; i++)
        if (reads[i] && reads[i]->error)
            rc = bm_fail_errno(
                err, reads[i]->error, "cannot read %zu bytes at %llu of %s",
                reads[i]->len, (unsigned long long)reads[i]->offset,
                links[i]->name);
    return rc;
}

struct status {
    struct bm_read wait; /* only its done and error are used */
    uint64_t offset, end;
    struct bm_extent *runs;
    size_t max, n;
    bool full; /* runs had no room for more */
};

/* Adds a run after the others; alike neighbours become one. */
static void add_run(struct status *s, uint64_t len, bool zero)
{
    struct bm_extent *last = s->n ? &s->runs[s->n - 1] : NULL;

    if (len > s->end - s->offset)
        len = s->end - s->offset;
    if (s->full || len == 0)
        return;
    if (last && last->zero == zero)
        last->length += len;
    else if (s->n < s->max)
        s->runs[s->n++] = (struct bm_extent){s->offset, len, zero};
    else
        s->full = true;
    if (!s->full)
        s->offset += len;
}

static int on_status(void *opaque, const char *context, uint64_t offset,
                     uint32_t *entries, size_t n_entries, int *error)
{
    struct status *s = opaque;

    if (*error || strcmp(context, CONTEXT) != 0)
        return 0;
    if (offset != s->offset) {
        *error = EPROTO;
        return -1;
    }
    for (size_t i = 0; i + 1 < n_entries; i += 2)
        add_run(s, entries[i], entries[i + 1] & STATE_ZERO);
    return 0;
}

static int ask_status(struct bm_link *link, struct status *s,
                      struct bm_error *err)
{
    uint64_t before = s->offset, len = s->end - s->offset;
    struct bm_read *rd = &s->wait;
    nbd_extent_callback extent = {.callback = on_status, .user_data = s};
    nbd_completion_callback done = {.callback = on_read, .user_data = rd};
    int rc;

    touch(link);
    rd->done = false;
    rd->offset = s->offset;
    rd->len = len > STATUS_MAX ? STATUS_MAX : len;
    if (nbd_aio_block_status(link->nbd, rd->len, s->offset, extent, done, 0) <
        0)
        return nbd_trouble(err, "cannot get the extents of", link->name);
    rc = bm_link_wait(&link, &rd, 1, err);
    if (rc == 0 && s->offset == before && !s->full)
        return bm_fail(err, EPROTO, "%s gives no extents", link->name);
    return rc;
}

int bm_link_extents(struct bm_link *link, uint64_t offset, uint64_t len,
                    struct bm_extent *runs, size_t max, size_t *n,
                    struct bm_error *err)
{
    struct status s = {
        .offset = offset, .end = offset + len, .runs = runs, .max = max};
    int rc = is_alive(link, err);

    if (rc == 0 && (max == 0 || len > link->size || offset > link->size - len))
        rc = bm_fail_errno(err, EINVAL, "cannot get the extents of %s",
                           link->name);
    if (rc == 0 && !link->has_extents)
        add_run(&s, len, false);
    while (rc == 0 && s.offset < s.end && !s.full)
        rc = ask_status(link, &s, err);
    *n = s.n;
    return rc;
}
