// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What must survive a power cut. Threads: any.
 */
#ifndef BM_NBD_BASE_FSYNC_H
#define BM_NBD_BASE_FSYNC_H

#include "nbd/base/error.h"

/* fsync of the file or device. */
int bm_fsync_file(const char *path, struct bm_error *err);

/* fsync of the folder that holds path: after it the name survives too. */
int bm_fsync_folder_of(const char *path, struct bm_error *err);

#endif
