// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * job set: other limits for a job. The process that runs it takes them up by
 * itself; of a job that nobody runs they are written into the journal.
 */
#include "blockmig/control/limits.h"
#include "cli/session/control-client.h"
#include "cli/commands/commands.h"
#include "cli/session/session.h"
#include "blockmig/job/job-store-ops.h"
#include "cli/output/write.h"
#include "blockmig/report/json.h"

#include <errno.h>
#include <string.h>

/* --- what is asked for -------------------------------------------------- */

static const struct {
    const char *name;
    enum cli_option option;
    enum bm_limit part;
    const char *lift; /* a word for 0 that the option does not take, or NULL */
} parts[] = {
    {"bandwidth", CLI_BANDWIDTH, BM_LIMIT_BANDWIDTH, "none"},
    {"guest-latency", CLI_GUEST_LATENCY, BM_LIMIT_GUEST_LATENCY, NULL},
    {"switch-max", CLI_SWITCH_MAX, BM_LIMIT_SWITCH_MAX, NULL},
    {"settle", CLI_SETTLE, BM_LIMIT_SETTLE, NULL},
    {"max-pause", CLI_MAX_PAUSE, BM_LIMIT_MAX_PAUSE, NULL},
};

static int unknown(const char *word, struct bm_error *err)
{
    bm_fail(err, EINVAL, "job set '%s'", word);
    bm_cause(err, "no NAME=VALUE that can be set");
    bm_remedy(err, "NAME is bandwidth, guest-latency, switch-max, settle or "
                   "max-pause");
    return bm_status(err, BM_EXIT_USAGE), -EINVAL;
}

/* The value into the option that has the same name. */
static int take(struct cli_options *values, const char *word,
                struct bm_limits *limits, struct bm_error *err)
{
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        size_t n = strlen(parts[i].name);
        int rc = 0;

        if (strncmp(word, parts[i].name, n) != 0 || word[n] != '=')
            continue;
        limits->parts |= parts[i].part;
        if (parts[i].lift && !strcmp(word + n + 1, parts[i].lift))
            values->bandwidth = 0;
        else
            rc = cli_options_set(values, parts[i].option, word + n + 1, err);
        if (rc < 0)
            snprintf(err->what, sizeof err->what, "job set '%s'", word);
        return rc;
    }
    return unknown(word, err);
}

static int read_words(char *const *words, struct bm_limits *limits,
                      struct bm_error *err)
{
    struct cli_options values = {0};

    memset(limits, 0, sizeof *limits);
    for (; *words; words++) {
        int rc = take(&values, *words, limits, err);

        if (rc < 0)
            return rc;
    }
    limits->bandwidth = values.bandwidth;
    limits->guest_latency = values.guest_latency;
    limits->switch_max = values.switch_max;
    limits->settle_ms = values.settle;
    limits->max_pause_ms = (int)values.max_pause;
    return 0;
}

/* --- who takes it ------------------------------------------------------- */

/* Under the run lock, so that nobody resumes it with the old ones. */
static int write_locked(struct bm_job_store *jobs, const char *id,
                        const struct bm_limits *limits, struct bm_error *err)
{
    struct bm_job *job = NULL;
    char text[200], event[220];
    int rc = bm_job_store_load(jobs, id, &job, err);

    if (rc == 0 && bm_state_final(job->state))
        rc = cli_ask_ended("set", job, err);
    if (rc == 0) {
        bm_limits_job(limits, job);
        snprintf(event, sizeof event, "set to %s",
                 bm_limits_text(limits, text, sizeof text));
        rc = bm_job_store_save(jobs, job, event, err);
    }
    bm_job_free(job);
    return rc;
}

static int write_down(struct cli *cli, const struct bm_limits *limits,
                      struct bm_error *err)
{
    const char *id = cli->args[0];
    struct bm_job_store *jobs = NULL;
    int rc = cli_open_jobs(&cli->options, false, &jobs, err);
    int lock = rc == 0 ? bm_job_run_lock(jobs, id, err) : -1;

    if (rc == 0)
        rc = lock < 0 ? lock : write_locked(jobs, id, limits, err);
    if (lock >= 0)
        bm_job_run_unlock(jobs, id, lock);
    bm_job_store_close(jobs);
    return rc;
}

static void tell(const struct cli *cli, const char *id, bool running,
                 const struct bm_limits *limits)
{
    json_object *o;
    char text[200];

    cli_say("%s: %s %s%s\n", id, running ? "asked to take" : "set to",
            bm_limits_text(limits, text, sizeof text),
            running ? "" : ", for the next job resume");
    if (!cli->options.json)
        return;
    o = json_object_new_object();
    if (o) {
        bm_report_add_text(o, "job", id);
        bm_report_add_bool(o, "setting", true);
        bm_report_add_bool(o, "running", running);
    }
    cli_json(o);
}

static int set(struct cli *cli, const struct bm_job_store *jobs,
               const struct bm_job *job, const struct bm_limits *limits,
               struct bm_error *err)
{
    char line[BM_LIMITS_LINE];
    int rc;

    if (bm_state_final(job->state))
        return cli_ask_ended("set", job, err);
    bm_limits_line(limits, line);
    rc = cli_ask(jobs, job->id, "set", line, err);
    if (rc == 0)
        tell(cli, job->id, true, limits);
    if (rc != -ENOENT)
        return rc;
    rc = write_down(cli, limits, err);
    if (rc == 0)
        tell(cli, job->id, false, limits);
    return rc;
}

int cli_job_set(struct cli *cli, struct bm_error *err)
{
    struct bm_job_store *jobs = NULL;
    struct bm_job *job = NULL;
    struct bm_limits limits;
    int rc = read_words(cli->args + 1, &limits, err);

    if (rc == 0)
        rc = cli_open_jobs(&cli->options, true, &jobs, err);
    if (rc == 0)
        rc = bm_job_store_load(jobs, cli->args[0], &job, err);
    if (rc == 0)
        rc = set(cli, jobs, job, &limits, err);
    bm_job_free(job);
    bm_job_store_close(jobs);
    return rc;
}
