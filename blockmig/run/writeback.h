// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Write-behind. What QEMU writes through the page cache to an image that the
 * guest flushes, the guest's next flush waits for: all of it. So a thread
 * sends it on its way to the medium soon, and a flush finds little.
 *
 * It promises nothing: durable is what was flushed (sync_file_range(2)). Of an
 * image that is opened around the page cache there is nothing to be sent.
 *
 * Threads: one caller at a time; the work is done by a thread of its own.
 */
#ifndef BM_RUN_WRITEBACK_H
#define BM_RUN_WRITEBACK_H

#include <stddef.h>

struct bm_writeback;

/* NULL: no memory, or no thread; then flushes take what they take. */
struct bm_writeback *bm_writeback_start(void);
/* From now on these images. Takes over the n strings. What is not there (yet)
 * is passed over. */
void bm_writeback_follow(struct bm_writeback *writeback, char *paths[],
                         size_t n);
/* Accepts NULL. A thread that hangs in a store is left behind. */
void bm_writeback_stop(struct bm_writeback *writeback);

#endif
