// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "cli/options/option-table.h"

#include "nbd/base/units.h"
#include "blockmig/control/limits.h"

#include <errno.h>
#include <getopt.h>
#include <string.h>

#define LONG_BASE 256 /* getopt's values of long options start here */

void cli_options_default(struct cli_options *options)
{
    memset(options, 0, sizeof *options);
    options->strategy = "auto";
    options->format = "keep";
    options->overlay_on = "auto";
    options->source = "keep";
    options->cache = "writeback";
    options->digest = "sha256";
    options->on_read_error = "stop";
    options->max_pause = BM_MAX_PAUSE_MS;
    options->switch_max = BM_SWITCH_MAX;
    options->guest_latency = BM_GUEST_LATENCY;
    options->keep = -1;
    options->max_depth = BM_MAX_DEPTH;
}

/* --- values ------------------------------------------------------------- */

static int bad_value(struct bm_error *err, const struct cli_option_row *row,
                     const char *value, const char *cause, const char *remedy)
{
    bm_fail(err, EINVAL, "option --%s '%s'", row->name, value);
    bm_cause(err, "%s", cause);
    bm_remedy(err, "%s", remedy);
    bm_status(err, BM_EXIT_USAGE);
    return -EINVAL;
}

static int set_rate(const struct cli_option_row *row, const char *value,
                    uint64_t *out, struct bm_error *err)
{
    int rc = bm_parse_size(value, out);

    if (rc == 0)
        return 0;
    return bad_value(err, row, value,
                     rc == -ERANGE ? "out of range" : "not a rate",
                     "give whole bytes a second from 1 up, such as 1048576, "
                     "64M or 2G (K, M, G, T: powers of 1024)");
}

static int set_size(const struct cli_option_row *row, const char *value,
                    uint64_t *out, struct bm_error *err)
{
    int rc = bm_parse_size(value, out);

    if (rc == 0)
        return 0;
    return bad_value(err, row, value,
                     rc == -ERANGE ? "out of range" : "not a size",
                     "give whole bytes from 1 up, such as 1048576, 64M or 2G "
                     "(K, M, G, T: powers of 1024)");
}

/* Seconds, or with s, m, h, d behind it; in milliseconds. */
static int set_time(const struct cli_option_row *row, const char *value,
                    int64_t *out, struct bm_error *err)
{
    static const char units[] = "smhd";
    static const int64_t seconds[] = {1, 60, 3600, 86400};
    char digits[16];
    size_t n = strspn(value, "0123456789");
    const char *unit = value[n] ? strchr(units, value[n]) : units;
    int64_t number;

    snprintf(digits, sizeof digits, "%.*s", (int)n, value);
    if (n == 0 || n > 9 || !unit || (value[n] && value[n + 1]) ||
        bm_parse_number(digits, 0, 100000000, &number) != 0)
        return bad_value(err, row, value, "not a time",
                         "give seconds, or a number with s, m, h or d");
    *out = number * seconds[unit - units] * 1000;
    return 0;
}

/* "2", "1.5", or "off", which is 0. */
static int set_factor(const struct cli_option_row *row, const char *value,
                      double *out, struct bm_error *err)
{
    char *end;
    double number = strtod(value, &end);

    if (strcmp(value, "off") == 0) {
        *out = 0;
        return 0;
    }
    if (end != value && *end == '\0' && number >= BM_GUEST_LATENCY_MIN &&
        number <= 1000) {
        *out = number;
        return 0;
    }
    return bad_value(err, row, value, "not a factor",
                     "give off, or a number from 1.1 to 1000");
}

static int set_number(const struct cli_option_row *row, const char *value,
                      int64_t *out, struct bm_error *err)
{
    char remedy[96];
    int rc = bm_parse_number(value, row->min, row->max, out);

    if (rc == 0)
        return 0;
    snprintf(remedy, sizeof remedy, "give a whole number from %lld to %lld",
             (long long)row->min, (long long)row->max);
    return bad_value(err, row, value,
                     rc == -ERANGE ? "out of range" : "not a number", remedy);
}

/* Whether value is one of the words in "a|b|c". */
static bool has_word(const char *words, const char *value)
{
    size_t len = strlen(value);

    while (*words) {
        size_t word = strcspn(words, "|");

        if (word == len && strncmp(words, value, len) == 0)
            return true;
        words += word + (words[word] == '|');
    }
    return false;
}

static int set_word(const struct cli_option_row *row, const char *value,
                    const char **out, struct bm_error *err)
{
    char remedy[96];

    if (has_word(row->argument, value)) {
        *out = value;
        return 0;
    }
    snprintf(remedy, sizeof remedy, "give one of %s", row->argument);
    return bad_value(err, row, value, "unknown word", remedy);
}

static int set_text(const struct cli_option_row *row, const char *value,
                    const char **out, struct bm_error *err)
{
    if (value[0] == '\0')
        return bad_value(err, row, value, "empty", "give a value");
    if (row->kind == CLI_KIND_FILE_NAME &&
        (strchr(value, '/') || strcmp(value, ".") == 0 ||
         strcmp(value, "..") == 0))
        return bad_value(err, row, value, "not a file name",
                         "give a name without a slash; --to names the folder");
    *out = value;
    return 0;
}

static int set(const struct cli_option_row *row, const char *value,
               struct cli_options *options, struct bm_error *err)
{
    void *at = (char *)options + row->offset;

    switch (row->kind) {
    case CLI_KIND_TEXT:
    case CLI_KIND_FILE_NAME:
        return set_text(row, value, at, err);
    case CLI_KIND_WORD:
        return set_word(row, value, at, err);
    case CLI_KIND_TIME:
        return set_time(row, value, at, err);
    case CLI_KIND_FACTOR:
        return set_factor(row, value, at, err);
    case CLI_KIND_SIZE:
        return set_size(row, value, (uint64_t *)at, err);
    case CLI_KIND_RATE:
        return set_rate(row, value, at, err);
    case CLI_KIND_NUMBER:
        return set_number(row, value, at, err);
    case CLI_KIND_FLAG:
        break;
    }
    *(bool *)at = true;
    return 0;
}

int cli_options_set(struct cli_options *options, enum cli_option id,
                    const char *value, struct bm_error *err)
{
    return set(&cli_option_rows[id], value, options, err);
}

/* --- parsing ------------------------------------------------------------ */

/* getopt's tables for the allowed options. */
struct tables {
    struct option longs[CLI_OPTION_COUNT];
    char shorts[3 * CLI_OPTION_COUNT];
};

static void make_tables(struct tables *t, const enum cli_option *allowed,
                        bool stop)
{
    struct option *o = t->longs;
    char *s = t->shorts;

    memset(t, 0, sizeof *t);
    if (stop)
        *s++ = '+';
    *s++ = ':';
    for (int i = CLI_OPTION_NONE + 1; i < CLI_OPTION_COUNT; i++) {
        const struct cli_option_row *row = &cli_option_rows[i];
        int has_arg =
            row->kind == CLI_KIND_FLAG ? no_argument : required_argument;

        if (!cli_option_allowed((enum cli_option)i, allowed))
            continue;
        *o++ = (struct option){row->name, has_arg, NULL, LONG_BASE + i};
        if (row->letter)
            *s++ = row->letter;
        if (row->letter && has_arg == required_argument)
            *s++ = ':';
    }
}

static int find_option(int value)
{
    if (value > LONG_BASE)
        return value - LONG_BASE;
    for (int i = CLI_OPTION_NONE + 1; i < CLI_OPTION_COUNT; i++)
        if (value && cli_option_rows[i].letter == value)
            return i;
    return CLI_OPTION_NONE;
}

/* What getopt could not take: c is '?' or ':'. */
static int bad_option(int c, const char *who, char **argv, struct bm_error *err)
{
    int id = find_option(optopt);

    if (id != CLI_OPTION_NONE)
        bm_fail(err, EINVAL, "option --%s", cli_option_rows[id].name);
    else if (optopt)
        bm_fail(err, EINVAL, "option -%c", optopt);
    else
        bm_fail(err, EINVAL, "option %s", argv[optind - 1]);
    if (id == CLI_OPTION_NONE)
        bm_cause(err, "unknown to '%s'", who);
    else if (c == ':')
        bm_cause(err, "it needs a value (%s)", cli_option_rows[id].argument);
    else
        bm_cause(err, "it takes no value");
    bm_status(err, BM_EXIT_USAGE);
    return -EINVAL;
}

int cli_options_parse(struct cli_options *options,
                      const enum cli_option *allowed, const char *who,
                      bool stop, int argc, char **argv, int *used,
                      struct bm_error *err)
{
    struct tables t;
    int c;

    make_tables(&t, allowed, stop);
    optind = 0; /* glibc: start anew */
    opterr = 0;
    while ((c = getopt_long(argc, argv, t.shorts, t.longs, NULL)) != -1) {
        int id, rc;

        if (c == '?' || c == ':')
            return bad_option(c, who, argv, err);
        id = find_option(c);
        rc = set(&cli_option_rows[id], optarg, options, err);
        if (rc < 0)
            return rc;
        if (cli_option_rows[id].ends)
            break;
    }
    *used = optind;
    return 0;
}

static int conflict(struct bm_error *err, const char *what, const char *cause,
                    const char *remedy)
{
    bm_fail(err, EINVAL, "%s", what);
    bm_cause(err, "%s", cause);
    bm_remedy(err, "%s", remedy);
    bm_status(err, BM_EXIT_USAGE);
    return -EINVAL;
}

int cli_options_check(const struct cli_options *o, struct bm_error *err)
{
    if (o->quiet && o->verbose)
        return conflict(err, "options --quiet and --verbose",
                        "they exclude each other", "give one of them");
    if (o->state && strstr(o->state, "://"))
        return conflict(err, "option --state",
                        "this version keeps its jobs in a directory only",
                        "give a path");
    if (o->proof && strcmp(o->proof, "none") == 0 &&
        strcmp(o->source, "delete") == 0)
        return conflict(err, "options --proof none and --source delete",
                        "a source is deleted only when a proof shows that "
                        "nothing was lost",
                        "leave one of them out");
    if (o->overlay_dir && strcmp(o->overlay_on, "auto") != 0)
        return conflict(err, "options --overlay-dir and --overlay-on",
                        "the folder says already where the overlays stand",
                        "give one of them");
    if (o->dry_run && o->detach)
        return conflict(err, "options --dry-run and --detach",
                        "they exclude each other", "give one of them");
    return 0;
}
