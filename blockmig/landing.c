// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "blockmig/landing.h"

#include "blockmig/job-store.h"
#include "blockmig/store.h"
#include "nbd/child.h"
#include "nbd/cleanup.h"
#include "nbd/image.h"
#include "nbd/imagelock.h"
#include "nbd/sync.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <linux/loop.h>
#include <linux/major.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define CREATE_MS 30000

void bm_landing_clear(struct bm_landing *landing)
{
    if (landing->old >= 0)
        (void)close(landing->old);
    if (landing->claim >= 0)
        (void)close(landing->claim);
    free(landing->name);
    free(landing->part);
    free(landing->state);
    free(landing->spool);
    memset(landing, 0, sizeof *landing);
    landing->old = landing->claim = -1;
}

static int refused(struct bm_error *err)
{
    return bm_status(err, BM_EXIT_REFUSED);
}

/* --- names --- */

/* DIR/.NAME.blockmig-WHAT; with a folder always, as QEMU takes what stands
 * before a colon for a protocol. */
static char *beside(const char *path, const char *what)
{
    const char *slash = strrchr(path, '/');
    int dir = slash ? (int)(slash - path) + 1 : 0;
    char *name;

    if (asprintf(&name, "%s%.*s.%s.blockmig-%s", slash ? "" : "./", dir, path,
                 path + dir, what) < 0)
        return NULL;
    return name;
}

/* FNV-1a, 64 bits: one state file a target, whatever is in its name. */
static uint64_t name_hash(const char *text)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
    return hash;
}

static char *in_state_dir(const char *dir, const char *target, const char *what)
{
    char *name;

    if (asprintf(&name, "%s/copy-%016" PRIx64 ".%s", dir, name_hash(target),
                 what) < 0)
        return NULL;
    return name;
}

static int set_names(const struct bm_transfer *t, struct bm_landing *l,
                     struct bm_error *err)
{
    l->name = strdup(t->target);
    if (l->kind == BM_LANDING_FILE) {
        l->part = beside(t->target, "part");
        l->state = beside(t->target, "state");
        l->spool = beside(t->target, "digests");
    } else {
        l->part = strdup(t->target);
        l->state = in_state_dir(t->state_dir, t->target, "state");
        l->spool = in_state_dir(t->state_dir, t->target, "digests");
    }
    l->format = t->target_format ? t->target_format : "raw";
    if (!l->name || !l->part || !l->state || !l->spool)
        return bm_fail_errno(err, ENOMEM, "cannot copy to %s", t->target);
    return 0;
}

/* --- looking --- */

/* Whoever writes it would go on in a file without a name. */
static int hold_old(const struct bm_transfer *t, struct bm_landing *l,
                    struct bm_error *err)
{
    int rc;

    l->old = open(t->target, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (l->old < 0)
        return bm_fail_errno(err, errno, "cannot copy to %s", t->target);
    rc = bm_writer_lock(l->old, t->target, err);
    return rc == -EBUSY ? refused(err) : rc;
}

static int look_at_file(const struct bm_transfer *t, struct bm_landing *l,
                        struct bm_error *err)
{
    if (t->force || (t->rescue && t->resume))
        return hold_old(t, l, err);
    bm_fail(err, EEXIST, "cannot copy to %s", t->target);
    bm_cause(err, "it exists");
    bm_remedy(err, "--force replaces it once the copy is complete");
    return refused(err);
}

static int look_at_device(const struct bm_transfer *t,
                          const struct bm_landing *l, struct bm_error *err)
{
    bool going_on = t->resume && access(l->state, F_OK) == 0;
    BM_FREE char *signature = NULL;
    int rc;

    if (t->target_format && strcmp(t->target_format, "raw") != 0) {
        bm_fail(err, EINVAL, "cannot copy to %s", t->target);
        bm_cause(err, "a block device takes the bytes as they are");
        return bm_remedy(err, "leave out -O"), refused(err);
    }
    rc = bm_store_signature(t->target, &signature, err);
    if (rc < 0)
        return rc;
    if (!signature || t->force || going_on)
        return 0;
    bm_fail(err, EEXIST, "cannot copy to %s", t->target);
    bm_cause(err, "it bears %s", signature);
    return bm_remedy(err, "--force overwrites it"), refused(err);
}

static int look_at_folder(const char *path, struct bm_error *err)
{
    const char *slash = strrchr(path, '/');
    BM_FREE char *dir =
        slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");

    if (!dir)
        return bm_fail_errno(err, ENOMEM, "cannot copy to %s", path);
    if (access(dir, W_OK | X_OK) == 0)
        return 0;
    bm_fail_errno(err, errno, "cannot copy to %s", path);
    return refused(err);
}

static int find_kind(const struct bm_transfer *t, struct bm_landing *l,
                     bool *exists, struct bm_error *err)
{
    struct stat st;

    *exists = false;
    l->kind = bm_is_nbd_uri(t->target) ? BM_LANDING_SERVER : BM_LANDING_FILE;
    if (l->kind == BM_LANDING_SERVER)
        return 0;
    /* a link to nothing is something that would be replaced, too */
    if (lstat(t->target, &st) != 0)
        return errno == ENOENT
                   ? 0
                   : (bm_fail_errno(err, errno, "cannot copy to %s", t->target),
                      refused(err));
    *exists = true;
    if (stat(t->target, &st) == 0 && S_ISREG(st.st_mode))
        return 0;
    l->kind = BM_LANDING_DEVICE;
    if (S_ISBLK(st.st_mode))
        return 0;
    bm_fail(err, EINVAL, "cannot copy to %s", t->target);
    bm_cause(err, "it is neither a file nor a block device");
    return refused(err);
}

int bm_landing_look(const struct bm_transfer *t, struct bm_landing *l,
                    struct bm_error *err)
{
    bool exists;
    int rc;

    memset(l, 0, sizeof *l);
    l->old = l->claim = -1;
    rc = find_kind(t, l, &exists, err);
    if (rc == 0)
        rc = set_names(t, l, err);
    if (rc || l->kind == BM_LANDING_SERVER)
        return rc;
    if (l->kind == BM_LANDING_DEVICE)
        return look_at_device(t, l, err);
    return exists ? look_at_file(t, l, err) : look_at_folder(t->target, err);
}

/* --- not the source --- */

/* Of a loop device the file behind it. */
static void look_behind(const char *path, struct stat *st)
{
    BM_CLOSE int fd = -1;
    struct loop_info64 info;

    if (!S_ISBLK(st->st_mode) || major(st->st_rdev) != LOOP_MAJOR)
        return;
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || ioctl(fd, LOOP_GET_STATUS64, &info) != 0)
        return;
    st->st_mode = S_IFREG;
    st->st_dev = info.lo_device;
    st->st_ino = info.lo_inode;
}

static int examine(const char *path, struct stat *st)
{
    if (stat(path, st) != 0)
        return -errno;
    look_behind(path, st);
    return 0;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    if (S_ISBLK(a->st_mode) && S_ISBLK(b->st_mode))
        return a->st_rdev == b->st_rdev;
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static int is_source(const struct bm_landing *l, const char *layer,
                     struct bm_error *err)
{
    bm_fail(err, EINVAL, "cannot copy to %s", l->name);
    bm_cause(err, "%s is what would be read", layer);
    return refused(err);
}

struct apart {
    const struct bm_landing *landing;
    struct stat mine;
};

static int check_layer(void *opaque, unsigned depth, const char *layer,
                       struct bm_error *err)
{
    const struct apart *apart = opaque;
    struct stat st;

    return examine(layer, &st) == 0 && same_file(&st, &apart->mine)
               ? is_source(apart->landing, layer, err)
               : 0;
}

int bm_landing_apart(const struct bm_landing *l, const char *source,
                     const char *format, struct bm_error *err)
{
    struct apart apart = {.landing = l};

    if (strcmp(l->name, source) == 0)
        return is_source(l, source, err);
    if (bm_is_nbd_uri(source) || bm_is_nbd_uri(l->name) ||
        examine(l->name, &apart.mine) != 0)
        return 0;
    return bm_image_walk(source, format, check_layer, &apart, err);
}

/* --- making and opening --- */

static int make_raw(const char *path, uint64_t size, struct bm_error *err)
{
    BM_CLOSE int fd =
        open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);

    if (fd < 0 || ftruncate(fd, (off_t)size) != 0)
        return bm_fail_errno(err, errno, "cannot make %s", path);
    return 0;
}

int bm_landing_make(const struct bm_landing *l, const char *state_dir,
                    uint64_t size, struct bm_error *err)
{
    char bytes[32];
    const char *argv[] = {"qemu-img", "create", "-q",  "-f",
                          l->format,  l->part,  bytes, NULL};

    if (l->kind != BM_LANDING_FILE)
        return bm_state_dir_make(state_dir, err);
    if (unlink(l->part) != 0 && errno != ENOENT)
        return bm_fail_errno(err, errno, "cannot remove %s", l->part);
    if (strcmp(l->format, "raw") == 0)
        return make_raw(l->part, size, err);
    /* QEMU counts sectors */
    snprintf(bytes, sizeof bytes, "%" PRIu64, (size + 511) / 512 * 512);
    return bm_child_run(argv, CREATE_MS, NULL, NULL, NULL, NULL, err);
}

int bm_landing_extend(const struct bm_landing *l, uint64_t size,
                      struct bm_error *err)
{
    struct stat st;

    if (l->kind != BM_LANDING_FILE || strcmp(l->format, "raw") != 0)
        return 0;
    if (stat(l->part, &st) != 0 ||
        ((uint64_t)st.st_size < size && truncate(l->part, (off_t)size) != 0))
        return bm_fail_errno(err, errno, "cannot go on with %s", l->part);
    return 0;
}

/* A byte that no QEMU locks: QEMU's are 100 to 203 and this. */
#define CLAIM 300

int bm_landing_claim(struct bm_landing *l, struct bm_error *err)
{
    struct flock lock = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = CLAIM, .l_len = 1};

    if (l->kind == BM_LANDING_SERVER || l->kind == BM_LANDING_DEVICE)
        return 0;
    if (l->claim >= 0)
        (void)close(l->claim);
    l->claim = open(l->part, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (l->claim < 0)
        return errno == ENOENT
                   ? 0
                   : bm_fail_errno(err, errno, "cannot open %s", l->part);
    if (fcntl(l->claim, F_OFD_SETLK, &lock) == 0)
        return 0;
    bm_fail(err, EBUSY, "cannot copy to %s", l->name);
    bm_cause(err, "another copy to it is running");
    return refused(err);
}

/* The claim is on the file that has the name now, not on one before it. */
static int still_ours(const struct bm_landing *l, struct bm_error *err)
{
    struct stat held, named;

    if (fstat(l->claim, &held) == 0 && stat(l->part, &named) == 0 &&
        held.st_dev == named.st_dev && held.st_ino == named.st_ino)
        return 0;
    bm_fail(err, ESTALE, "cannot give %s its name", l->name);
    return bm_cause(err, "someone has replaced %s", l->part), -ESTALE;
}

int bm_landing_adopt(struct bm_landing *l, struct bm_error *err)
{
    if (rename(l->name, l->part) != 0)
        return bm_fail_errno(err, errno, "cannot rename %s to %s", l->name,
                             l->part);
    /* its lock would be in the way of our own */
    (void)close(l->old);
    l->old = -1;
    return bm_sync_folder_of(l->part, err);
}

int bm_landing_forget(const struct bm_landing *l, struct bm_error *err)
{
    if (unlink(l->state) == 0)
        return bm_sync_folder_of(l->state, err);
    return errno == ENOENT
               ? 0
               : bm_fail_errno(err, errno, "cannot remove %s", l->state);
}

bool bm_landing_exists(const struct bm_landing *l)
{
    return l->kind != BM_LANDING_FILE || access(l->part, F_OK) == 0;
}

int bm_landing_write(const struct bm_landing *l, const struct bm_transfer *t,
                     bool fresh, struct bm_device **out, struct bm_error *err)
{
    struct bm_open how = {.format = l->format,
                          .lanes = bm_device_lanes(),
                          .write = true,
                          .zeroed = fresh && l->kind == BM_LANDING_FILE,
                          .direct = t->direct,
                          .keep = t->verify_cached,
                          .tls_certificates = t->tls_certificates,
                          .tls_psk = t->tls_psk};

    return bm_device_open(l->part, &how, out, err);
}

int bm_landing_read(const struct bm_landing *l, const struct bm_transfer *t,
                    struct bm_device **out, struct bm_error *err)
{
    struct bm_open how = {.format = l->format,
                          .lanes = bm_device_lanes(),
                          .share = true,
                          .direct = !t->verify_cached,
                          .tls_certificates = t->tls_certificates,
                          .tls_psk = t->tls_psk};
    int rc = bm_device_open(l->part, &how, out, err);

    if (rc != -EINVAL || !how.direct)
        return rc;
    how.direct = false; /* no O_DIRECT there: the proof will say "cache" */
    return bm_device_open(l->part, &how, out, err);
}

static int give_name(const struct bm_landing *l, bool force)
{
    if (!force &&
        renameat2(AT_FDCWD, l->part, AT_FDCWD, l->name, RENAME_NOREPLACE) == 0)
        return 0;
    /* a file system without that promise: look, and hope for a moment */
    if (!force && (errno != EINVAL || access(l->name, F_OK) == 0))
        return errno == EINVAL ? -EEXIST : -errno;
    return rename(l->part, l->name) == 0 ? 0 : -errno;
}

int bm_landing_land(const struct bm_landing *l, bool force,
                    struct bm_error *err)
{
    int rc = l->kind == BM_LANDING_FILE ? still_ours(l, err) : 0;

    if (rc == 0 && l->kind == BM_LANDING_FILE) {
        rc = give_name(l, force);
        if (rc)
            return bm_fail_errno(err, -rc, "cannot rename %s to %s", l->part,
                                 l->name);
        rc = bm_sync_folder_of(l->name, err);
    }
    if (rc == 0 && ((unlink(l->state) != 0 && errno != ENOENT) ||
                    (unlink(l->spool) != 0 && errno != ENOENT)))
        rc =
            bm_fail_errno(err, errno, "cannot remove the state of %s", l->name);
    return rc;
}

/* When the file was made: an inode that is used again is another file. */
static long long birth(const char *path)
{
    struct statx x;

    if (statx(AT_FDCWD, path, 0, STATX_BTIME, &x) != 0 ||
        !(x.stx_mask & STATX_BTIME))
        return 0;
    return x.stx_btime.tv_sec * 1000000000LL + x.stx_btime.tv_nsec;
}

char *bm_landing_identity(const char *where, const struct bm_device *dev,
                          bool content)
{
    struct stat st;
    char *text;
    int n;

    if (bm_is_nbd_uri(where))
        n = asprintf(&text, "server %" PRIu64, dev->size);
    else if (stat(where, &st) != 0)
        n = asprintf(&text, "gone");
    else if (S_ISBLK(st.st_mode))
        n = asprintf(&text, "device %u:%u %" PRIu64, major(st.st_rdev),
                     minor(st.st_rdev), dev->size);
    else if (content)
        n = asprintf(&text, "file %ju:%ju size %jd time %jd.%09ld",
                     (uintmax_t)st.st_dev, (uintmax_t)st.st_ino,
                     (intmax_t)st.st_size, (intmax_t)st.st_mtim.tv_sec,
                     st.st_mtim.tv_nsec);
    else
        n = asprintf(&text, "file %ju:%ju born %lld", (uintmax_t)st.st_dev,
                     (uintmax_t)st.st_ino, birth(where));
    return n < 0 ? NULL : text;
}
