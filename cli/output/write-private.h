// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What is known of standard output, for write.c, output.c and end.c.
 */
#ifndef CLI_OUTPUT_WRITE_PRIVATE_H
#define CLI_OUTPUT_WRITE_PRIVATE_H

#include "cli/options/options.h"
#include "cli/output/write.h"

struct cli_out {
    const struct cli_options *options;
    bool tty;
    bool line;     /* a progress line stands on the terminal */
    bool lost;     /* something could not be written */
    bool result;   /* the result object was written */
    int trouble;   /* the status when something was lost; 0: the usual */
    int64_t shown; /* bm_now_ms of the last progress */
    int phase;     /* the state of the last line, -1: none */
};
extern struct cli_out cli_out;

/* The progress line goes from the terminal. */
void cli_clear_line(void);

#endif
