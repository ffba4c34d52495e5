// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The overlays of one freeze under suspicion, for the files lost*.c.
 */
#ifndef BM_STEP_ORPHAN_PRIVATE_H
#define BM_STEP_ORPHAN_PRIVATE_H

#include "blockmig/step/orphan-overlay.h"

enum look_result {
    LOOK_NAMED,
    LOOK_UNSAVED, /* by the live XML alone */
    LOOK_NOTHING, /* there is no such image */
    LOOK_EMPTY,
    LOOK_HOLDS, /* what the guest wrote, and no XML names it */
    LOOK_OPEN,  /* in QEMU, and no XML names it */
};

struct suspect {
    size_t disk;
    char *path;            /* owned */
    struct bm_chain below; /* what it was put on; borrowed */
    bool seen;             /* what no XML names any more was merged */
    enum look_result look;
};

/* bm_job_needs_operator: nobody can tell whether it is needed. */
int bm_orphan_without(const struct bm_run *run, const struct suspect *s,
                      struct bm_error *err);
/* Fills s->look. Waits a while for libvirt to show what QEMU has open. */
int bm_orphan_look(struct bm_run *run, struct suspect *s, struct bm_error *err);

/* What lies below is not written to as long as QEMU has them open and writes to
 * them; if it does not, they are empty. In the journal with the next save. */
void bm_orphan_note_below(struct bm_run *run, const struct suspect *all);
/* LOOK_UNSAVED: what the live XML shows, into the saved one. */
int bm_orphan_save(struct bm_run *run, const struct suspect *s,
                   struct bm_error *err);
/* The guest is off: the XML names them again, all of them, as one transaction
 * has put them on; or bm_orphan_without. What lies below is locked meanwhile.
 */
int bm_orphan_give_back(struct bm_run *run, const struct suspect *all,
                        enum bm_overlay_side which, struct bm_error *err);

#endif
