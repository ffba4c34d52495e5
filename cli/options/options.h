// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The options of all commands: one table (options.c), from which parsing,
 * --help and --long-options are made. A value is checked before it is stored.
 */
#ifndef CLI_OPTIONS_OPTIONS_H
#define CLI_OPTIONS_OPTIONS_H

#include "nbd/base/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* In the order of the table, which is sorted by name. */
enum cli_option {
    CLI_OPTION_NONE,
    CLI_ACCEPT,
    CLI_ALL,
    CLI_BACK,
    CLI_BANDWIDTH,
    CLI_BASE,
    CLI_CACHE,
    CLI_CHAIN,
    CLI_CHANGED_SINCE,
    CLI_CHECK,
    CLI_CHILDREN,
    CLI_COMMANDS, /* hidden */
    CLI_CONNECT,
    CLI_DEPTH,
    CLI_DESCRIPTION,
    CLI_DETACH,
    CLI_DIGEST,
    CLI_DIGESTS,
    CLI_DIRTY,
    CLI_DISK,
    CLI_DROP_CHECKPOINTS,
    CLI_DRY_RUN,
    CLI_FILL_FROM,
    CLI_FIX,
    CLI_FORCE,
    CLI_FORCE_SHARE,
    CLI_FORMAT,
    CLI_GUEST_LATENCY,
    CLI_HELP,
    CLI_IMAGE_FORMAT,
    CLI_JSON,
    CLI_KEEP,
    CLI_KEPT,
    CLI_LONG_OPTIONS, /* hidden */
    CLI_MANIFEST,
    CLI_MAPFILE,
    CLI_MAX_DEPTH,
    CLI_MAX_PAUSE,
    CLI_MEMORY,
    CLI_MODE,
    CLI_NAME,
    CLI_OLDER_THAN,
    CLI_ON_READ_ERROR,
    CLI_OTHER_FORMAT,
    CLI_OUTPUT_FORMAT,
    CLI_OVERLAY_DIR,
    CLI_OVERLAY_MAX,
    CLI_OVERLAY_ON,
    CLI_PROOF,
    CLI_QUIESCE,
    CLI_QUIET,
    CLI_RESUME,
    CLI_RETRIES,
    CLI_SETTLE,
    CLI_SOURCE,
    CLI_STATE,
    CLI_STRATEGY,
    CLI_STRICT,
    CLI_SWITCH_MAX,
    CLI_TLS_CERTIFICATES,
    CLI_TLS_PSK,
    CLI_TO,
    CLI_TOP,
    CLI_UPDATE,
    CLI_VERBOSE,
    CLI_VERIFY,
    CLI_VERIFY_FROM,
    CLI_VERSION_OPTION,
    CLI_OPTION_COUNT
};

struct cli_options {
    const char *connect, *state; /* NULL: the default */
    bool json, quiet, verbose;
    bool help, version, long_options, commands;
    const char *to, *strategy, *format, *source; /* words checked */
    const char *proof;                           /* a word; NULL: not given */
    const char *name, *overlay_dir, *overlay_on;
    const char *chain;                       /* a word; NULL: not given */
    const char *image_format, *other_format; /* NULL: probed */
    const char *cache;                       /* a word */
    uint64_t bandwidth;                      /* bytes/s, 0: not given */
    double guest_latency;                    /* times what it was; 0: off */
    int64_t settle;                          /* ms */
    uint64_t switch_max;                     /* bytes */
    uint64_t overlay_max;                    /* bytes, 0: not given */
    int64_t max_pause;                       /* ms */
    bool accept, all, back, detach, drop_checkpoints, dry_run, force, kept;
    bool digests, force_share, strict;
    const char *output_format, *digest, *on_read_error; /* words */
    const char *verify_from;                            /* NULL: medium */
    const char *manifest, *mapfile, *fill_from;         /* files; NULL: none */
    const char *check, *update, *dirty, *changed_since;
    const char *tls_certificates, *tls_psk;
    int64_t retries;
    bool quiesce, resume, verify;
    const char *disk, *top, *base;  /* NULL: not given */
    const char *description, *mode; /* NULL: not given */
    bool children, fix, memory;
    int64_t max_depth;  /* images */
    int64_t depth;      /* images; 0: not given */
    int64_t keep;       /* restore points; -1: not given */
    int64_t older_than; /* ms; 0: not given */
};

void cli_options_default(struct cli_options *options);

/*
 * Parses what `allowed` (ends with CLI_OPTION_NONE) and the global options
 * are. With stop the first word that is no option ends it, else words may
 * stand anywhere. *used is how many of argv (argv[0] included) are done with;
 * words that were passed over stand behind them. who is for messages. An
 * error has status BM_EXIT_USAGE. --help, --version and the hidden ones end
 * the parsing at once.
 */
int cli_options_parse(struct cli_options *options,
                      const enum cli_option *allowed, const char *who,
                      bool stop, int argc, char **argv, int *used,
                      struct bm_error *err);

/* Checks and stores one value, as if --OPTION VALUE had been given. */
int cli_options_set(struct cli_options *options, enum cli_option id,
                    const char *value, struct bm_error *err);

/* Rules between options and values that the table cannot say. */
int cli_options_check(const struct cli_options *options, struct bm_error *err);

/* The list for --help, and the names for --long-options; allowed NULL: the
 * global ones. */
void cli_options_help(FILE *out, const enum cli_option *allowed);
void cli_options_names(FILE *out, const enum cli_option *allowed);
/* All of them, once each. */
void cli_options_all_names(FILE *out);

#endif
