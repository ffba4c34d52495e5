// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A list of checks: each with its verdict, what was found, and a remedy.
 * Preflight and the doctor fill one.
 */
#ifndef BM_PREFLIGHT_CHECKS_H
#define BM_PREFLIGHT_CHECKS_H

#include "nbd/base/error.h"

#include <stdbool.h>
#include <stddef.h>

enum bm_verdict { BM_OK, BM_WARN, BM_REFUSE };
const char *bm_verdict_name(enum bm_verdict verdict);

struct bm_check {
    enum bm_verdict verdict;
    char name[32];  /* e.g. "room", "shareable" */
    char disk[32];  /* "" for the domain as a whole */
    char text[512]; /* what was found */
    char remedy[512];
};

struct bm_preflight {
    struct bm_check *checks;
    size_t n;
    bool refused;
};
void bm_preflight_clear(struct bm_preflight *preflight);
/* Adds a check. -ENOMEM or 0. */
int bm_preflight_add(struct bm_preflight *preflight, enum bm_verdict verdict,
                     const char *name, const char *disk, const char *remedy,
                     const char *fmt, ...)
    __attribute__((format(printf, 6, 7)));
/* The first refusal as an error with status BM_EXIT_REFUSED. */
int bm_preflight_error(const struct bm_preflight *preflight,
                       struct bm_error *err);

#endif
