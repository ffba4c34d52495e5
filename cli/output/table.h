// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* A table of text whose columns are as wide as they must be. */
#ifndef CLI_OUTPUT_TABLE_H
#define CLI_OUTPUT_TABLE_H

#include <stddef.h>

struct cli_table {
    size_t columns;
    char **cells;
    size_t n;
};

/* Adds a row of table->columns strings (copied). 0 or -ENOMEM. */
int cli_table_row(struct cli_table *table, const char *const cells[]);
void cli_table_print(const struct cli_table *table);
void cli_table_clear(struct cli_table *table);
#define CLI_TABLE __attribute__((cleanup(cli_table_clear))) struct cli_table

#endif
