// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A job (one move of one domain's disks, or one merge of their layers) and its
 * journal: everything a later process needs to go on or go back after a kill
 * -9. Each part names who writes it; what is const the compiler guards. So a
 * job always lies in memory of its own (bm_job_new), never in a variable.
 *
 * Threads: the owner of the run (run/context.h).
 */
#ifndef BM_JOB_JOB_H
#define BM_JOB_JOB_H

#include "blockmig/job/job-snapshot.h"
#include "blockmig/job/job-state.h"
#include "blockmig/job/job-strategy.h"
#include "nbd/base/error.h"
#include "snapshot/domain/chain.h"

#include <errno.h>
#include <libvirt/libvirt.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define BM_JOB_ID_LEN 9 /* 8 hex digits and a NUL */

/* A layer below the top one of a chain that is kept: it gets an image of its
 * own. */
struct bm_job_layer {
    uint64_t size;                   /* bytes, of the image as QEMU sees it */
    uint64_t source_dev, source_ino; /* of the old one */
    uint64_t dest_dev, dest_ino;     /* of the file we made; 0: not yet */
    char *create;       /* how it is made: qemu-img's -o, or NULL */
    bool relative;      /* it names its backing file without the folder */
    bool make_sent;     /* journal: before it is made */
    int64_t image_ns;   /* when it was last written by us (mtime) */
    int64_t changed_ns; /* and its ctime then, which nobody can set back */
    bool kept, deleted; /* the old one, after release */
};

/* The disk of a job as it was planned. Filled by plan/, never changed later. */
struct bm_job_disk_fixed {
    uint64_t capacity;               /* bytes, guest-visible */
    uint64_t source_dev, source_ino; /* of the top image when the job began */
    char *shared;    /* why the layers below `lower` stay where they are, or
                      * NULL */
    char *create;    /* as of struct bm_job_layer, of the new image itself */
    bool relative;   /* likewise */
    bool dest_block; /* an existing block device: never unlinked */
    char *switch_overlay;     /* the switch overlay on the new side */
    char *rollback_overlay;   /* the overlay of the way back */
    char *mirror_overlay;     /* staged: the overlay on the new image that QEMU
                               * copies into */
    char *source_overlay_dir; /* staged: the folder of the overlays on the old
                                 side */
};

/* The new image's file: written by the steps that make it and write to it. */
struct bm_job_image {
    uint64_t dev, ino;  /* of the file we made; 0: not made yet */
    bool make_sent;     /* journal: before it is made */
    bool copy_sent;     /* journal: before libvirt is asked to copy into it */
    int64_t image_ns;   /* when it was last written by us (mtime) */
    int64_t changed_ns; /* and its ctime then, which nobody can set back */
};

/* The overlays on a disk: written where they are made, seen and merged. */
struct bm_job_overlays {
    int n_source;      /* how many of source's uppermost layers are ours */
    int source_seen;   /* the last one that both XMLs have shown */
    bool freeze_seen;  /* both XMLs have shown bm_job_freeze_overlay since */
    bool merge_proven; /* the mirror overlay is in the new image: that was read
                          back */
    int64_t below_ns;  /* of the image below an overlay that only QEMU knows
                        * (orphan-overlay.h): when it was last written to; 0:
                        * unknown */
};

/* What a rescue left: bytes that could not be read, that an older copy filled,
 * and in whose blocks nothing is proven. */
struct bm_job_rescue {
    char *map; /* its map, which is there once a bad sector was met */
    uint64_t unreadable_bytes, filled_bytes, unproven_bytes;
};

/* The proof of a disk: written by the steps that compare. */
struct bm_job_proof {
    bool proven;
    uint64_t bytes, read, different;
    uint64_t repaired; /* bytes that had to be written twice */
    char medium[16];
    char digest_source[65], digest_dest[65];
};

struct bm_job_disk {
    char *target; /* vda */
    const struct bm_job_disk_fixed fixed;
    /* What it was when the job began; staged: under our source overlays. */
    struct bm_chain source;
    /* The new image; staged: under the mirror overlay, until that is merged. A
     * chain that is kept goes on below it: the n_lower new images of `lower`,
     * from the top, then what stays where it is; `below` of them in all. */
    struct bm_chain dest;
    int below;
    struct bm_job_layer *lower;
    size_t n_lower;
    struct bm_job_image image;
    struct bm_job_overlays overlays;
    struct bm_job_rescue rescue;
    struct bm_job_proof proof;
    int64_t source_ns; /* cold: when the chain was last changed; 0: unknown */
    bool flushed;      /* pull: what was pulled into the new image is durable */
    bool kept, deleted; /* the source, after release */
};

/* What was asked for. Filled by plan/; `job resume --accept` alone withdraws
 * the proof and the deletion. */
struct bm_job_request {
    bool proof;         /* --proof full */
    bool source_delete; /* --source delete */
    bool force;
    bool quiesce;          /* by the guest's agent, for the first freeze */
    bool drop_checkpoints; /* those that need a bitmap in a raw image */
    bool rescue;           /* --on-read-error rescue */
    uint64_t overlay_max;  /* bytes, of our overlays on one disk; 0: any */
    char *format;          /* keep, raw, qcow2 */
    char *fill_from;       /* an older copy, or NULL */
};

/* What may be changed while it runs, by `job set` alone (control/limits.h). */
struct bm_job_limits {
    uint64_t bandwidth;   /* bytes/s, 0: none */
    double guest_latency; /* times what it was; 0: not held */
    int max_pause_ms;
    int64_t settle_ms;   /* how long the way back stays open */
    uint64_t switch_max; /* bytes, staged: of the last source overlay */
};

/* What was decided. Filled by plan/, never changed later. */
struct bm_job_plan {
    enum bm_strategy strategy;
    char *why;       /* this strategy */
    char *chain;     /* keep, flatten, all: as it was decided */
    bool on_target;  /* the source overlays stand there: the guest needs both
                        stores */
    char *place_why; /* why the source overlays stand where they do */
    bool was_active; /* the guest ran when the job began */
};

/* How far a staged move has come: written by its own steps. */
struct bm_job_staged {
    int overlays_sent;  /* how many source overlays were, or are to be, made */
    int overlays_asked; /* and the last that a freeze was asked for with */
    int rounds;   /* views in the new images: the base, then source overlays */
    bool off;     /* the guest went off, and all it wrote is there */
    bool carried; /* the new images have the bitmaps of those views */
};

/* What became of the guest: written by the steps that pause it, freeze its file
 * systems and switch it, and by the watch over the room of its overlays. */
struct bm_job_guest {
    bool window_paused; /* we asked for a suspend and saw no resume yet */
    bool fs_frozen;   /* the same of a freeze of its file systems, and a thaw */
    bool quiesced;    /* they were frozen for the whole first freeze */
    bool pivot_asked; /* or may be: the guest may run on the new images */
    bool top_asked;   /* a freeze was asked for with bm_job_freeze_overlay */
    bool unclean;     /* the guest may have written to the new image before
                       * it was frozen: old and new cannot be compared */
    bool doubt;       /* the window was ended by recovery, unwatched before */
    bool ballast;     /* files that hold a reserve of room are, or were, made */
    bool space_paused; /* QEMU has paused the guest since our overlay ran out of
                        * room, and we have not seen it run again */
};

/* What was measured, by the host's clock, and how it ended. */
struct bm_job_result {
    int pauses;
    double pause_ms_total, pause_ms_longest;
    int64_t copy_ms, prove_ms, total_ms;
    int64_t ended_ms; /* wall clock; 0: not ended */
    int exit_status;
    char *error; /* one line, NULL: none */
};

struct bm_job {
    char id[BM_JOB_ID_LEN];
    char uuid[VIR_UUID_STRING_BUFLEN];
    char *domain, *uri, *host, *store;
    int64_t created_ms, updated_ms; /* wall clock */
    const enum bm_state state;      /* changed by bm_job_set_state alone */
    enum bm_state from; /* held, needs-recovery: the state it stopped in */
    bool cancel;        /* a cancel was asked for */
    bool paused;        /* by the user, while the process lives */
    int64_t settled_ms; /* wall clock; 0: not yet */
    const struct bm_job_request request;
    const struct bm_job_plan plan;
    struct bm_job_limits limits;
    struct bm_job_staged staged;
    struct bm_job_guest guest;
    struct bm_job_result result;
    struct bm_job_disk *disks;
    size_t n_disks;
    struct bm_job_snapshot *snapshot; /* NULL: a move; of a strategy of moves:
                                       * one in place (flatten, pull) */
};

/* The parts that are const, for those who fill them: plan/, the reader of the
 * journal, and where the comment of a part says so. */
struct bm_job_request *bm_job_fill_request(struct bm_job *job);
struct bm_job_plan *bm_job_fill_plan(struct bm_job *job);
struct bm_job_disk_fixed *bm_job_fill_disk(struct bm_job_disk *disk);
/* The one place that changes the state. It is in force when the journal says
 * so: the caller writes it. */
void bm_job_set_state(struct bm_job *job, enum bm_state state);

/* "move", "merge", ...: for messages. */
const char *bm_job_noun(const struct bm_job *job);

/* Eight hex digits in lower case: what may become part of a file name. */
bool bm_job_id_valid(const char *id);

struct bm_job *bm_job_new(void); /* a fresh random id; NULL: out of memory */
void bm_job_free(struct bm_job *job); /* accepts NULL */
/* The whole job as one JSON document (the journal), and back. Caller frees.
 * Reading is strict: a field that is missing or of a wrong type is an error
 * that names it (EBADMSG). */
char *bm_job_to_json(const struct bm_job *job);
int bm_job_from_json(const char *text, struct bm_job **out,
                     struct bm_error *err);

/* Nothing was switched yet: going back is ending our copies. */
bool bm_job_before_switch(const struct bm_job *job);

/* HELD, see the error: the switch left the two sides of different instants; or
 * there is no way back for now, and job->state is where to go on; or somebody,
 * or a libvirt that died, has done what only a person can judge. */
#define BM_NEEDS_OPERATOR EUCLEAN
/* -BM_NEEDS_OPERATOR with BM_EXIT_HELD: the move cannot go on; the caller adds
 * why. */
int bm_job_needs_operator(const struct bm_job *job, struct bm_error *err);

#endif
