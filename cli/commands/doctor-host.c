// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "cli/commands/doctor.h"

#include "blockmig/job/job-store.h"
#include "cli/session/session.h"
#include "nbd/exec/run-program.h"
#include "nbd/base/cleanup.h"
#include "nbd/base/units.h"
#include "blockmig/job/job-store-ops.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>

#define PROGRAM_MS 10000
#define STATE_ROOM (64ULL * 1024 * 1024) /* journal, logs: this is plenty */

/* The first line of what the program says about itself. */
static int check_program(struct bm_preflight *list, const char *name,
                         const char *package)
{
    const char *const argv[] = {name, "--version", NULL};
    struct bm_error err = BM_ERROR_INIT;
    BM_FREE char *text = NULL;

    if (bm_child_run(argv, PROGRAM_MS, NULL, NULL, NULL, &text, &err) < 0)
        return bm_preflight_add(list, BM_REFUSE, name, "", package, "%s: %s",
                                err.what, err.cause);
    text[strcspn(text, "\n")] = '\0';
    return bm_preflight_add(list, BM_OK, name, "", "", "%s", text);
}

/* The nearest folder above that exists. Caller frees. */
static char *existing(const char *dir)
{
    char *path = strdup(dir);

    while (path && access(path, F_OK) < 0 && strchr(path, '/')) {
        BM_FREE char *old = path;
        char *up = dirname(old);

        path = strdup(up);
        if (path && strcmp(path, "/") == 0)
            break;
    }
    return path;
}

static int check_state_dir(struct bm_preflight *list, const char *dir)
{
    BM_FREE char *real = existing(dir);
    struct statvfs fs;
    uint64_t space;
    char size[32];

    if (!real || access(real, W_OK | X_OK) < 0 || statvfs(real, &fs) < 0)
        return bm_preflight_add(
            list, BM_REFUSE, "state", "", "give another with --state PATH",
            "%s is not writable: %s", real ? real : dir, strerror(errno));
    space = (uint64_t)fs.f_bavail * fs.f_frsize;
    bm_format_size(space, size, sizeof size);
    if (space < STATE_ROOM)
        return bm_preflight_add(list, BM_WARN, "state", "",
                                "make room: a journal that cannot be written "
                                "stops a move",
                                "%s has only %s free", real, size);
    return bm_preflight_add(list, BM_OK, "state", "", "",
                            "%s is writable, %s free", dir, size);
}

static int check_jobs(struct bm_preflight *list,
                      const struct cli_options *options)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_job_store *jobs = NULL;
    int rc = cli_open_jobs(options, true, &jobs, &err);

    bm_job_store_close(jobs);
    if (rc < 0)
        return bm_preflight_add(list, BM_REFUSE, "jobs", "", err.remedy,
                                "%s: %s", err.what, err.cause);
    return bm_preflight_add(list, BM_OK, "jobs", "", "", "the store is sound");
}

static int check_kvm(struct bm_preflight *list)
{
    if (access("/dev/kvm", F_OK) < 0)
        return bm_preflight_add(list, BM_OK, "kvm", "", "",
                                "no /dev/kvm: guests are emulated, and slow");
    if (access("/dev/kvm", R_OK | W_OK) < 0)
        return bm_preflight_add(list, BM_OK, "kvm", "", "",
                                "/dev/kvm is there, for others: libvirt's "
                                "guests may have it");
    return bm_preflight_add(list, BM_OK, "kvm", "", "", "/dev/kvm is usable");
}

static bool reads_as(const char *path, char first)
{
    BM_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    char c;

    return fd >= 0 && read(fd, &c, 1) == 1 && c == first;
}

/* docs/pitfalls.md P65: the end of one block job takes another's rules. */
static int check_apparmor(struct bm_preflight *list)
{
    if (!reads_as("/sys/module/apparmor/parameters/enabled", 'Y'))
        return bm_preflight_add(list, BM_OK, "apparmor", "", "", "not enabled");
    return bm_preflight_add(
        list, BM_OK, "apparmor", "", "",
        "enabled: datastores outside libvirt's folders need a rule in "
        "/etc/apparmor.d/local/abstractions/libvirt-qemu");
}

/* Asked of the kernel, not of a version: a container's filter says EPERM. */
static int check_seccomp(struct bm_preflight *list)
{
    long rc = syscall(SYS_io_uring_setup, 0, NULL);

    if (rc < 0 && errno == EPERM)
        return bm_preflight_add(list, BM_OK, "seccomp", "", "",
                                "io_uring is forbidden here: disks with "
                                "io='io_uring' cannot be opened by our tools");
    if (rc < 0 && errno == ENOSYS)
        return bm_preflight_add(list, BM_OK, "seccomp", "", "",
                                "this kernel has no io_uring");
    if (rc >= 0)
        (void)close((int)rc);
    return bm_preflight_add(list, BM_OK, "seccomp", "", "",
                            "nothing that we need is filtered");
}

int cli_doctor_host(const struct cli_options *options,
                    struct bm_preflight *list)
{
    static const char package[] = "install qemu-utils";
    BM_FREE char *dir =
        options->state ? strdup(options->state) : bm_state_dir_default();
    int rc = dir ? 0 : -ENOMEM;

    if (rc == 0)
        rc = check_program(list, "qemu-img", package);
    if (rc == 0)
        rc = check_program(list, "qemu-nbd", package);
    if (rc == 0)
        rc = check_state_dir(list, dir);
    if (rc == 0)
        rc = check_jobs(list, options);
    if (rc == 0)
        rc = check_kvm(list);
    if (rc == 0)
        rc = check_apparmor(list);
    return rc < 0 ? rc : check_seccomp(list);
}
