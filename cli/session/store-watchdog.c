// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "cli/session/store-watchdog.h"

#include "blockmig/datastore/liveness.h"
#include "cli/session/detach.h"
#include "cli/output/output.h"
#include "nbd/base/cleanup.h"
#include "nbd/image/qemu-img.h"
#include "nbd/base/paths.h"
#include "nbd/base/units.h"
#include "snapshot/libvirt/timed-call.h"
#include "snapshot/domain/domain.h"

#include <errno.h>
#include <stdbool.h>

static struct {
    const struct cli *cli;
    pthread_t thread;
    bool begun, left; /* left: its thread was left behind, asking */
    bool again;       /* there was one, so something may have been changed */
    pthread_cond_t changed;
    pthread_mutex_t lock; /* guards the rest */
    bool ended, asking, claimed;
} watch = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* One round through all images. */
struct round {
    struct bm_paths seen;
    struct bm_error err; /* what does not answer */
    bool silent;
};

/* --- asking --- */

static bool has_ended(void)
{
    BM_LOCK(&watch.lock);
    return watch.ended;
}

static int ask(void *opaque, unsigned depth, const char *layer,
               struct bm_error *unused)
{
    struct round *round = opaque;

    (void)depth, (void)unused;
    if (has_ended() || bm_paths_have(&round->seen, layer))
        return 1;
    round->silent = bm_store_is_alive_early(layer, &round->err) == -ETIMEDOUT;
    return round->silent || bm_paths_add(&round->seen, layer) != 0;
}

/* The XML of a domain that is off names the uppermost layer, its header the
 * next. What cannot be read is for the command to tell. */
static int ask_use(void *opaque, const struct bm_image_use *use)
{
    struct round *round = opaque;
    struct bm_error ignored = BM_ERROR_INIT;

    (void)bm_image_walk(use->path, use->plain ? "raw" : NULL, ask, round,
                        &ignored);
    return round->silent || has_ended() ? -ETIMEDOUT : 0;
}

static void ask_all(struct bm_connection **conn, struct round *round)
{
    struct bm_error ignored = BM_ERROR_INIT;
    const char *uri = watch.cli->options.connect;

    if (*conn || bm_connection_open(uri, conn, &ignored) == 0)
        (void)bm_domain_file_users(*conn, ask_use, round, &ignored);
    bm_paths_clear(&round->seen);
}

/* --- watching --- */

static void set_status(struct bm_error *err)
{
    /* of what `doctor --fix` has found some may be mended */
    bool changed = watch.again || watch.cli->options.fix;

    bm_status(err, changed ? BM_EXIT_FAILED : BM_EXIT_REFUSED);
    if (!watch.claimed)
        return;
    bm_status(err, BM_EXIT_HELD);
    bm_remedy(err, "see what became of its store, and then run 'job resume' "
                   "of what 'blockmig job list' shows");
}

static void say(struct bm_error *err)
{
    set_status(err);
    if (watch.cli->report >= 0)
        cli_detach_failed(watch.cli, err);
    cli_output_error(err, watch.cli->command);
    _exit(cli_output_end((int)err->status));
}

/* Whether another round is to be made, after that long. */
static bool wait_for(int ms)
{
    struct timespec until = bm_deadline(ms);

    BM_LOCK(&watch.lock);
    while (!watch.ended)
        if (pthread_cond_timedwait(&watch.changed, &watch.lock, &until) ==
            ETIMEDOUT)
            break;
    watch.asking = !watch.ended;
    return watch.asking;
}

static void round_ended(struct round *round)
{
    BM_LOCK(&watch.lock);
    watch.asking = false;
    if (round->silent && !watch.ended)
        say(&round->err);
}

/* The longer the command takes the rarer, as there may be thousands. */
static void *watch_thread(void *opaque)
{
    struct bm_connection *conn = NULL;

    (void)opaque;
    for (int ms = bm_call_ms() / 2; wait_for(ms); ms += ms / 2) {
        struct round round = {.err = BM_ERROR_INIT};

        ask_all(&conn, &round);
        round_ended(&round);
    }
    bm_connection_close(conn);
    return NULL;
}

static int begin(const struct cli *cli, struct bm_error *err)
{
    int rc;

    watch.cli = cli;
    watch.ended = watch.claimed = false;
    bm_cond_init(&watch.changed);
    rc = pthread_create(&watch.thread, NULL, watch_thread, NULL);
    watch.begun = !rc;
    return rc ? bm_fail_errno(err, rc, "cannot start a thread") : 0;
}

int cli_watchdog_connect(const struct cli *cli, struct bm_connection **out,
                         struct bm_error *err)
{
    int rc = bm_connection_open(cli->options.connect, out, err);

    return rc || watch.begun || watch.left ? rc : begin(cli, err);
}

/* Whether the thread is asking, which may take its time. */
static bool tell_end(void)
{
    BM_LOCK(&watch.lock);
    watch.ended = true;
    pthread_cond_signal(&watch.changed);
    return watch.asking;
}

void cli_watchdog_claimed(void)
{
    BM_LOCK(&watch.lock);
    watch.claimed = true;
}

bool cli_watchdog_end(void)
{
    if (!watch.begun)
        return watch.left;
    watch.begun = false;
    watch.again = true;
    watch.left = tell_end();
    if (watch.left)
        pthread_detach(watch.thread);
    else
        pthread_join(watch.thread, NULL);
    return watch.left;
}
