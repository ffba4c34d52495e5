// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What an image is, apart from its name: so that a copy that goes on knows
 * that it is about the same bytes. One line of text; callers free it; NULL:
 * out of memory, or why it cannot be told is in err.
 */
#ifndef BM_IMAGE_FILE_IDENTITY_H
#define BM_IMAGE_FILE_IDENTITY_H

#include "nbd/base/error.h"

#include <stdint.h>

/*
 * Of the bytes: for each file of the chain its inode, size and time of change;
 * for a device what was written to it since the host started. Of a server only
 * the size is known: that it serves the same bytes is the user's to see to.
 * format NULL: probed.
 */
char *bm_identity_of_content(const char *where, const char *format,
                             uint64_t size, struct bm_error *err);

/* The same of one file or device, whatever it stands on. */
char *bm_identity_of_file(const char *path, struct bm_error *err);

/* Of the place: which file, and when it was made (an inode that is used again
 * is another file); which device; a server of which size. */
char *bm_identity_of_place(const char *where, uint64_t size,
                           struct bm_error *err);

#endif
