// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/doctor/doctor.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

int bm_doctor_run(struct bm_doctor *doctor, struct bm_error *err)
{
    int rc = bm_doctor_disks(doctor, err);

    if (!rc)
        rc = bm_doctor_images(doctor, err);
    if (!rc)
        rc = bm_doctor_points(doctor, err);
    if (!rc)
        rc = bm_doctor_left(doctor, err);
    return rc == -ENOMEM
               ? bm_fail_errno(err, ENOMEM, "cannot examine the domain")
               : rc;
}
