// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* What the tests of bitmaps share. */
#ifndef TESTS_UNIT_BITMAP_FIXTURE_H
#define TESTS_UNIT_BITMAP_FIXTURE_H

#include "nbd/map/bitmap.h"
#include "tests/unit/fixture.h"

#include <errno.h>

#define KIB 1024u
#define TIB (UINT64_C(1) << 40)
#define BLOCK (64 * KIB)

static inline uint64_t any(unsigned *seed)
{
    return (uint64_t)rand_r(seed) << 31 ^ (unsigned)rand_r(seed);
}

#endif
