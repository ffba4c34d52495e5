// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/doctor/findings.h"

int bm_doctor_found(struct bm_doctor *doctor, bool fixed, const char *name,
                    const char *disk, const char *remedy, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    doctor->found++;
    doctor->fixed += fixed;
    return bm_preflight_add(doctor->list, fixed ? BM_OK : BM_WARN, name, disk,
                            remedy, "%s%s", fixed ? "mended: " : "", text);
}
