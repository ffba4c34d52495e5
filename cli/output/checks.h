// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* A list of checks as it is shown: preflight's, and the doctor's. */
#ifndef CLI_OUTPUT_CHECKS_H
#define CLI_OUTPUT_CHECKS_H

#include "blockmig/preflight/preflight.h"

#include <json-c/json.h>

/* All of them, a line each, remedies below. */
void cli_checks_print(const struct bm_preflight *checks);
/* [{"check":...,"disk":...,"verdict":...,"text":...,"remedy":...}] */
json_object *cli_checks_json(const struct bm_preflight *checks);
/* As company of a move: what is not fine, a line or an event each. */
void cli_checks_say(const struct bm_preflight *checks, const char *job,
                    bool json);

#endif
