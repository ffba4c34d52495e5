// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/base/error.h"

#include <stdio.h>
#include <string.h>

__attribute__((format(printf, 3, 0))) static void
set_what(struct bm_error *err, int code, const char *fmt, va_list ap)
{
    err->code = code;
    err->status = BM_EXIT_FAILED;
    err->cause[0] = err->remedy[0] = '\0';
    vsnprintf(err->what, sizeof err->what, fmt, ap);
}

int bm_fail(struct bm_error *err, int code, const char *fmt, ...)
{
    va_list ap;

    if (err) {
        va_start(ap, fmt);
        set_what(err, code, fmt, ap);
        va_end(ap);
    }
    return -code;
}

int bm_fail_errno(struct bm_error *err, int code, const char *fmt, ...)
{
    va_list ap;

    if (err) {
        va_start(ap, fmt);
        set_what(err, code, fmt, ap);
        va_end(ap);
        bm_cause(err, "%s", strerror(code));
    }
    return -code;
}

int bm_cause(struct bm_error *err, const char *fmt, ...)
{
    va_list ap;

    if (!err)
        return -1;
    va_start(ap, fmt);
    vsnprintf(err->cause, sizeof err->cause, fmt, ap);
    va_end(ap);
    return -err->code;
}

int bm_remedy(struct bm_error *err, const char *fmt, ...)
{
    va_list ap;

    if (!err)
        return -1;
    va_start(ap, fmt);
    vsnprintf(err->remedy, sizeof err->remedy, fmt, ap);
    va_end(ap);
    return -err->code;
}

int bm_status(struct bm_error *err, enum bm_exit status)
{
    if (!err)
        return -1;
    err->status = status;
    return -err->code;
}

void bm_error_line(const struct bm_error *err, char *buf, unsigned long size)
{
    snprintf(buf, size, "%s%s%s%s%s", err->what, err->cause[0] ? ": " : "",
             err->cause, err->remedy[0] ? "; " : "", err->remedy);
}
