// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The switch of a guest that is off: its images are held from before they are
 * copied until the saved XML names the new ones. A kill lets go of them; then
 * the guest may have run since.
 */
#ifndef BM_STEP_SWITCH_OFF_H
#define BM_STEP_SWITCH_OFF_H

#include "blockmig/run/run.h"

/* Nobody writes the disks' chains any more, until bm_run_unlock. -EBUSY:
 * somebody does already. */
int bm_off_hold(struct bm_run *run, struct bm_error *err);

/* The domain was read just now. *again: no disk was switched, and the guest
 * runs, or may have run since its images were copied. -EBUSY with
 * BM_EXIT_HELD: it runs with one disk here and one there. */
int bm_off_look(struct bm_run *run, bool *again, struct bm_error *err);

/* Then: the saved XML gets each disk's `dest`, and the images are let go.
 * What was not held all the time is compared first: -EBADMSG. -ECANCELED, as
 * long as the XML names none of the new images. */
int bm_off_switch(struct bm_run *run, struct bm_error *err);

#endif
