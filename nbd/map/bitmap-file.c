// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A bitmap as a file, all numbers of 8 bytes, little-endian:
 *
 *     magic "BMBITMAP", version 1, size of the device, block, in bytes;
 *     then records of set blocks: offset and length of a run in bytes, or an
 *     offset, 0 and 4 KiB with the bits of the 32768 blocks from there on;
 *     at the end the SHA-256 of all that stands before it.
 *
 * So neither a bitmap with few long runs nor one that is full of short ones
 * makes a large file: it has 64 KiB more than the bits at most.
 */
#include "nbd/map/bitmap.h"

#include "nbd/base/cleanup.h"
#include "nbd/base/atomic-replace.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define MAGIC "BMBITMAP"
#define VERSION 1
#define SUM 32
#define PAGE_WORDS 512
#define PAGE_BLOCKS (64 * PAGE_WORDS)
#define PAGE_RUNS (PAGE_WORDS / 2) /* as runs these are as long as a page */

struct head {
    char magic[8];
    uint64_t version, size, block;
};

struct record_context {
    uint64_t offset, length; /* length 0: a page follows */
};

/* A file that is written or read, and the sum of what has passed. */
struct stream {
    FILE *file;
    EVP_MD_CTX *sum;
};

static void close_stream(struct stream *s)
{
    if (s->file)
        (void)fclose(s->file);
    EVP_MD_CTX_free(s->sum);
}

#define STREAM __attribute__((cleanup(close_stream))) struct stream

/* Of a duplicate: fd stays open. */
static int open_stream(struct stream *s, int fd, const char *mode)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

    s->file = copy < 0 ? NULL : fdopen(copy, mode);
    if (!s->file) {
        int rc = -errno;

        if (copy >= 0)
            (void)close(copy);
        return rc;
    }
    s->sum = EVP_MD_CTX_new();
    return s->sum && EVP_DigestInit_ex(s->sum, EVP_sha256(), NULL) == 1
               ? 0
               : -ENOMEM;
}

/* --- saving --- */

static int put(struct stream *s, const void *data, size_t len)
{
    if (fwrite(data, 1, len, s->file) != len)
        return -errno;
    return EVP_DigestUpdate(s->sum, data, len) == 1 ? 0 : -EIO;
}

static int put_record(struct stream *s, uint64_t offset, uint64_t length)
{
    struct record_context record = {htole64(offset), htole64(length)};

    return put(s, &record, sizeof record);
}

static int put_page(struct stream *s, const struct bm_bitmap *map,
                    uint64_t page, uint64_t end)
{
    uint32_t block = bm_bitmap_block(map);
    uint64_t words[PAGE_WORDS] = {0}, at, length;
    int rc = put_record(s, page, 0);

    for (at = page; bm_bitmap_next(map, false, at, end, &at, &length);
         at += length)
        for (uint64_t i = at; i < at + length; i += block) {
            uint64_t bit = (i - page) / block;

            words[bit / 64] |= htole64(UINT64_C(1) << bit % 64);
        }
    return rc ? rc : put(s, words, sizeof words);
}

static int put_runs(struct stream *s, const struct bm_bitmap *map, uint64_t at,
                    uint64_t end)
{
    uint64_t length;
    int rc = 0;

    while (rc == 0 && bm_bitmap_next(map, false, at, end, &at, &length)) {
        rc = put_record(s, at, length);
        at += length;
    }
    return rc;
}

static bool is_dense(const struct bm_bitmap *map, uint64_t at, uint64_t end)
{
    uint64_t length;
    int runs = 0;

    while (runs <= PAGE_RUNS &&
           bm_bitmap_next(map, false, at, end, &at, &length)) {
        at += length;
        runs++;
    }
    return runs > PAGE_RUNS;
}

static int put_bits(struct stream *s, const struct bm_bitmap *map)
{
    uint64_t page = (uint64_t)PAGE_BLOCKS * bm_bitmap_block(map);
    uint64_t at = 0, length;
    int rc = 0;

    while (rc == 0 &&
           bm_bitmap_next(map, false, at, UINT64_MAX, &at, &length)) {
        uint64_t start = at / page * page, end = start + page;

        if (at + length >= end) {
            rc = put_record(s, at, length);
            end = at + length;
        } else if (is_dense(map, at, end)) {
            rc = put_page(s, map, start, end);
        } else {
            rc = put_runs(s, map, at, end);
        }
        at = end;
    }
    return rc;
}

static int put_all(int fd, const struct bm_bitmap *map)
{
    struct head head = {MAGIC, htole64(VERSION), htole64(bm_bitmap_size(map)),
                        htole64(bm_bitmap_block(map))};
    uint8_t sum[SUM];
    STREAM s = {NULL, NULL};
    int rc = open_stream(&s, fd, "w");

    if (rc == 0)
        rc = put(&s, &head, sizeof head);
    if (rc == 0)
        rc = put_bits(&s, map);
    if (rc == 0 && EVP_DigestFinal_ex(s.sum, sum, NULL) != 1)
        rc = -EIO;
    if (rc == 0 && (fwrite(sum, SUM, 1, s.file) != 1 || fflush(s.file) != 0))
        rc = -errno;
    return rc;
}

int bm_bitmap_save(const struct bm_bitmap *map, const char *path,
                   struct bm_error *err)
{
    BM_ATOMIC_REPLACE struct bm_atomic_replace file = BM_ATOMIC_REPLACE_INIT;
    int rc = bm_atomic_replace_begin(path, &file, err);

    if (rc != 0)
        return rc;
    rc = put_all(file.fd, map);
    if (rc != 0)
        return bm_fail_errno(err, -rc, "cannot write %s", path);
    return bm_atomic_replace_commit(&file, err);
}

/* --- loading: nothing is believed before the sum is --- */

static int get(struct stream *s, void *data, size_t len)
{
    if (fread(data, 1, len, s->file) == len)
        return 0;
    return ferror(s->file) ? -errno : -EBADMSG;
}

static int check_head(const struct head *head)
{
    uint64_t block = le64toh(head->block);
    bool power = block && (block & (block - 1)) == 0;

    return memcmp(head->magic, MAGIC, sizeof head->magic) == 0 &&
                   le64toh(head->version) == VERSION && power &&
                   block <= UINT32_MAX && le64toh(head->size) <= INT64_MAX
               ? 0
               : -EBADMSG;
}

/* Whether the `len` bytes before the sum have that sum. */
static int check_sum(struct stream *s, uint64_t len)
{
    uint8_t buffer[16384], sum[SUM], wanted[SUM];
    int rc;

    rewind(s->file);
    for (; len > 0; len -= len < sizeof buffer ? len : sizeof buffer) {
        size_t now = len < sizeof buffer ? (size_t)len : sizeof buffer;

        rc = get(s, buffer, now);
        if (rc != 0)
            return rc;
        if (EVP_DigestUpdate(s->sum, buffer, now) != 1)
            return -EIO;
    }
    rc = get(s, wanted, SUM);
    if (rc == 0 && EVP_DigestFinal_ex(s->sum, sum, NULL) != 1)
        rc = -EIO;
    return rc == 0 && memcmp(sum, wanted, SUM) != 0 ? -EBADMSG : rc;
}

static void set_page(struct bm_bitmap *map, uint64_t page,
                     const uint64_t words[PAGE_WORDS])
{
    uint64_t block = bm_bitmap_block(map);

    for (uint64_t i = 0; i < PAGE_WORDS; i++)
        for (uint64_t bits = le64toh(words[i]); bits; bits &= bits - 1)
            bm_bitmap_set(
                map, page + (i * 64 + (unsigned)__builtin_ctzll(bits)) * block,
                1);
}

static int get_bits(struct stream *s, struct bm_bitmap *map, uint64_t len)
{
    uint64_t words[PAGE_WORDS];
    struct record_context record;
    int rc = 0;

    while (rc == 0 && len >= sizeof record) {
        rc = get(s, &record, sizeof record);
        len -= sizeof record;
        if (rc == 0 && record.length) {
            bm_bitmap_set(map, le64toh(record.offset), le64toh(record.length));
        } else if (rc == 0 && len >= sizeof words) {
            rc = get(s, words, sizeof words);
            len -= sizeof words;
            set_page(map, le64toh(record.offset), words);
        }
    }
    return len == 0 ? rc : -EBADMSG;
}

static int get_all(struct stream *s, uint64_t len, struct bm_bitmap **out)
{
    struct bm_bitmap *map;
    struct head head;
    int rc;

    if (len < sizeof head + SUM)
        return -EBADMSG;
    rc = get(s, &head, sizeof head);
    if (rc == 0)
        rc = check_head(&head);
    if (rc == 0)
        rc = check_sum(s, len - SUM);
    if (rc != 0)
        return rc;
    map = bm_bitmap_new(le64toh(head.size), (uint32_t)le64toh(head.block));
    if (!map)
        return -ENOMEM;
    if (fseek(s->file, sizeof head, SEEK_SET) != 0)
        rc = -errno;
    if (rc == 0)
        rc = get_bits(s, map, len - sizeof head - SUM);
    if (rc == 0)
        *out = BM_STEAL(map);
    bm_bitmap_free(map);
    return rc;
}

int bm_bitmap_load(const char *path, struct bm_bitmap **out,
                   struct bm_error *err)
{
    BM_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    STREAM s = {NULL, NULL};
    struct stat st;
    int rc;

    if (fd < 0 || fstat(fd, &st) != 0)
        return bm_fail_errno(err, errno, "cannot load %s", path);
    rc = S_ISREG(st.st_mode) ? open_stream(&s, fd, "r") : -EBADMSG;
    if (rc == 0)
        rc = get_all(&s, (uint64_t)st.st_size, out);
    if (rc == -EBADMSG) {
        bm_fail(err, EBADMSG, "cannot load %s", path);
        return bm_cause(err, "it is damaged, or not a bitmap"), -EBADMSG;
    }
    return rc ? bm_fail_errno(err, -rc, "cannot load %s", path) : 0;
}
