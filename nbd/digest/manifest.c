// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* How a manifest begins and ends; what it says is in manifest-entries.c. */
#include "nbd/digest/manifest-file.h"

#include "nbd/base/cleanup.h"
#include "nbd/base/atomic-replace.h"
#include "nbd/base/fsync.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define COPY_BYTES ((size_t)256 << 10)

static struct bm_manifest *new_manifest(const char *name, struct bm_error *err)
{
    struct bm_manifest *m = calloc(1, sizeof *m);

    if (m) {
        m->fd = -1;
        m->name = strdup(name);
    }
    if (m && m->name)
        return m;
    free(m);
    bm_fail_errno(err, ENOMEM, "cannot use the manifest %s", name);
    return NULL;
}

void bm_manifest_close(struct bm_manifest *m)
{
    if (!m)
        return;
    if (m->fd >= 0)
        (void)close(m->fd);
    free(m->name);
    free(m);
}

static void close_manifest(struct bm_manifest **m)
{
    bm_manifest_close(*m);
}

#define MANIFEST __attribute__((cleanup(close_manifest))) struct bm_manifest

const struct bm_digest *bm_manifest_digest(const struct bm_manifest *m)
{
    return m->digest;
}

uint64_t bm_manifest_length(const struct bm_manifest *m)
{
    return m->length;
}

uint64_t bm_manifest_blocks(const struct bm_manifest *m)
{
    return m->blocks;
}

const char *bm_manifest_hex(const struct bm_manifest *m)
{
    return m->hex;
}

bool bm_manifest_partial(const struct bm_manifest *m)
{
    return m->partial;
}

/* The digests of blocks of zeroes: a full one, and the last one. */
static int learn_zeroes(struct bm_manifest *m, struct bm_error *err)
{
    struct bm_hasher *hasher = bm_hasher_new(m->digest, err);
    const void *const blocks[] = {NULL};
    const size_t lens[] = {m->length % BM_DIGEST_BLOCK};
    int rc = 0;

    if (!hasher)
        return -EIO;
    m->unaligned = (uint32_t)lens[0];
    memcpy(m->zero, bm_hasher_zero(hasher), m->digest->len);
    if (m->unaligned)
        rc = bm_hasher_blocks(hasher, 1, blocks, lens, m->unaligned_zero, NULL);
    bm_hasher_free(hasher);
    return rc ? bm_fail_errno(err, -rc, "cannot compute %s", m->digest->name)
              : 0;
}

/* --- a new one --- */

static int open_unnamed(const char *folder)
{
    BM_FREE char *name = NULL;
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR))
        return fd;
    if (asprintf(&name, "%s/.blockmig-XXXXXX", folder) < 0)
        return -1;
    fd = mkostemp(name, O_CLOEXEC);
    if (fd >= 0)
        (void)unlink(name);
    return fd;
}

/* A large one would fill a /tmp that is memory. */
static const char *spool_folder(const char *near)
{
    const char *folder = getenv("TMPDIR");

    if (near)
        return near;
    return folder && folder[0] ? folder : "/var/tmp";
}

static int create(struct bm_manifest *m, const char *path, struct bm_error *err)
{
    m->unnamed = !path;
    m->fd = path ? open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)
                 : open_unnamed(m->name);
    if (m->fd < 0 || fchmod(m->fd, 0600) != 0 ||
        ftruncate(m->fd, (off_t)bm_manifest_place(m, m->blocks)) != 0)
        return bm_fail_errno(err, errno, "cannot create %s %s",
                             path ? "the manifest" : "a file in", m->name);
    return path ? bm_fsync_folder_of(path, err) : 0;
}

int bm_manifest_new(const char *path, const char *near,
                    const struct bm_digest *digest, uint64_t length,
                    struct bm_manifest **out, struct bm_error *err)
{
    MANIFEST *m = new_manifest(path ? path : spool_folder(near), err);
    int rc;

    if (!m)
        return -ENOMEM;
    if (length > INT64_MAX)
        return bm_fail_errno(err, EFBIG, "cannot create %s", m->name);
    m->digest = digest;
    m->length = length;
    m->blocks = length / BM_DIGEST_BLOCK + (length % BM_DIGEST_BLOCK > 0);
    rc = learn_zeroes(m, err);
    if (rc == 0)
        rc = create(m, path, err);
    if (rc == 0)
        rc = bm_manifest_write_header(m, err);
    if (rc == 0 &&
        m->unaligned) /* all zeroes in the file would mean a full one */
        rc = bm_manifest_set_zero(m, m->blocks - 1, 1, err);
    if (rc == 0)
        *out = BM_STEAL(m);
    return rc;
}

/* --- one that is there --- */

static int open_file(const char *path, int flags, struct bm_manifest **out,
                     struct bm_error *err)
{
    MANIFEST *m = new_manifest(path, err);
    struct stat st;
    int rc;

    if (!m)
        return -ENOMEM;
    m->fd = open(path, flags | O_CLOEXEC | O_NONBLOCK);
    if (m->fd < 0 || fstat(m->fd, &st) != 0)
        return bm_fail_errno(err, errno, "cannot open the manifest %s", path);
    if (!S_ISREG(st.st_mode))
        return bm_manifest_damaged(m, "it is no regular file", err);
    rc = bm_manifest_read_header(m, err);
    if (rc == 0)
        rc = learn_zeroes(m, err);
    if (rc == 0)
        *out = BM_STEAL(m);
    return rc;
}

int bm_manifest_reopen(const char *path, const struct bm_digest *digest,
                       uint64_t length, struct bm_manifest **out,
                       struct bm_error *err)
{
    MANIFEST *m = NULL;
    int rc = open_file(path, O_RDWR, &m, err);

    if (rc != 0 || !m)
        return rc;
    if (m->digest != digest || m->length != length) {
        bm_fail(err, ESTALE, "cannot go on with the manifest %s", path);
        bm_cause(err, "it is of another image or digest");
        return -ESTALE;
    }
    if (m->finished) { /* what came after that failed, or was killed */
        m->finished = m->partial = false;
        memset(m->hex, 0, sizeof m->hex);
        rc = bm_manifest_write_header(m, err);
    }
    if (rc != 0)
        return rc;
    *out = BM_STEAL(m);
    return 0;
}

int bm_manifest_open(const char *path, struct bm_manifest **out,
                     struct bm_error *err)
{
    MANIFEST *m = NULL;
    char hex[BM_DIGEST_HEX];
    bool partial;
    int rc = open_file(path, O_RDONLY, &m, err);

    if (rc != 0 || !m)
        return rc;
    if (!m->finished)
        rc = bm_manifest_damaged(m, "it was never finished", err);
    if (rc == 0)
        rc = bm_manifest_root(m, hex, &partial, err);
    if (rc == 0 && (strcmp(hex, m->hex) != 0 || partial != m->partial))
        rc = bm_manifest_damaged(m, "its entries are damaged", err);
    if (rc == 0)
        *out = BM_STEAL(m);
    return rc;
}

/* --- the end --- */

int bm_manifest_sync(struct bm_manifest *m, struct bm_error *err)
{
    if (!m->unnamed && fsync(m->fd) != 0)
        return bm_fail_errno(err, errno, "cannot write %s", m->name);
    return 0;
}

/* The header comes last: what it says must be there. */
int bm_manifest_finish(struct bm_manifest *m, char hex[BM_DIGEST_HEX],
                       bool *partial, struct bm_error *err)
{
    int rc = m->finished ? bm_fail_errno(err, EROFS, "cannot write %s", m->name)
                         : bm_manifest_sync(m, err);

    if (rc == 0)
        rc = bm_manifest_root(m, hex, partial, err);
    if (rc != 0)
        return rc;
    m->finished = true;
    m->partial = *partial;
    memcpy(m->hex, hex, sizeof m->hex);
    rc = bm_manifest_write_header(m, err);
    return rc ? rc : bm_manifest_sync(m, err);
}

/* Copies [at, end) of the file to the same place of another one. */
static int copy_bytes(const struct bm_manifest *from,
                      const struct bm_manifest *to, uint64_t at, uint64_t end,
                      struct bm_error *err)
{
    BM_FREE char *buf = malloc(COPY_BYTES);
    int rc = buf ? 0 : bm_fail_errno(err, ENOMEM, "cannot copy %s", from->name);

    for (size_t n; rc == 0 && at < end; at += n) {
        n = end - at < COPY_BYTES ? (size_t)(end - at) : COPY_BYTES;
        rc = bm_manifest_read(from, buf, n, at, err);
        if (rc == 0)
            rc = bm_manifest_write(to, buf, n, at, err);
    }
    return rc;
}

/* All that is not a hole, from `at` on, into one that has nothing but holes
 * there. */
static int copy_data(const struct bm_manifest *from,
                     const struct bm_manifest *to, uint64_t at,
                     struct bm_error *err)
{
    uint64_t end = bm_manifest_place(from, from->blocks);
    int rc = 0;

    while (rc == 0 && at < end) {
        off_t data = lseek(from->fd, (off_t)at, SEEK_DATA), hole;

        if (data < 0 && errno == ENXIO)
            return 0;
        at = data < 0 ? at : (uint64_t)data;
        hole = lseek(from->fd, (off_t)at, SEEK_HOLE);
        if (hole < 0 || (uint64_t)hole > end)
            hole = (off_t)end;
        rc = copy_bytes(from, to, at, (uint64_t)hole, err);
        at = (uint64_t)hole;
    }
    return rc;
}

int bm_manifest_save(const struct bm_manifest *m, const char *path,
                     struct bm_error *err)
{
    BM_ATOMIC_REPLACE struct bm_atomic_replace r = BM_ATOMIC_REPLACE_INIT;
    struct bm_manifest to = *m;
    int rc;

    if (!m->finished)
        return bm_fail_errno(err, EINVAL, "cannot save %s", path);
    rc = bm_atomic_replace_begin(path, &r, err);
    if (rc != 0)
        return rc;
    to.fd = r.fd;
    to.name = r.path;
    if (ftruncate(to.fd, (off_t)bm_manifest_place(m, m->blocks)) != 0)
        return bm_fail_errno(err, errno, "cannot write %s", path);
    rc = copy_data(m, &to, 0, err);
    return rc ? rc : bm_atomic_replace_commit(&r, err);
}

int bm_manifest_copy(const struct bm_manifest *m, struct bm_manifest **out,
                     struct bm_error *err)
{
    MANIFEST *copy = NULL;
    int rc = bm_manifest_new(NULL, NULL, m->digest, m->length, &copy, err);

    if (rc == 0)
        rc = copy_data(m, copy, BM_MANIFEST_HEADER, err);
    if (rc == 0)
        *out = BM_STEAL(copy);
    return rc;
}
