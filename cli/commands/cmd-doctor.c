// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "cli/commands/doctor.h"

#include "cli/output/checks.h"
#include "cli/session/store-watchdog.h"
#include "nbd/exec/run-program.h"
#include "nbd/base/cleanup.h"
#include "snapshot/libvirt/connection.h"
#include "snapshot/domain/domain.h"
#include "cli/output/write.h"
#include "blockmig/report/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void version_text(unsigned long version, char *buf, size_t size)
{
    snprintf(buf, size, "%lu.%lu.%lu", version / 1000000, version / 1000 % 1000,
             version % 1000);
}

/* Debian's 9.0.0-4+deb12u1 and later carry the fix; libvirt does not tell. */
static bool has_backport(void)
{
    const char *const argv[] = {"dpkg-query",     "-W", "-f", "${Version}",
                                "libvirt-daemon", NULL};
    BM_FREE char *text = NULL;

    return bm_child_run(argv, 5000, NULL, NULL, NULL, &text, NULL) == 0 &&
           strncmp(text, "9.0.0-", 6) == 0 && strstr(text, "+deb12u");
}

static int check_libvirt(struct bm_preflight *list, struct bm_connection *conn)
{
    unsigned long version = 0;
    char text[32];

    if (virConnectGetLibVersion(bm_connection_handle(conn), &version) < 0)
        return bm_preflight_add(list, BM_WARN, "libvirt", "",
                                "look at the daemon's log",
                                "it does not tell its version");
    version_text(version, text, sizeof text);
    if (version < 9000000)
        return bm_preflight_add(
            list, BM_WARN, "libvirt", "", "upgrade to libvirt 9.0 or newer",
            "%s: older than what blockmig is tested with", text);
    if (version == 9000000 && !has_backport())
        return bm_preflight_add(
            list, BM_WARN, "libvirt", "", "upgrade to 9.1 or newer",
            "%s may leave a disk \"already in active block job\" for good",
            text);
    return bm_preflight_add(list, BM_OK, "libvirt", "", "", "%s at %s", text,
                            bm_connection_uri(conn));
}

static int check_qemu(struct bm_preflight *list, struct bm_connection *conn)
{
    unsigned long version = 0;
    char text[32];

    if (virConnectGetVersion(bm_connection_handle(conn), &version) < 0 ||
        version == 0)
        return bm_preflight_add(list, BM_WARN, "qemu", "",
                                "install qemu-system-x86, or say -c URI",
                                "libvirt knows no hypervisor");
    version_text(version, text, sizeof text);
    if (version < 6000000)
        return bm_preflight_add(
            list, BM_WARN, "qemu", "", "upgrade to QEMU 7.2 or newer",
            "%s: older than what blockmig is tested with", text);
    return bm_preflight_add(list, BM_OK, "qemu", "", "", "%s%s", text,
                            version < 9000000
                                ? "; its pull backup crashes guests with an "
                                  "iothread: blockmig uses none"
                                : "");
}

/* --- can we read what we shall prove? ----------------------------------- */

struct images {
    struct bm_connection *conn;
    int read, unread;
    char path[256], domain[128];
    int code;
};

static bool is_running(struct bm_connection *conn, const char *uuid)
{
    virDomainPtr dom =
        virDomainLookupByUUIDString(bm_connection_handle(conn), uuid);
    bool running = dom && virDomainIsActive(dom) == 1;

    if (dom)
        virDomainFree(dom);
    return running;
}

static int try_image(void *opaque, const struct bm_image_use *use)
{
    struct images *images = opaque;
    const char *path = use->path;

    if (path[0] != '/')
        return 0;
    if (access(path, R_OK) == 0) {
        images->read++;
        return 0;
    }
    if (errno == ENOENT || !is_running(images->conn, use->uuid))
        return 0;
    images->code = errno;
    if (images->unread++ == 0) {
        snprintf(images->path, sizeof images->path, "%s", path);
        snprintf(images->domain, sizeof images->domain, "%s", use->name);
    }
    return 0;
}

static int check_images(struct bm_preflight *list, struct bm_connection *conn)
{
    struct images images = {.conn = conn};
    struct bm_error err = BM_ERROR_INIT;

    if (bm_domain_image_users(conn, try_image, &images, &err) < 0)
        return bm_preflight_add(list, BM_WARN, "images", "", err.remedy,
                                "%s: %s", err.what, err.cause);
    if (images.unread)
        return bm_preflight_add(
            list, BM_REFUSE, "images", "",
            "run blockmig as root, or as the "
            "user that the guests run as",
            "%d image%s of running domains cannot be read, such as %s of %s: "
            "%s",
            images.unread, images.unread == 1 ? "" : "s", images.path,
            images.domain, strerror(images.code));
    return bm_preflight_add(list, BM_OK, "images", "", "",
                            "%d image%s of domains can be read", images.read,
                            images.read == 1 ? "" : "s");
}

static int check_connection(const struct cli *cli, struct bm_preflight *list)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_connection *conn = NULL;
    int rc = cli_watchdog_connect(cli, &conn, &err);

    if (rc < 0)
        return bm_preflight_add(
            list, BM_REFUSE, "libvirt", "",
            err.remedy[0] ? err.remedy : "start libvirtd, or give -c URI",
            "%s: %s", err.what, err.cause);
    rc = check_libvirt(list, conn);
    if (rc == 0)
        rc = check_qemu(list, conn);
    if (rc == 0)
        rc = check_images(list, conn);
    bm_connection_close(conn);
    return rc;
}

/* --- the list ----------------------------------------------------------- */

static int count_found(const struct bm_preflight *list)
{
    int found = 0;

    for (size_t i = 0; i < list->n; i++)
        found += list->checks[i].verdict != BM_OK;
    return found;
}

static void print_list(const struct bm_preflight *list, bool json, int found)
{
    json_object *o;

    if (!json) {
        cli_checks_print(list);
        return;
    }
    o = json_object_new_object();
    if (o) {
        bm_report_add_number(o, "found", found);
        json_object_object_add(o, "checks", cli_checks_json(list));
    }
    cli_json(o);
}

int cli_doctor(struct cli *cli, struct bm_error *err)
{
    struct bm_preflight list = {NULL, 0, false};
    int found;
    int rc = check_connection(cli, &list);

    if (rc == 0)
        rc = cli_doctor_host(&cli->options, &list);
    found = count_found(&list);
    if (rc == 0)
        print_list(&list, cli->options.json, found);
    bm_preflight_clear(&list);
    if (rc < 0)
        return bm_fail_errno(err, -rc, "cannot look at this host");
    return found ? BM_EXIT_FAILED : BM_EXIT_DONE;
}
