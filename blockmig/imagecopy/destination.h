// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Where a copy lands: a new file, which is written under a temporary name; a
 * block device or an NBD export, which are written in place. And the names of
 * what stands beside it meanwhile.
 */
#ifndef BM_IMAGECOPY_DESTINATION_H
#define BM_IMAGECOPY_DESTINATION_H

#include "blockmig/imagecopy/image-copy.h"

enum bm_landing_kind { BM_LANDING_FILE, BM_LANDING_DEVICE, BM_LANDING_SERVER };

struct bm_landing {
    enum bm_landing_kind kind;
    char *name;         /* as it is to be called */
    char *part;         /* where the bytes go */
    char *state;        /* the state file */
    char *spool;        /* the digests in the making */
    const char *format; /* borrowed */
    int old;   /* the file that is to be replaced, held against writers; -1 */
    int claim; /* the temporary file, or the device, held against another copy
                * to the same place; -1 */
};
void bm_landing_clear(struct bm_landing *landing);

/* Looks, and changes nothing: a file that exists, a signature on a device
 * (without `force`), a file that someone writes, a missing folder are
 * refused. Clear it afterwards, also when it failed. */
int bm_landing_look(const struct bm_transfer *transfer,
                    struct bm_landing *landing, struct bm_error *err);

/* Refuses a target that is the source, or one of its backing files. */
int bm_landing_apart(const struct bm_landing *landing, const char *source,
                     const char *format, struct bm_error *err);
/* A server may export the very file that is read, and take no lock on it: so,
 * once it is connected, refuses a source that someone can write. Where a
 * file system cannot tell (leases: fcntl(2)), nothing is refused. */
int bm_landing_unwritten(const struct bm_landing *landing, const char *source,
                         const char *format, struct bm_error *err);

/* Makes the temporary file anew, for an image of size bytes; for the other
 * kinds the folder of their state. */
int bm_landing_make(const struct bm_landing *landing, const char *state_dir,
                    uint64_t size, struct bm_error *err);
/* A raw file that ddrescue has not yet written to its end gets its size. */
int bm_landing_extend(const struct bm_landing *landing, uint64_t size,
                      struct bm_error *err);
/* The file that bears the name already becomes the temporary one. */
int bm_landing_adopt(struct bm_landing *landing, struct bm_error *err);
/* No other copy to the same place from now on: -EBUSY, there is one. */
int bm_landing_claim(struct bm_landing *landing, struct bm_error *err);
/* Takes the state of an earlier copy away, durably. */
int bm_landing_forget(const struct bm_landing *landing, struct bm_error *err);
bool bm_landing_exists(const struct bm_landing *landing);

/* Opens it for writing (fresh: it was just made), or for re-reading. */
int bm_landing_write(const struct bm_landing *landing,
                     const struct bm_transfer *transfer, bool fresh,
                     struct bm_device **out, struct bm_error *err);
int bm_landing_read(const struct bm_landing *landing,
                    const struct bm_transfer *transfer, struct bm_device **out,
                    struct bm_error *err);

/* Gives it its name, durably, and takes away what stands beside it. A file
 * that has appeared there meanwhile is replaced with `force` only. */
int bm_landing_land(const struct bm_landing *landing, bool force,
                    struct bm_error *err);

#endif
