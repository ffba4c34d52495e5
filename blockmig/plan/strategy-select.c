// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/plan/strategy-select.h"

#include "blockmig/plan/overlay-placement.h"
#include "blockmig/plan/strategy-rules.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* --- what the choices mean --- */

/* why NULL: choose() has it. */
static const struct meaning {
    enum bm_strategy strategy;
    const char *why;
} meanings[BM_CHOICE_COUNT] = {
    [BM_CHOICE_COLD] = {BM_STRATEGY_COLD, "the domain is shut off"},
    [BM_CHOICE_PULL] = {BM_STRATEGY_PULL, "it was asked for"},
    [BM_CHOICE_BLOCKCOPY] = {BM_STRATEGY_BLOCKCOPY, "it was asked for"},
    [BM_CHOICE_BLOCKCOPY_UNPROVEN] = {BM_STRATEGY_BLOCKCOPY,
                                      "no proof is asked for"},
    [BM_CHOICE_BLOCKCOPY_NO_PLACE] = {BM_STRATEGY_BLOCKCOPY, NULL},
    [BM_CHOICE_BLOCKCOPY_DEVICE] = {BM_STRATEGY_BLOCKCOPY, NULL},
    [BM_CHOICE_STAGED] = {BM_STRATEGY_STAGED,
                          "the disks can be frozen under an overlay, copied "
                          "and proven before the switch"},
    [BM_CHOICE_STAGED_ASKED] = {BM_STRATEGY_STAGED, "it was asked for"},
    [BM_CHOICE_STAGED_RESCUE] = {BM_STRATEGY_STAGED,
                                 "it reads around bad sectors"},
};

#define RESCUE "--on-read-error rescue"

/* "cannot move WHAT with OPTION"; what NULL: the domain. cause NULL: what
 * stands in the way of an overlay. */
static const struct refusal {
    const char *what, *option, *cause, *remedy;
} refusals[BM_CHOICE_COUNT] = {
    [BM_CHOICE_NO_SETTLE_UNPROVEN] = {NULL, "--settle",
                                      "without a proof there is no way back",
                                      "leave --settle out"},
    [BM_CHOICE_NO_SETTLE_OFF] = {NULL, "--settle", "it is shut off",
                                 "leave --settle out"},
    [BM_CHOICE_NO_RESCUE_OFF] = {NULL, RESCUE, "it is shut off",
                                 "start it, or use 'blockmig copy'"},
    [BM_CHOICE_NO_RESCUE_UNPROVEN] = {NULL, RESCUE,
                                      "what is rescued is proven, but for what "
                                      "cannot be read",
                                      "leave --proof none out"},
    [BM_CHOICE_NO_RESCUE_STRATEGY] = {NULL, RESCUE,
                                      "only --strategy staged can",
                                      "leave --strategy out"},
    [BM_CHOICE_NO_RESCUE_PLACE] = {NULL, RESCUE, NULL,
                                   "give a folder for the overlays with "
                                   "--overlay-dir"},
    [BM_CHOICE_NO_STAGED_UNPROVEN] = {"by staged", "--proof none",
                                      "what it writes into the new images it "
                                      "proves",
                                      "use --strategy blockcopy, or leave "
                                      "--proof none out"},
    [BM_CHOICE_NO_PULL_PROOF] = {"by pull", "--proof full",
                                 "a disk is pulled while the guest writes to "
                                 "it, and nothing remains to compare it with",
                                 "use --strategy staged, or leave --proof full "
                                 "out"},
    [BM_CHOICE_NO_PULL_DELETE] = {"by pull", "--source delete",
                                  "what is pulled is not proven, and a source "
                                  "is deleted only after a proof",
                                  "use --strategy staged, or leave --source "
                                  "delete out"},
    [BM_CHOICE_NO_PULL_SETTLE] = {"by pull", "--settle",
                                  "without a proof there is no way back",
                                  "use --strategy staged, or leave --settle "
                                  "out"},
    [BM_CHOICE_NO_PULL_RAW] = {"by pull", "--format raw",
                               "the new image begins as an overlay, which only "
                               "a qcow2 can be",
                               "use --strategy staged, or leave --format raw "
                               "out"},
};

/* --- what is known --- */

static enum bm_strategy_asked asked_for(const struct bm_move_options *options)
{
    if (!strcmp(options->strategy, "staged"))
        return BM_ASKED_STAGED;
    if (!strcmp(options->strategy, "blockcopy"))
        return BM_ASKED_BLOCKCOPY;
    return strcmp(options->strategy, "pull") ? BM_ASKED_AUTO : BM_ASKED_PULL;
}

static unsigned fact(enum bm_strategy_fact fact, bool holds)
{
    return holds ? fact : 0;
}

static unsigned known_at_once(const struct bm_domain *domain,
                              const struct bm_move_options *options)
{
    return fact(BM_FACT_OFF, !domain->active) |
           fact(BM_FACT_UNPROVEN, !options->proof) |
           fact(BM_FACT_PROOF_ASKED, options->proof_asked) |
           fact(BM_FACT_RESCUE, options->rescue) |
           fact(BM_FACT_SETTLE, options->settle_ms != 0) |
           fact(BM_FACT_DELETE, options->source_delete) |
           fact(BM_FACT_RAW, !strcmp(options->format, "raw"));
}

/* The first disk whose image is a device; NULL: none is. */
static const char *on_device(const struct bm_job *job)
{
    for (size_t i = 0; i < job->n_disks; i++)
        if (job->disks[i].source.n &&
            job->disks[i].source.layers[0].type != BM_SOURCE_FILE)
            return job->disks[i].target;
    return NULL;
}

static unsigned of_the_folders(const struct bm_job *job,
                               const struct bm_move_options *options,
                               const char *obstacle)
{
    return fact(BM_FACT_NO_PLACE, obstacle[0] != '\0') |
           fact(BM_FACT_ON_DEVICE, on_device(job) && !options->overlay_dir &&
                                       strcmp(options->overlay_on, "target"));
}

/* --- the choice --- */

static int refuse(enum bm_strategy_choice choice, const char *domain,
                  const char *obstacle, struct bm_error *err)
{
    const struct refusal *r = &refusals[choice];

    bm_fail(err, EINVAL, "cannot move %s with %s", r->what ? r->what : domain,
            r->option);
    bm_cause(err, "%s", r->cause ? r->cause : obstacle);
    bm_remedy(err, "%s", r->remedy);
    return bm_status(err, BM_EXIT_REFUSED), -EINVAL;
}

/* Caller frees. */
static char *why(enum bm_strategy_choice choice, const struct bm_job *job,
                 const char *obstacle)
{
    char *text = NULL;

    if (choice == BM_CHOICE_BLOCKCOPY_DEVICE)
        return asprintf(&text,
                        "%s stands in no folder that could hold an overlay",
                        on_device(job)) < 0
                   ? NULL
                   : text;
    return strdup(choice == BM_CHOICE_BLOCKCOPY_NO_PLACE
                      ? obstacle
                      : meanings[choice].why);
}

static int choose(struct bm_job *job, enum bm_strategy_choice choice,
                  const char *obstacle, struct bm_error *err)
{
    struct bm_job_plan *plan = bm_job_fill_plan(job);

    plan->strategy = meanings[choice].strategy;
    plan->on_target &= plan->strategy == BM_STRATEGY_STAGED;
    if (plan->strategy == BM_STRATEGY_PULL)
        bm_job_fill_request(job)->proof = false;
    plan->why = why(choice, job, obstacle);
    return plan->why ? 0 : bm_fail_errno(err, ENOMEM, "cannot make a plan");
}

/* The folders are looked at only if a staged move would use them. */
int bm_choose_strategy(struct bm_job *job, const struct bm_domain *domain,
                       const struct bm_datastore *store,
                       const struct bm_move_options *options,
                       struct bm_error *err)
{
    enum bm_strategy_asked asked = asked_for(options);
    unsigned facts = known_at_once(domain, options);
    enum bm_strategy_choice choice = bm_strategy_decide(asked, facts);
    char obstacle[512] = "";

    if (meanings[choice].strategy == BM_STRATEGY_STAGED) {
        if (bm_place_choose(job, store, options, obstacle, sizeof obstacle,
                            err))
            return -err->code;
        facts |= of_the_folders(job, options, obstacle);
        choice = bm_strategy_decide(asked, facts);
    }
    if (refusals[choice].option)
        return refuse(choice, options->domain, obstacle, err);
    return choose(job, choice, obstacle, err);
}
