// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* The commands that ask something of a job that runs. */
#include "cli/session/control-client.h"
#include "cli/commands/commands.h"
#include "cli/session/session.h"
#include "blockmig/job/job-store-ops.h"
#include "cli/output/write.h"
#include "blockmig/report/json.h"

#include <errno.h>
#include <string.h>

struct question {
    const char *word;            /* on the socket, and in messages */
    const char *sign;            /* in the JSON answer */
    const char *advice, *option; /* of job resume, when nobody runs it */
    bool (*fits)(enum bm_state); /* NULL: any state */
    const char *states;          /* those that fit */
};

/* --- what others ask too ------------------------------------------------ */

/* --- the questions of one word ------------------------------------------ */

static int not_running(const struct question *q, const struct bm_job *job,
                       struct bm_error *err)
{
    if (bm_state_final(job->state))
        return cli_ask_ended(q->word, job, err);
    bm_fail(err, ESRCH, "cannot %s job %s", q->word, job->id);
    bm_cause(err, "nobody runs it; it stopped in state %s",
             bm_state_name(job->state));
    bm_remedy(err, "%s with 'blockmig job resume %s%s'", q->advice, job->id,
              q->option);
    return bm_status(err, BM_EXIT_HELD), -ESRCH;
}

static int does_not_fit(const struct question *q, const struct bm_job *job,
                        struct bm_error *err)
{
    bm_fail(err, EINVAL, "cannot %s job %s", q->word, job->id);
    bm_cause(err, "it is %s, not %s", bm_state_name(job->state), q->states);
    return bm_status(err, BM_EXIT_REFUSED), -EINVAL;
}

static void answer_json(const struct question *q, const struct bm_job *job)
{
    json_object *o = json_object_new_object();

    if (o) {
        bm_report_add_text(o, "job", job->id);
        bm_report_add_bool(o, q->sign, true);
    }
    cli_json(o);
}

static int ask(struct cli *cli, const struct bm_job_store *jobs,
               const struct bm_job *job, const struct question *q,
               struct bm_error *err)
{
    int rc;

    if (bm_job_running(jobs, job->id) && q->fits && !q->fits(job->state))
        return does_not_fit(q, job, err);
    rc = cli_ask(jobs, job->id, q->word, q->word, err);
    if (rc == -ENOENT)
        return not_running(q, job, err);
    if (rc < 0)
        return rc;
    cli_say("%s: asked to %s; 'blockmig job watch %s' shows what comes of it\n",
            job->id, q->word, job->id);
    if (cli->options.json)
        answer_json(q, job);
    return 0;
}

static int ask_job(struct cli *cli, const struct question *q,
                   struct bm_error *err)
{
    struct bm_job_store *jobs = NULL;
    struct bm_job *job = NULL;
    int rc = cli_open_jobs(&cli->options, true, &jobs, err);

    if (rc == 0)
        rc = bm_job_store_load(jobs, cli->args[0], &job, err);
    if (rc == 0)
        rc = ask(cli, jobs, job, q, err);
    bm_job_free(job);
    bm_job_store_close(jobs);
    return rc;
}

static bool is_settled(enum bm_state state)
{
    return state == BM_STATE_SETTLED;
}

/* In the switch it is heard, and comes to be in settled. */
static bool can_pause(enum bm_state state)
{
    return !bm_state_traits_of(state)->past_switch ||
           bm_state_traits_of(state)->can_undo;
}

int cli_job_cancel(struct cli *cli, struct bm_error *err)
{
    static const struct question cancel = {"cancel",  "cancelling", "go back",
                                           " --back", NULL,         NULL};

    return ask_job(cli, &cancel, err);
}

int cli_job_undo(struct cli *cli, struct bm_error *err)
{
    static const struct question undo = {"undo",    "undoing",  "go back",
                                         " --back", is_settled, "settled"};

    return ask_job(cli, &undo, err);
}

int cli_job_accept(struct cli *cli, struct bm_error *err)
{
    static const struct question accept = {"accept", "accepting", "go on",
                                           "",       is_settled,  "settled"};

    return ask_job(cli, &accept, err);
}

int cli_job_pause(struct cli *cli, struct bm_error *err)
{
    static const struct question pause = {
        "pause", "pausing", "go on", "", can_pause, "settled or before that"};

    return ask_job(cli, &pause, err);
}
