// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Servers that end with their test, however that ends: no .fini follows a crash
 * or a time-out, and what made a daemon of itself (qemu-nbd --fork, nbdkit
 * without -f) would stay for ever. A child by bm_spawn is killed by the kernel.
 */
#ifndef TESTS_UNIT_SERVER_FIXTURE_H
#define TESTS_UNIT_SERVER_FIXTURE_H

#include "nbd/exec/spawn.h"
#include "tests/unit/fixture.h"

/* Runs a server by a shell command, until the condition, another, holds. The
 * shell is what gets killed: it becomes the server by exec, or its servers are
 * told to exit with their parent. */
static inline void server_start(struct bm_process *server, const char *command,
                                const char *condition)
{
    const char *argv[] = {"sh", "-c", command, NULL};
    struct bm_spawn how = {
        .argv = argv, .out = -1, .errs = STDERR_FILENO, .listener = -1};
    struct bm_error why = BM_ERROR_INIT;

    ok(bm_spawn_program(&how, server, &why), why);
    sh("for i in $(seq 500); do %s && exit 0; sleep 0.01; done; exit 1",
       condition);
}

/* One that listens at $PWD/NAME. A socket that is bound may not listen yet. */
static inline void server_listen(struct bm_process *server, const char *command,
                                 const char *name)
{
    char condition[256];

    snprintf(condition, sizeof condition,
             "grep -q \"00010000 .* $PWD/%s\\$\" /proc/net/unix", name);
    server_start(server, command, condition);
}

/* A qemu-nbd with these options, that has the image open. */
static inline void server_hold(struct bm_process *holder, const char *options,
                               const char *image)
{
    char command[512];

    /* it listens before it opens the image, and writes its pid after */
    sh("rm -f pid");
    snprintf(command, sizeof command,
             "exec qemu-nbd -t -k $PWD/sock --pid-file=$PWD/pid %s %s", options,
             image);
    server_start(holder, command, "test -s pid");
}

/* Ends one that is still at work, at once; what it had open is closed then. */
static inline void server_end(struct bm_process *server)
{
    cr_assert(server->pid > 0 && !bm_process_ended(server, 0),
              "the server ended by itself");
    bm_process_end(server, 0);
}

#endif
