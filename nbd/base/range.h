// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A range of a device: [offset, offset + length).
 */
#ifndef BM_NBD_BASE_RANGE_H
#define BM_NBD_BASE_RANGE_H

#include <stdint.h>

struct bm_range {
    uint64_t offset, length;
};

#endif
