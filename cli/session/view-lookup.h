// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* The fleeting views of domains: jobs that live as long as their view does. */
#ifndef CLI_SESSION_VIEW_LOOKUP_H
#define CLI_SESSION_VIEW_LOOKUP_H

#include "blockmig/job/job-store.h"
#include "cli/session/snapshot-context.h"

/* The view of that domain (by UUID), and of that name, unless NULL; *out
 * is the caller's, NULL: there is none. */
int cli_view_find(struct bm_job_store *jobs, const char *uuid, const char *name,
                  struct bm_job **out, struct bm_error *err);
/* A claim was refused: if a view is in the way, says which. */
void cli_view_explain(struct bm_job_store *jobs, const char *uuid,
                      struct bm_error *err);
/* -EBUSY, refused, where the domain has one: said before a plan is made that
 * would stumble over its files. */
int cli_view_none(const struct cli_options *options,
                  const struct bm_domain *domain, struct bm_error *err);
/* Ends it, and waits for that. */
int cli_view_end(struct bm_job_store *jobs, const struct bm_job *view,
                 struct bm_error *err);

#endif
