// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The rules by which the source overlays of a staged move get their place: one
 * table over what was asked for and what is known. It is pure: it looks at
 * nothing and changes nothing.
 *
 * Threads: any.
 */
#ifndef BM_PLAN_OVERLAY_RULES_H
#define BM_PLAN_OVERLAY_RULES_H

#include <stdbool.h>

/* --overlay-dir, else --overlay-on */
enum bm_place_asked {
    BM_PLACE_ASKED_AUTO,
    BM_PLACE_ASKED_SOURCE,
    BM_PLACE_ASKED_TARGET,
    BM_PLACE_ASKED_FOLDER,
};
#define BM_PLACE_ASKED_COUNT (BM_PLACE_ASKED_FOLDER + 1)

/* Bits. */
enum bm_place_fact {
    BM_PLACE_SOURCE_CANNOT = 1 << 0, /* it takes no writes, or has no room */
    BM_PLACE_SOURCE_FAILS = 1 << 1,  /* it gives errors: a rescue */
    BM_PLACE_TARGET_CANNOT = 1 << 2,
};
#define BM_PLACE_FACT_COUNT 3

enum bm_place {
    BM_PLACE_IN_FOLDER,     /* --overlay-dir */
    BM_PLACE_ON_SOURCE,     /* it was asked for */
    BM_PLACE_ON_TARGET,     /* likewise */
    BM_PLACE_SOURCE_CAN,    /* the source, which takes writes and has room */
    BM_PLACE_SOURCE_STILL,  /* the source, as the target cannot hold them */
    BM_PLACE_TARGET_CAN,    /* the target, as the source cannot hold them */
    BM_PLACE_TARGET_BETTER, /* the target, as the source gives errors */
};
#define BM_PLACE_COUNT (BM_PLACE_TARGET_BETTER + 1)

enum bm_place bm_place_decide(enum bm_place_asked asked, unsigned facts);
bool bm_place_is_target(enum bm_place place);

#endif
