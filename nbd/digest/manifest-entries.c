// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/digest/manifest-file.h"

#include "nbd/base/cleanup.h"

#include <errno.h>
#include <string.h>

/* Entries are written in pieces that end where pages of the file do, so that
 * a page of zeroes stays a hole. */
#define PAGE 4096u
#define READ_BYTES ((size_t)256 << 10)

static int check_range(const struct bm_manifest *m, uint64_t first, uint64_t n,
                       struct bm_error *err)
{
    if (n <= m->blocks && first <= m->blocks - n)
        return 0;
    return bm_fail_errno(err, EINVAL, "no such blocks in %s", m->name);
}

static int check_set(const struct bm_manifest *m, uint64_t first, uint64_t n,
                     struct bm_error *err)
{
    if (m->finished)
        return bm_fail_errno(err, EROFS, "cannot write %s", m->name);
    return check_range(m, first, n, err);
}

/* Entries up to the end of a page of the file, at most n. */
static size_t up_to_page(const struct bm_manifest *m, uint64_t first,
                         uint64_t n)
{
    size_t page = PAGE / m->digest->len, left = page - first % page;

    return n < left ? (size_t)n : left;
}

static bool is_unaligned(const struct bm_manifest *m, uint64_t block)
{
    return m->unaligned && block == m->blocks - 1;
}

/* --- setting --- */

/* A zero block's digest says the same as a zero entry: one form for both, so
 * that equal blocks have equal entries. */
static bool is_zero(const struct bm_manifest *m, uint64_t block,
                    const uint8_t *md, bool told)
{
    return !is_unaligned(m, block) &&
           (told || memcmp(md, m->zero, m->digest->len) == 0);
}

/* Entries of one page. */
static int set_some(struct bm_manifest *m, uint64_t first, size_t n,
                    const uint8_t *mds, const bool *zero, struct bm_error *err)
{
    size_t len = m->digest->len, zeroes = 0;
    uint64_t place = bm_manifest_place(m, first);
    uint8_t page[PAGE];

    memcpy(page, mds, n * len);
    for (size_t i = 0; i < n; i++)
        if (is_zero(m, first + i, mds + i * len, zero && zero[i])) {
            memset(page + i * len, 0, len);
            zeroes++;
        }
    return zeroes == n ? bm_manifest_clear(m, place, n * len, err)
                       : bm_manifest_write(m, page, n * len, place, err);
}

int bm_manifest_set(struct bm_manifest *m, uint64_t first, size_t n,
                    const uint8_t *mds, const bool *zero, struct bm_error *err)
{
    int rc = check_set(m, first, n, err);

    for (size_t i = 0, some; rc == 0 && i < n; i += some) {
        some = up_to_page(m, first + i, n - i);
        rc = set_some(m, first + i, some, mds + i * m->digest->len,
                      zero ? zero + i : NULL, err);
    }
    return rc;
}

int bm_manifest_set_zero(struct bm_manifest *m, uint64_t first, uint64_t n,
                         struct bm_error *err)
{
    bool unaligned = n > 0 && is_unaligned(m, first + n - 1);
    int rc = check_set(m, first, n, err);

    if (rc == 0 && n > unaligned)
        rc = bm_manifest_clear(m, bm_manifest_place(m, first),
                               (n - unaligned) * m->digest->len, err);
    if (rc == 0 && unaligned)
        rc = bm_manifest_write(m, m->unaligned_zero, m->digest->len,
                               bm_manifest_place(m, m->blocks - 1), err);
    return rc;
}

int bm_manifest_set_unknown(struct bm_manifest *m, uint64_t first, uint64_t n,
                            struct bm_error *err)
{
    int rc = check_set(m, first, n, err);
    uint8_t page[PAGE];

    memset(page, 0xff, sizeof page);
    for (size_t some; rc == 0 && n > 0; first += some, n -= some) {
        some = up_to_page(m, first, n);
        rc = bm_manifest_write(m, page, some * m->digest->len,
                               bm_manifest_place(m, first), err);
    }
    return rc;
}

/* --- reading --- */

static enum bm_entry kind_of(const uint8_t *entry, size_t len)
{
    if (entry[0] != 0 && entry[0] != 0xff)
        return BM_ENTRY_DATA;
    if (memcmp(entry, entry + 1, len - 1) != 0) /* they are not all alike */
        return BM_ENTRY_DATA;
    return entry[0] ? BM_ENTRY_UNKNOWN : BM_ENTRY_ZERO;
}

int bm_manifest_get(const struct bm_manifest *m, uint64_t first, size_t n,
                    uint8_t *mds, enum bm_entry *kinds, struct bm_error *err)
{
    size_t len = m->digest->len;
    int rc = check_range(m, first, n, err);

    if (rc == 0)
        rc =
            bm_manifest_read(m, mds, n * len, bm_manifest_place(m, first), err);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        kinds[i] = kind_of(mds + i * len, len);
        if (kinds[i] == BM_ENTRY_ZERO)
            memcpy(mds + i * len, m->zero, len);
    }
    return rc;
}

/* Some entries as they are in the file: how many fit into buf, at most up to
 * `end`. */
static int read_some(const struct bm_manifest *m, uint64_t first, uint64_t end,
                     uint8_t *buf, size_t *n, struct bm_error *err)
{
    size_t len = m->digest->len, max = READ_BYTES / len;

    *n = end - first < max ? (size_t)(end - first) : max;
    return bm_manifest_read(m, buf, *n * len, bm_manifest_place(m, first), err);
}

/* --- the root --- */

static void free_root(struct bm_root **root)
{
    bm_root_free(*root);
}

/* Feeds entries, in runs of one kind. */
static int feed(const struct bm_manifest *m, struct bm_root *root,
                const uint8_t *entries, size_t n, bool *partial)
{
    size_t len = m->digest->len;
    int rc = 0;

    for (size_t i = 0, end; rc == 0 && i < n; i = end) {
        bool zero = kind_of(entries + i * len, len) == BM_ENTRY_ZERO;

        for (end = i; end < n; end++) {
            enum bm_entry kind = kind_of(entries + end * len, len);

            if ((kind == BM_ENTRY_ZERO) != zero)
                break;
            *partial = *partial || kind == BM_ENTRY_UNKNOWN;
        }
        rc = zero ? bm_root_add_zero(root, end - i)
                  : bm_root_add(root, entries + i * len, end - i);
    }
    return rc;
}

static int hash_failed(const struct bm_manifest *m, struct bm_error *err)
{
    return bm_fail(err, EIO, "cannot compute %s", m->digest->name);
}

static int feed_all(const struct bm_manifest *m, struct bm_root *root,
                    bool *partial, struct bm_error *err)
{
    BM_FREE uint8_t *buf = malloc(READ_BYTES);
    uint64_t block = 0;

    if (!buf)
        return bm_fail_errno(err, ENOMEM, "cannot read %s", m->name);
    while (block < m->blocks) {
        uint64_t hole = bm_manifest_hole(m, block);
        size_t n;
        int rc;

        if (bm_root_add_zero(root, hole) != 0)
            return hash_failed(m, err);
        block += hole;
        rc = read_some(m, block, m->blocks, buf, &n, err);
        if (rc != 0)
            return rc;
        if (feed(m, root, buf, n, partial) != 0)
            return hash_failed(m, err);
        block += n;
    }
    return 0;
}

int bm_manifest_root(const struct bm_manifest *m, char hex[BM_DIGEST_HEX],
                     bool *partial, struct bm_error *err)
{
    __attribute__((cleanup(free_root))) struct bm_root *root =
        bm_root_new(m->digest, err);
    int rc;

    if (!root)
        return -EIO;
    *partial = false;
    memset(hex, 0, BM_DIGEST_HEX);
    rc = feed_all(m, root, partial, err);
    if (rc == 0 && bm_root_final(root, m->length, hex) != 0)
        rc = hash_failed(m, err);
    return rc;
}

/* --- the difference --- */

struct diff {
    const struct bm_manifest *a, *b;
    bm_manifest_told told;
    void *opaque;
    uint64_t length;      /* of the longer image */
    uint64_t first, next; /* blocks of the run that goes on; equal: none */
};

static void tell(struct diff *d)
{
    uint64_t start = d->first * BM_DIGEST_BLOCK;
    uint64_t end = d->next * BM_DIGEST_BLOCK;

    if (d->first < d->next)
        d->told(d->opaque, start, (end < d->length ? end : d->length) - start);
    d->first = d->next;
}

static void differ(struct diff *d, uint64_t first, uint64_t n)
{
    if (first != d->next) {
        tell(d);
        d->first = first;
    }
    d->next = first + n;
}

static void compare(struct diff *d, uint64_t block, const uint8_t *a,
                    const uint8_t *b, size_t n)
{
    size_t len = d->a->digest->len;

    for (size_t i = 0; i < n; i++)
        if (memcmp(a + i * len, b + i * len, len) != 0 ||
            kind_of(a + i * len, len) == BM_ENTRY_UNKNOWN)
            differ(d, block + i, 1);
}

/* Entries that are holes on both sides are alike. */
static uint64_t common_hole(const struct diff *d, uint64_t block)
{
    uint64_t a = bm_manifest_hole(d->a, block);
    uint64_t b = a ? bm_manifest_hole(d->b, block) : 0;

    return a < b ? a : b;
}

static int compare_common(struct diff *d, uint64_t blocks, struct bm_error *err)
{
    BM_FREE uint8_t *buf = malloc(2 * READ_BYTES);
    uint64_t block = 0;
    int rc = 0;

    if (!buf)
        return bm_fail_errno(err, ENOMEM, "cannot compare %s", d->a->name);
    while (rc == 0 && block < blocks) {
        size_t n = 0;

        block += common_hole(d, block);
        if (block < blocks)
            rc = read_some(d->a, block, blocks, buf, &n, err);
        if (rc == 0 && n > 0)
            rc = read_some(d->b, block, blocks, buf + READ_BYTES, &n, err);
        if (rc == 0)
            compare(d, block, buf, buf + READ_BYTES, n);
        block += n;
    }
    return rc;
}

int bm_manifest_diff(const struct bm_manifest *a, const struct bm_manifest *b,
                     bm_manifest_told told, void *opaque, struct bm_error *err)
{
    bool a_longer = a->length > b->length;
    const struct bm_manifest *longer = a_longer ? a : b;
    uint64_t common = a_longer ? b->blocks : a->blocks;
    struct diff d = {.a = a,
                     .b = b,
                     .told = told,
                     .opaque = opaque,
                     .length = longer->length};
    int rc;

    if (a->digest != b->digest) {
        bm_fail(err, EINVAL, "cannot compare %s and %s", a->name, b->name);
        return bm_cause(err, "they are of different digests"), -EINVAL;
    }
    rc = compare_common(&d, common, err);
    if (rc != 0)
        return rc;
    if (common < longer->blocks)
        differ(&d, common, longer->blocks - common);
    tell(&d);
    return 0;
}
