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

enum bm_destination_kind {
    BM_DESTINATION_FILE,
    BM_DESTINATION_DEVICE,
    BM_DESTINATION_SERVER
};

struct bm_destination {
    enum bm_destination_kind kind;
    char *name;         /* as it is to be called */
    char *part;         /* where the bytes go */
    char *state;        /* the state file */
    char *spool;        /* the digests in the making */
    const char *format; /* borrowed */
    int old;   /* the file that is to be replaced, held against writers; -1 */
    int claim; /* the temporary file, or the device, held against another copy
                * to the same place; -1 */
};
void bm_destination_clear(struct bm_destination *destination);

/* Looks, and changes nothing: a file that exists, a signature on a device
 * (without `force`), a file that someone writes, a missing folder are
 * refused. Clear it afterwards, also when it failed. */
int bm_destination_look(const struct bm_image_copy *copy,
                        struct bm_destination *destination,
                        struct bm_error *err);

/* Refuses a target that is the source, or one of its backing files. */
int bm_destination_apart(const struct bm_destination *destination,
                         const char *source, const char *format,
                         struct bm_error *err);
/* A server may export the very file that is read, and take no lock on it: so,
 * once it is connected, refuses a source that someone can write. Where a
 * file system cannot tell (leases: fcntl(2)), nothing is refused. */
int bm_destination_unwritten(const struct bm_destination *destination,
                             const char *source, const char *format,
                             struct bm_error *err);

/* Makes the temporary file anew, for an image of size bytes; for the other
 * kinds the folder of their state. */
int bm_destination_make(const struct bm_destination *destination,
                        const char *state_dir, uint64_t size,
                        struct bm_error *err);
/* A raw file that ddrescue has not yet written to its end gets its size. */
int bm_destination_extend(const struct bm_destination *destination,
                          uint64_t size, struct bm_error *err);
/* The file that bears the name already becomes the temporary one. */
int bm_destination_adopt(struct bm_destination *destination,
                         struct bm_error *err);
/* No other copy to the same place from now on: -EBUSY, there is one. */
int bm_destination_claim(struct bm_destination *destination,
                         struct bm_error *err);
/* Takes the state of an earlier copy away, durably. */
int bm_destination_forget(const struct bm_destination *destination,
                          struct bm_error *err);
bool bm_destination_exists(const struct bm_destination *destination);

/* Opens it for writing (fresh: it was just made), or for re-reading. */
int bm_destination_write(const struct bm_destination *destination,
                         const struct bm_image_copy *copy, bool fresh,
                         struct bm_device **out, struct bm_error *err);
int bm_destination_read(const struct bm_destination *destination,
                        const struct bm_image_copy *copy,
                        struct bm_device **out, struct bm_error *err);

/* Gives it its name, durably, and takes away what stands beside it. A file
 * that has appeared there meanwhile is replaced with `force` only. */
int bm_destination_land(const struct bm_destination *destination, bool force,
                        struct bm_error *err);

#endif
