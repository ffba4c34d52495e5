// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * From a plan to the end of its job: what every command does that makes one.
 */
#ifndef CLI_SESSION_LAUNCH_H
#define CLI_SESSION_LAUNCH_H

#include "blockmig/preflight/preflight.h"
#include "cli/options/invocation.h"
#include "cli/session/session.h"

/* What a command that makes a job does; opaque: its own. */
struct cli_task {
    /* s->conn is there: plans s->job, and touches nothing. */
    int (*look)(void *opaque, const struct cli *cli, struct bm_error *err);
    /* Fills the list for s->job. */
    int (*preflight)(void *opaque, struct bm_preflight *out,
                     struct bm_error *err);
    char *(*text)(const struct bm_job *job); /* the plan */
};

/* Connects, looks, and launches. */
int cli_task_run(struct cli *cli, struct cli_session *s,
                 const struct cli_task *task, void *opaque,
                 struct bm_error *err);
/* Connects, looks, and prints preflight and plan. BM_EXIT_DONE, or what was
 * refused. */
int cli_task_dry_run(struct cli *cli, struct cli_session *s,
                     const struct cli_task *task, void *opaque,
                     struct bm_error *err);
/* Only the part of it that prints, s->job being planned. */
int cli_task_print(const struct cli *cli, const struct cli_session *s,
                   const struct cli_task *task, void *opaque,
                   struct bm_error *err);
/* s->job is planned and nothing was touched: claims it, checks it, listens, and
 * runs it to a resting state; tells the result. Until it runs the job leaves no
 * trace. The exit status, or a negative errno. */
int cli_launch(struct cli *cli, struct cli_session *s,
               const struct cli_task *task, void *opaque, struct bm_error *err);
/* Only the part of it that claims the planned job, for s->jobs; from then on a
 * signal is a wish to cancel. */
int cli_claim(struct cli_session *s, struct bm_error *err);
/* Only the part of it that checks a job which is claimed. */
int cli_check(struct cli_session *s, const struct cli_task *task, void *opaque,
              struct bm_error *err);

/* Prints preflight and plan (freed) as a dry run does. */
int cli_print_dry(const struct cli *cli, const struct bm_preflight *preflight,
                  char *plan, struct bm_error *err);

/* The URI as the user named it, into the job: one with a socket in it is known
 * to us only, as libvirt tells the daemon's own name. */
int cli_keep_uri(struct cli_session *s, struct bm_error *err);

/* --overlay-dir, absolute, as libvirt's daemon does not share our working
 * directory; NULL: not given. */
int cli_overlay_dir(const struct cli_options *options, char **out,
                    struct bm_error *err);

#endif
