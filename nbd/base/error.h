// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The one error convention of the whole program.
 *
 * A function that can fail returns 0 or a negative errno (or NULL) and fills
 * a struct bm_error given by the caller: what was tried on what, the cause in
 * the words of the library that failed, and a remedy where one is known.
 * Library code never prints and never exits; only cli/ does.
 *
 * Threads: an error belongs to the thread that passed it in.
 */
#ifndef BM_NBD_BASE_ERROR_H
#define BM_NBD_BASE_ERROR_H

#include <stdarg.h>

/* The exit statuses of the command: docs/blockmig.1, EXIT STATUS. */
enum bm_exit {
    BM_EXIT_DONE = 0,
    BM_EXIT_FAILED = 1,     /* the guest runs where it ran */
    BM_EXIT_USAGE = 2,      /* wrong usage, or trouble (compare) */
    BM_EXIT_REFUSED = 3,    /* refused by preflight, nothing was touched */
    BM_EXIT_PROOF = 4,      /* a proof failed */
    BM_EXIT_UNREADABLE = 5, /* done, with unreadable ranges */
    BM_EXIT_HELD = 6,       /* held, or needs recovery */
};

struct bm_error {
    int code;            /* a positive errno, 0 when nothing failed */
    enum bm_exit status; /* the exit status this error asks for */
    char what[512];      /* what was tried, on what */
    char cause[1024];    /* why it failed; may be empty */
    char remedy[512];    /* what to do; may be empty */
};

#define BM_ERROR_INIT                                                          \
    {                                                                          \
        0, BM_EXIT_FAILED, "", "", ""                                          \
    }

/*
 * Sets code, status BM_EXIT_FAILED and "what"; clears cause and remedy.
 * Returns -code, so that callers write `return bm_fail(err, EIO, ...)`.
 * err may be NULL: then only the return value counts.
 */
int bm_fail(struct bm_error *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* As bm_fail, with strerror(code) as the cause. */
int bm_fail_errno(struct bm_error *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Adds the cause, the remedy, or the exit status. Return -err->code. */
int bm_cause(struct bm_error *err, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
int bm_remedy(struct bm_error *err, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
int bm_status(struct bm_error *err, enum bm_exit status);

#ifdef BM_LINT
/* What a checker cannot see from one file (tests/lint): these are negative. */
static inline int bm_negative(int rc)
{
    if (rc >= 0)
        __builtin_unreachable();
    return rc;
}
#define bm_fail(...) bm_negative(bm_fail(__VA_ARGS__))
#define bm_fail_errno(...) bm_negative(bm_fail_errno(__VA_ARGS__))
#define bm_cause(...) bm_negative(bm_cause(__VA_ARGS__))
#define bm_remedy(...) bm_negative(bm_remedy(__VA_ARGS__))
#define bm_status(...) bm_negative(bm_status(__VA_ARGS__))
#endif

/* One line: "WHAT: CAUSE; REMEDY" into buf, always terminated. */
void bm_error_line(const struct bm_error *err, char *buf, unsigned long size);

#endif
