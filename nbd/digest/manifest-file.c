// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/digest/manifest-file.h"

#include "nbd/base/cleanup.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/stat.h>

#define MAGIC "BMDIGEST"
#define VERSION 1u
#define SUM_LEN 32
#define PAGE 4096u
/* A hole punched makes the file system write what is dirty: not for less. */
#define WORTH_A_HOLE (64u << 10)

enum { MAKING = 0, FINISHED = 1 };
enum { PARTIAL = 1 };

/* As manifest.h describes it. */
struct header {
    char magic[8];
    uint32_t version, state;
    uint64_t length;
    uint32_t block, flags;
    char digest[32];
    char root[136];
    char zeroes[3864];
    uint8_t sum[SUM_LEN];
};
_Static_assert(sizeof(struct header) == BM_MANIFEST_HEADER, "no holes in it");
_Static_assert(sizeof((struct header *)0)->root >= BM_DIGEST_HEX, "too short");

uint64_t bm_manifest_place(const struct bm_manifest *m, uint64_t block)
{
    return BM_MANIFEST_HEADER + block * m->digest->len;
}

uint64_t bm_manifest_hole(const struct bm_manifest *m, uint64_t block)
{
    uint64_t place = bm_manifest_place(m, block);
    off_t data = lseek(m->fd, (off_t)place, SEEK_DATA);

    if (data < 0) /* no data up to the end, or no answer */
        return errno == ENXIO ? m->blocks - block : 0;
    return ((uint64_t)data - place) / m->digest->len;
}

int bm_manifest_read(const struct bm_manifest *m, void *buf, size_t len,
                     uint64_t at, struct bm_error *err)
{
    for (size_t done = 0; done < len;) {
        ssize_t n =
            pread(m->fd, (char *)buf + done, len - done, (off_t)(at + done));

        if (n == 0)
            return bm_manifest_damaged(m, "it is cut off", err);
        if (n > 0)
            done += (size_t)n;
        else if (errno != EINTR)
            return bm_fail_errno(err, errno, "cannot read %s", m->name);
    }
    return 0;
}

int bm_manifest_write(const struct bm_manifest *m, const void *buf, size_t len,
                      uint64_t at, struct bm_error *err)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = pwrite(m->fd, (const char *)buf + done, len - done,
                           (off_t)(at + done));

        if (n > 0)
            done += (size_t)n;
        else if (n == 0 || errno != EINTR)
            return bm_fail_errno(err, n == 0 ? EIO : errno, "cannot write %s",
                                 m->name);
    }
    return 0;
}

static int clear_data(const struct bm_manifest *m, uint64_t at, uint64_t end,
                      struct bm_error *err)
{
    static const uint8_t zeroes[PAGE];
    int rc = 0;

    if (end - at >= WORTH_A_HOLE &&
        fallocate(m->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at,
                  (off_t)(end - at)) == 0)
        return 0;
    for (size_t n; rc == 0 && at < end; at += n) {
        n = end - at < PAGE ? (size_t)(end - at) : PAGE;
        rc = bm_manifest_write(m, zeroes, n, at, err);
    }
    return rc;
}

int bm_manifest_clear(const struct bm_manifest *m, uint64_t at, uint64_t len,
                      struct bm_error *err)
{
    uint64_t end = at + len;
    int rc = 0;

    while (rc == 0 && at < end) {
        off_t data = lseek(m->fd, (off_t)at, SEEK_DATA), hole;

        if (data < 0 && errno == ENXIO)
            return 0;
        at = data < 0 ? at : (uint64_t)data;
        hole = lseek(m->fd, (off_t)at, SEEK_HOLE);
        if (hole < 0 || (uint64_t)hole > end)
            hole = (off_t)end;
        if (at < end)
            rc = clear_data(m, at, (uint64_t)hole, err);
        at = (uint64_t)hole;
    }
    return rc;
}

int bm_manifest_damaged(const struct bm_manifest *m, const char *why,
                        struct bm_error *err)
{
    bm_fail(err, EBADMSG, "cannot use the manifest %s", m->name);
    bm_cause(err, "%s", why);
    return -EBADMSG;
}

static bool sum_of(const struct header *h, uint8_t sum[SUM_LEN])
{
    return EVP_Digest(h, offsetof(struct header, sum), sum, NULL, EVP_sha256(),
                      NULL) == 1;
}

int bm_manifest_write_header(const struct bm_manifest *m, struct bm_error *err)
{
    struct header h = {.magic = MAGIC,
                       .version = htole32(VERSION),
                       .state = htole32(m->finished ? FINISHED : MAKING),
                       .length = htole64(m->length),
                       .block = htole32(BM_DIGEST_BLOCK),
                       .flags = htole32(m->partial ? PARTIAL : 0)};

    strncpy(h.digest, m->digest->name, sizeof h.digest - 1);
    memcpy(h.root, m->hex, sizeof m->hex);
    if (!sum_of(&h, h.sum))
        return bm_fail(err, EIO, "cannot compute SHA-256");
    return bm_manifest_write(m, &h, sizeof h, 0, err);
}

/* Whether the header is one, whole, and of a kind we know. */
static int check_header(const struct bm_manifest *m, const struct header *h,
                        struct bm_error *err)
{
    uint8_t sum[SUM_LEN];

    if (memcmp(h->magic, MAGIC, sizeof h->magic) != 0)
        return bm_manifest_damaged(m, "it is no manifest", err);
    if (!sum_of(h, sum))
        return bm_fail(err, EIO, "cannot compute SHA-256");
    if (memcmp(h->sum, sum, sizeof sum) != 0)
        return bm_manifest_damaged(m, "its header is damaged", err);
    if (le32toh(h->version) != VERSION || le32toh(h->block) != BM_DIGEST_BLOCK)
        return bm_manifest_damaged(m, "it is of another version", err);
    return 0;
}

static int check_size(const struct bm_manifest *m, struct bm_error *err)
{
    struct stat st;

    if (fstat(m->fd, &st) != 0)
        return bm_fail_errno(err, errno, "cannot read %s", m->name);
    if ((uint64_t)st.st_size < bm_manifest_place(m, m->blocks))
        return bm_manifest_damaged(m, "it is cut off", err);
    if ((uint64_t)st.st_size > bm_manifest_place(m, m->blocks))
        return bm_manifest_damaged(m, "something follows its end", err);
    return 0;
}

int bm_manifest_may_replace(const char *path, struct bm_error *err)
{
    BM_FREE char *copy = strdup(path);
    BM_CLOSE int fd = -1;
    char magic[sizeof MAGIC - 1];

    if (!copy)
        return bm_fail_errno(err, ENOMEM, "cannot write %s", path);
    if (access(dirname(copy), W_OK | X_OK) != 0)
        return bm_fail_errno(err, errno, "cannot write %s", path);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT
                   ? 0
                   : bm_fail_errno(err, errno, "cannot write %s", path);
    if (pread(fd, magic, sizeof magic, 0) == (ssize_t)sizeof magic &&
        memcmp(magic, MAGIC, sizeof magic) == 0)
        return 0;
    bm_fail(err, EEXIST, "cannot write %s", path);
    bm_cause(err, "it exists and is no manifest");
    bm_remedy(err, "give another name");
    return bm_status(err, BM_EXIT_REFUSED), -EEXIST;
}

int bm_manifest_read_header(struct bm_manifest *m, struct bm_error *err)
{
    struct header h;
    int rc = bm_manifest_read(m, &h, sizeof h, 0, err);

    if (rc == 0)
        rc = check_header(m, &h, err);
    if (rc != 0)
        return rc;
    h.digest[sizeof h.digest - 1] = '\0';
    if (bm_digest_find(h.digest, &m->digest, NULL) != 0 ||
        le64toh(h.length) > INT64_MAX)
        return bm_manifest_damaged(m, "it is of another version", err);
    m->length = le64toh(h.length);
    m->finished = le32toh(h.state) == FINISHED;
    m->partial = le32toh(h.flags) & PARTIAL;
    memcpy(m->hex, h.root, sizeof m->hex);
    m->hex[sizeof m->hex - 1] = '\0';
    m->blocks = m->length / BM_DIGEST_BLOCK + (m->length % BM_DIGEST_BLOCK > 0);
    return check_size(m, err);
}
