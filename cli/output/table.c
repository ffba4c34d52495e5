// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "cli/output/table.h"
#include "cli/output/write.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int cli_table_row(struct cli_table *table, const char *const cells[])
{
    char **grown =
        reallocarray(table->cells, table->n + table->columns, sizeof *grown);

    if (!grown)
        return -ENOMEM;
    table->cells = grown;
    for (size_t i = 0; i < table->columns; i++) {
        char *copy = strdup(cells[i] && cells[i][0] ? cells[i] : "-");

        grown[table->n + i] = copy;
        if (!copy) {
            while (i-- > 0)
                free(grown[table->n + i]);
            return -ENOMEM;
        }
    }
    table->n += table->columns;
    return 0;
}

static int width(const struct cli_table *table, size_t column)
{
    size_t max = 0;

    for (size_t i = column; i < table->n; i += table->columns)
        if (strlen(table->cells[i]) > max)
            max = strlen(table->cells[i]);
    return (int)max;
}

void cli_table_print(const struct cli_table *table)
{
    for (size_t i = 0; i < table->n; i++) {
        size_t column = i % table->columns;

        /* the last one ends its line, without blanks */
        if (column + 1 == table->columns)
            cli_print("%s\n", table->cells[i]);
        else
            cli_print("%-*s  ", width(table, column), table->cells[i]);
    }
}

void cli_table_clear(struct cli_table *table)
{
    for (size_t i = 0; i < table->n; i++)
        free(table->cells[i]);
    free(table->cells);
    table->cells = NULL;
    table->n = 0;
}
