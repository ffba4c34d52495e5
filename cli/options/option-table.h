// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* The table of options: options.c parses by it, options-help.c prints it. */
#ifndef CLI_OPTIONS_OPTION_TABLE_H
#define CLI_OPTIONS_OPTION_TABLE_H

#include "cli/options/options.h"

#include <stddef.h>

enum cli_option_kind {
    CLI_KIND_FLAG,
    CLI_KIND_TEXT,
    CLI_KIND_WORD,
    CLI_KIND_RATE,
    CLI_KIND_SIZE,
    CLI_KIND_FACTOR,
    CLI_KIND_TIME,
    CLI_KIND_NUMBER,
    CLI_KIND_FILE_NAME
};

struct cli_option_row {
    const char *name;
    char letter;
    enum cli_option_kind kind;
    const char *argument; /* in --help; WORD: the words, with | between */
    const char *help;
    size_t offset; /* in struct cli_options */
    int64_t min, max;
    bool global, hidden, ends;
};

extern const struct cli_option_row cli_option_rows[CLI_OPTION_COUNT];
/* It is global, or in the list that ends with CLI_OPTION_NONE. */
bool cli_option_allowed(enum cli_option id, const enum cli_option *allowed);

#endif
