// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/image/qemu-nbd.h"

#include "nbd/base/cleanup.h"
#include "nbd/image/qemu-img.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#define STOP_MS 5000
/* A writer's end takes as long as its image's metadata takes to the disk. */
#define STOP_WRITER_MS 30000
/* A server that lost its image says so and ends within moments. */
#define LAST_WORDS_MS 500

/* A private folder and the socket in it; both go when the scope ends. */
struct nook {
    char dir[64];
    struct sockaddr_un address;
};

static void remove_nook(struct nook *nook)
{
    if (nook->address.sun_path[0])
        (void)unlink(nook->address.sun_path);
    if (nook->dir[0])
        (void)rmdir(nook->dir);
}

/* /tmp and not TMPDIR: a socket's path must be shorter than 108 bytes. */
static int make_nook(struct nook *nook)
{
    strcpy(nook->dir, "/tmp/blockmig-XXXXXX"); /* mkdtemp makes it 0700 */
    if (!mkdtemp(nook->dir)) {
        nook->dir[0] = '\0';
        return -errno;
    }
    nook->address.sun_family = AF_UNIX;
    snprintf(nook->address.sun_path, sizeof nook->address.sun_path, "%.60s/nbd",
             nook->dir);
    return 0;
}

static int new_socket(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    return fd < 0 ? -errno : fd;
}

static int listen_at(const struct nook *nook, unsigned backlog, int *out)
{
    int fd = new_socket();

    if (fd < 0)
        return fd;
    *out = fd;
    if (bind(fd, (const struct sockaddr *)&nook->address,
             sizeof nook->address) != 0 ||
        listen(fd, (int)backlog) != 0)
        return -errno;
    return 0;
}

static int connect_all(const struct nook *nook, int socks[], unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        socks[i] = new_socket();
        if (socks[i] < 0)
            return socks[i];
        if (connect(socks[i], (const struct sockaddr *)&nook->address,
                    sizeof nook->address) != 0)
            return -errno;
    }
    return 0;
}

/*
 * The connections wait in the listener's queue before there is a server, so
 * nothing polls for a socket to appear, and the folder is gone a moment after
 * it was made: a kill -9 leaves no rubbish.
 */
static int make_sockets(int *listener, int socks[], unsigned n)
{
    __attribute__((cleanup(remove_nook))) struct nook nook = {.dir = ""};
    int rc = make_nook(&nook);

    if (rc == 0)
        rc = listen_at(&nook, n, listener);
    return rc == 0 ? connect_all(&nook, socks, n) : rc;
}

/*
 * Without these glibc gives each 256 KiB buffer back to the kernel and faults
 * it in again: 1 GiB of cached qcow2 took 1.0 s and 266000 page faults, now it
 * takes 0.4 s. By env(1), since our own environment is not ours to change.
 */
#define KEEP_MEMORY                                                            \
    "MALLOC_MMAP_THRESHOLD_=33554432", "MALLOC_TRIM_THRESHOLD_=33554432"

/* Not -t: when our last connection goes, however we died, it ends. That
 * stands beside PR_SET_PDEATHSIG, not in its place. */
static int run_server(const struct bm_serve *what, int listener,
                      struct bm_server *server, struct bm_error *err)
{
    BM_FREE char *bitmap = NULL;
    const char *argv[] = {
        "env",        KEEP_MEMORY,
        "qemu-nbd",   what->write ? "--discard=unmap" : "--read-only",
        "--shared=0", what->spec,
        NULL,         NULL};
    struct bm_spawn how = {.argv = argv, .out = -1, .listener = listener};

    if (what->bitmap) {
        if (asprintf(&bitmap, "--bitmap=%s", what->bitmap) < 0)
            return bm_fail_errno(err, ENOMEM, "cannot run qemu-nbd");
        argv[7] = bitmap;
    } else if (what->depth) {
        argv[7] = "--allocation-depth";
    }
    server->grace_ms = what->write ? STOP_WRITER_MS : STOP_MS;
    server->errs = memfd_create("qemu-nbd", MFD_CLOEXEC);
    if (server->errs < 0)
        return bm_fail_errno(err, errno, "cannot run qemu-nbd");
    how.errs = server->errs;
    return bm_spawn_program(&how, &server->process, err);
}

int bm_server_start(const struct bm_serve *what, int socks[], unsigned n,
                    struct bm_server *out, struct bm_error *err)
{
    struct bm_server server = BM_SERVER_INIT;
    BM_CLOSE int listener = -1; /* ours must go, else a dead server's clients
                                 * would wait in its queue for ever */
    int rc;

    for (unsigned i = 0; i < n; i++)
        socks[i] = -1;
    rc = make_sockets(&listener, socks, n);
    if (rc != 0)
        bm_fail_errno(err, -rc, "cannot make a socket for qemu-nbd");
    else
        rc = run_server(what, listener, &server, err);
    if (rc == 0) {
        *out = server;
        return 0;
    }
    bm_server_stop(&server);
    for (unsigned i = 0; i < n; i++)
        if (socks[i] >= 0)
            (void)close(socks[i]);
    return rc;
}

/* The first line that it wrote: what follows are consequences. */
static bool first_words(int fd, char *buf, size_t size)
{
    ssize_t got = pread(fd, buf, size - 1, 0);

    if (got <= 0)
        return false;
    buf[got] = '\0';
    buf[strcspn(buf, "\r\n")] = '\0';
    return buf[0] != '\0';
}

/* What QEMU says of a file that we named as JSON, without the JSON. */
static const char *after_json(const char *words)
{
    const char *end = strstr(words, "'json:") ? strstr(words, "}': ") : NULL;

    return end ? end + strlen("}': ") : words;
}

int bm_server_explain(const struct bm_server *server, const char *name,
                      struct bm_error *err)
{
    char words[512];

    if (!err)
        return -EIO;
    if (bm_process_ended(&server->process, LAST_WORDS_MS) &&
        first_words(server->errs, words, sizeof words)) {
        bm_fail(err, bm_qemu_errno(words), "cannot open %s", name);
        bm_cause(err, "%s", after_json(words));
    }
    return -err->code;
}

void bm_server_stop(struct bm_server *server)
{
    bm_process_end(&server->process, server->grace_ms);
    bm_cleanup_fd(&server->errs);
    server->errs = -1;
}
