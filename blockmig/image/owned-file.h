// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The files a move makes and takes away. A file is deleted only when it is
 * provably ours.
 */
#ifndef BM_IMAGE_OWNED_FILE_H
#define BM_IMAGE_OWNED_FILE_H

#include "nbd/base/error.h"

#include <stdbool.h>
#include <stdint.h>

/* Makes an empty file, 0600, that did not exist (O_EXCL), and the name
 * durable. Fills its identity. -EEXIST: someone's file stands there. */
int bm_file_make(const char *path, uint64_t *dev, uint64_t *ino,
                 struct bm_error *err);
/* Whether path is that very file. ino 0: never. */
bool bm_file_is(const char *path, uint64_t dev, uint64_t ino);
/* -errno when its store cannot even tell whether there is such a file, with
 * BM_EXIT_HELD: what bm_file_is says means nothing then. */
int bm_file_look(const char *path, struct bm_error *err);
/* Unlinks; a file that is not there is fine. The removal is durable. */
int bm_file_remove(const char *path, struct bm_error *err);
/* The same for a large file, slowly: a file system that frees gigabytes at once
 * (and discards them) holds up everyone's writes for 30 ms. What somebody has
 * open, or has by another name, only loses this name. */
int bm_file_remove_slowly(const char *path, struct bm_error *err);
/* The folder part of a path. Caller frees; NULL: out of memory. */
char *bm_file_folder(const char *path);
/* fdatasync until one takes under 20 ms, three at most, so that the flush
 * QEMU is about to do is short (docs/pitfalls.md P60). It only helps: a
 * file we may not open is left alone. */
void bm_file_calm(const char *path);

#endif
