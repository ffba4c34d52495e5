// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/preflight/checks.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *bm_verdict_name(enum bm_verdict verdict)
{
    static const char *const names[] = {"ok", "warning", "refused"};

    return names[verdict];
}

void bm_preflight_clear(struct bm_preflight *preflight)
{
    free(preflight->checks);
    memset(preflight, 0, sizeof *preflight);
}

int bm_preflight_add(struct bm_preflight *preflight, enum bm_verdict verdict,
                     const char *name, const char *disk, const char *remedy,
                     const char *fmt, ...)
{
    struct bm_check *checks =
        realloc(preflight->checks, (preflight->n + 1) * sizeof *checks);
    struct bm_check *check;
    va_list ap;

    if (!checks)
        return -ENOMEM;
    preflight->checks = checks;
    check = &checks[preflight->n++];
    memset(check, 0, sizeof *check);
    check->verdict = verdict;
    snprintf(check->name, sizeof check->name, "%s", name);
    snprintf(check->disk, sizeof check->disk, "%s", disk);
    snprintf(check->remedy, sizeof check->remedy, "%s", remedy ? remedy : "");
    va_start(ap, fmt);
    vsnprintf(check->text, sizeof check->text, fmt, ap);
    va_end(ap);
    preflight->refused |= verdict == BM_REFUSE;
    return 0;
}

int bm_preflight_error(const struct bm_preflight *preflight,
                       struct bm_error *err)
{
    for (size_t i = 0; i < preflight->n; i++) {
        const struct bm_check *check = &preflight->checks[i];

        if (check->verdict != BM_REFUSE)
            continue;
        bm_fail(err, EPERM, "refused by preflight check %s%s%s", check->name,
                check->disk[0] ? ", disk " : "", check->disk);
        bm_cause(err, "%s", check->text);
        bm_remedy(err, "%s", check->remedy);
        return bm_status(err, BM_EXIT_REFUSED), -EPERM;
    }
    return 0;
}
