// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Images by qemu-img: we never parse a format ourselves. An image is named
 * by its whole chain with explicit formats (from libvirt's live XML), never
 * probed, so a guest cannot make us follow a header it wrote.
 */
#ifndef BM_NBD_IMAGE_QEMU_IMG_H
#define BM_NBD_IMAGE_QEMU_IMG_H

#include "nbd/exec/run-program.h"
#include "nbd/base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One layer of a chain, the active one first. Strings are borrowed. */
struct bm_image_layer {
    const char *path;
    const char *format; /* "raw", "qcow2", ... */
    bool block;         /* a host block device */
    uint64_t slice;     /* bytes: of raw the first so many are the image; 0:
                         * all of them */
};

/* What `qemu-img info -U` says. Free with bm_image_info_clear. */
struct bm_image_info {
    uint64_t virtual_size; /* bytes */
    uint64_t actual_size;  /* bytes allocated on the host */
    char *format;
    char *backing; /* full backing file name, or NULL */
    char *backing_format;
    unsigned snapshots; /* internal ones */
    unsigned bitmaps;   /* persistent dirty bitmaps */
    bool encrypted;
    bool data_file; /* an external data file */
    bool relative;  /* the header names the backing file without a folder, or
                     * from the image's own */
    /* What another image must be made with (`qemu-img create -o`) to be of the
     * same kind: cluster size, compat, ...; NULL: nothing is to be said. */
    char *options;
    bool thick; /* all of it has room on the host: it was preallocated, or
                 * written all over, which cannot be told apart */
};
void bm_image_info_clear(struct bm_image_info *info);

/* format must be given (no probing) unless NULL is asked for on purpose. */
int bm_image_read_info(const char *path, const char *format,
                       struct bm_image_info *info, struct bm_error *err);

/*
 * Calls visit for each layer of an image, the image itself first (depth 0), as
 * the headers name them. format NULL: probed. Ends when visit returns other
 * than 0, and returns that; 0 after the last layer, or 200 of them.
 */
typedef int (*bm_image_visit)(void *opaque, unsigned depth, const char *layer,
                              struct bm_error *err);
int bm_image_walk(const char *path, const char *format, bm_image_visit visit,
                  void *opaque, struct bm_error *err);

/* The chain as a json: file name that names every layer's driver; the last
 * layer's backing is null. cache_none opens with O_DIRECT. Caller frees;
 * NULL when out of memory. */
char *bm_image_spec(const struct bm_image_layer *layers, size_t n,
                    bool cache_none);

/* The same, without locks. (QEMU 7.2: force-share=on still asks for the lock of
 * "consistent read", which a commit does not grant on what it merges, nor can
 * it begin while somebody has that.) */
char *bm_image_spec_shared(const struct bm_image_layer *layers, size_t n,
                           bool cache_none);

/* `qemu-img commit -d`: the top layer, and all between, into base, which must
 * be named as the headers name it; NULL: into the one below it. The files
 * stay. All by explicit format. */
int bm_image_commit(const char *top, const char *top_format, const char *base,
                    struct bm_error *err);

/* The same at `rate` bytes a second at most (0: any). tick: a thousandth of the
 * work that is done, now and then; what it returns is as of bm_child_tick
 * (nbd/exec/run-program.h). -ECANCELED: the base has a part of it. */
typedef int (*bm_image_tick)(void *opaque, unsigned thousandths);
int bm_image_commit_at(const char *top, const char *top_format,
                       const char *base, uint64_t rate, bm_image_tick tick,
                       void *opaque, struct bm_error *err);

/* What a header says for that layer, as libvirt has it written: the path, or of
 * a slice a json: name. Caller frees; NULL: out of memory. */
char *bm_image_backing_name(const struct bm_image_layer *layer);

/* The file that a header's name of its backing file means: a path, file: or
 * json:. *out is the caller's; NULL: it is over a network. -EINVAL: it cannot
 * be told; -ENOMEM. */
int bm_image_name_file(const char *name, char **out);

/* The file that an image stands on, by its header; format NULL: probed. *out is
 * the caller's; NULL: none, one over a network, or the image is not there.
 * Negative: it is there, and cannot be followed. */
int bm_image_below(const char *path, const char *format, char **out,
                   struct bm_error *err);

/* `qemu-img rebase -u`: rewrites the backing link of a qcow2, nothing else. */
int bm_image_rebase_unsafe(const char *path, const char *backing,
                           const char *backing_format, struct bm_error *err);

/* `qemu-img rebase` onto nothing: a qcow2 gets all that its backing files hold,
 * and has none any more. Killed or cancelled, it is as good as before. progress
 * may be NULL; it gets parts of `total`, and non-zero from it cancels. */
typedef int (*bm_image_progress)(void *opaque, uint64_t done, uint64_t total);
int bm_image_flatten(const char *path, bm_image_progress progress, void *opaque,
                     struct bm_error *err);

/* `qemu-img check`: 0 clean (leaks are clean), -EUCLEAN not, other errors. A
 * format that has nothing to check (raw) is clean. */
int bm_image_check(const char *path, const char *format, struct bm_error *err);

/* Whether every layer can be opened with O_DIRECT, as far as open(2) tells. */
bool bm_image_direct(const struct bm_image_layer *layers, size_t n);

/* The errno behind a message of a QEMU tool in the C locale: EBUSY for its
 * image locks, ENOENT, EACCES, ENOSPC, ...; EIO when it cannot be told. */
int bm_qemu_errno(const char *message);

#endif
