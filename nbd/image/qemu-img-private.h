// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * How qemu-img is called, for the files image*.c.
 */
#ifndef BM_NBD_IMAGE_QEMU_IMG_PRIVATE_H
#define BM_NBD_IMAGE_QEMU_IMG_PRIVATE_H

#include "nbd/base/error.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <sys/stat.h>

/* QEMU takes "x:y" for a protocol and "-x" for an option, not "./x:y". Caller
 * frees; NULL: out of memory. */
char *bm_image_plain_name(const char *path);
/* Gives a failed QEMU tool the errno that its words mean. */
int bm_image_refine(int rc, struct bm_error *err);
/* What `qemu-img info -U` says; format as of bm_image_info. Caller puts. */
int bm_image_info_json(const char *path, const char *format,
                       struct json_object **out, struct bm_error *err);

/* What a file is, and how it begins. */
struct bm_image_look {
    struct stat st;
    char head[80];
    size_t n; /* bytes of head */
};
/* Reads so many bytes of it, sizeof head at most. false: it cannot be looked
 * at, or its store does not answer within three seconds. Threads: any. */
bool bm_image_look_at(const char *path, size_t want, struct bm_image_look *out);

/* By the format that is stated (or NULL), or by its first bytes: no header that
 * names a backing file is there. false: there may be one, or nobody can tell.
 * Threads: any. */
bool bm_image_names_none(const char *path, const char *format);

/*
 * A memo of qemu-img's answers, which lasts as long as the process. Threads:
 * any.
 *
 * Settled: a regular file whose last change is so long ago that another one
 * would have another time. Only for such the rest is of use, with its state
 * from before the answer was asked for.
 */
bool bm_image_settled(const char *path, struct stat *st);
/* The answer for that file as it is now; NULL: none. Caller frees. */
char *bm_image_recall(const char *path, const char *format,
                      const struct stat *st);
void bm_image_remember(const char *path, const char *format,
                       const struct stat *st, const char *text);

static inline void bm_image_put_json(struct json_object **json)
{
    if (*json)
        json_object_put(*json);
}
#define BM_IMAGE_JSON __attribute__((cleanup(bm_image_put_json)))

#endif
