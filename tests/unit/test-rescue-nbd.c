// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* A rescue from real servers: nbdkit's ddrescue filter fails exactly where a
 * map says, and ddrescue itself, given the same, is the oracle. */
#include "nbd/rescue/rescue.h"
#include "nbd/base/units.h"
#include "tests/unit/server-fixture.h"

#include <errno.h>
#include <signal.h>

static struct bm_process server = BM_PROCESS_INIT;
static pid_t victim; /* that on_progress kills, 0: none */

static void tidy(void)
{
    bm_process_end(&server, 2000);
    fixture_teardown();
}

TestSuite(rescue_nbd, .init = fixture_setup, .fini = tidy);

static int on_save(void *opaque, struct bm_error *err)
{
    return bm_mapfile_save(opaque, "map", err);
}

static int on_progress(void *opaque, const struct bm_mapfile *map)
{
    if (victim && bm_mapfile_bytes(map, BM_AREA_FINISHED) > 0) {
        kill(victim, SIGKILL);
        victim = 0;
    }
    return 0;
}

static struct bm_device *must_open(const char *where, const struct bm_open *how)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_device *dev = NULL;

    ok(bm_device_open(where, how, &dev, &err), err);
    return dev;
}

/* Rescues from `where` to the file target; the map, which the caller frees. */
static int rescue(const char *where, const char *format,
                  struct bm_rescue_result *result, struct bm_mapfile **map)
{
    const struct bm_open from = {.connect_ms = 300, .format = format},
                         to = {.format = "raw", .write = true};
    struct bm_device *source = must_open(where, &from), *target;
    struct bm_error err = BM_ERROR_INIT;
    struct bm_rescue r = {.save = on_save, .progress = on_progress};
    int rc;

    sh("truncate -s %llu target", (unsigned long long)source->size);
    target = must_open(at("target"), &to);
    *map = bm_mapfile_new(source->size);
    if (access("map", F_OK) == 0) {
        bm_mapfile_free(*map);
        ok(bm_mapfile_load("map", source->size, map, &err), err);
    }
    r.source = source;
    r.target = target;
    r.map = r.opaque = *map;
    rc = bm_rescue_run(&r, result, &err);
    bm_device_close(source);
    bm_device_close(target);
    return rc;
}

/* nbdkit in the background with these arguments, at the socket s. */
static const char *serve(const char *arguments)
{
    static char uri[512];
    char command[256];

    bm_process_end(&server, 0);
    sh("rm -f s");
    snprintf(command, sizeof command, "exec nbdkit -f -U $PWD/s %s", arguments);
    server_listen(&server, command, "s");
    snprintf(uri, sizeof uri, "nbd+unix:///?socket=%s/s", fixture_dir);
    return uri;
}

/* A disk of 8 MiB, and the truth about it by a map with some bad areas. */
static void make_disk(void)
{
    sh("head -c 8M /dev/urandom >disk && "
       "printf '%%s\\n' '0 + 1' '0 1048576 +' '1048576 512 -' "
       "'1049088 65536 +' '1114624 100352 -' '1214976 3072 +' "
       "'1218048 1024 -' '1219072 7168512 +' '8387584 512 -' '8388096 512 +' "
       ">truth");
}

Test(rescue_nbd, finds_what_ddrescue_finds)
{
    struct bm_rescue_result result;
    struct bm_mapfile *map;

    make_disk();
    cr_expect_eq(rescue(serve("--filter=ddrescue file disk "
                              "ddrescue-mapfile=truth"),
                        NULL, &result, &map),
                 0);
    server_end(&server);
    cr_expect_eq(result.bad, 512 + 100352 + 1024 + 512);
    sh("ddrescue -q -H truth disk out theirs");
    sh("ddrescuelog -p theirs map");
    sh("cmp out target"); /* both have zeroes where nothing was rescued */
    sh("ddrescuelog --done-status map; test $? = 1");
    bm_mapfile_free(map);
}

Test(rescue_nbd, a_sound_server)
{
    struct bm_rescue_result result;
    struct bm_mapfile *map;

    sh("head -c 8M /dev/urandom >disk");
    cr_expect_eq(rescue(serve("file disk"), NULL, &result, &map), 0);
    server_end(&server);
    cr_expect(result.bad == 0 && result.errors == 0);
    sh("cmp disk target && ddrescuelog --done-status map");
    bm_mapfile_free(map);
}

Test(rescue_nbd, holes_of_an_image_are_not_read)
{
    struct bm_rescue_result result;
    struct bm_mapfile *map;

    sh("qemu-img create -q -f qcow2 disk 1G && qemu-io -f qcow2 "
       "-c 'write -P 7 500M 1M' disk >/dev/null");
    cr_expect_eq(rescue(at("disk"), "qcow2", &result, &map), 0);
    cr_expect_leq(result.reads, 8);
    sh("qemu-img compare -q -f qcow2 -F raw disk target");
    bm_mapfile_free(map);
}

/* The server dies; what was rescued stays, nothing is bad for it, and the
 * rest is rescued when it is back. */
Test(rescue_nbd, a_server_that_dies_marks_nothing_bad)
{
    struct bm_rescue_result result;
    struct bm_mapfile *map;
    const char *uri;

    make_disk();
    uri = serve("--filter=delay file disk delay-read=150ms");
    victim = server.pid;
    cr_expect_lt(rescue(uri, NULL, &result, &map), 0);
    cr_expect_eq(victim, 0, "it was killed");
    cr_expect_gt(result.rescued, 0);
    cr_expect_gt(result.bad, 0);
    cr_expect_eq(bm_mapfile_bytes(map, BM_AREA_UNTRIED), result.bad);
    bm_mapfile_free(map);
    cr_expect_eq(rescue(serve("--filter=ddrescue file disk "
                              "ddrescue-mapfile=truth"),
                        NULL, &result, &map),
                 0);
    server_end(&server);
    sh("ddrescuelog -t map >/dev/null");
    bm_mapfile_free(map);
}
