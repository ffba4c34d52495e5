// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* What a side may be: a chain, an image, a server; and how it fails. */
#include "tests/unit/compare-fixture.h"

#include <signal.h>

Test(compare, roots_by_nbd)
{
    const char *uri;

    how.digests = true;
    sh("head -c 20M /dev/urandom >a && truncate -s 60M a && cp a b");
    flip("b", 50 << 20);
    uri = serve("file b");
    open_both("a", "raw", uri, NULL);
    compare();
    cr_expect_eq(result.n_ranges, 1);
    cr_expect_str_eq(result.root_a, oracle("a"));
    cr_expect_str_eq(result.root_b, oracle("b"));
    cr_expect_str_eq(result.medium, "cache");
}

/* --- formats --- */

Test(compare, chain_against_its_flat_copy)
{
    const struct bm_image_layer chain[] = {{at("top"), "qcow2", false, 0},
                                           {at("base"), "qcow2", false, 0}};
    const struct bm_image_layer flat = {at("flat"), "raw", false, 0};

    how.digests = true;
    sh("qemu-img create -q -f qcow2 base 150M && "
       "qemu-io -f qcow2 -c 'write -P 1 90M 20M' base >/dev/null && "
       "qemu-img create -q -f qcow2 -b base -F qcow2 top && "
       "qemu-io -f qcow2 -c 'write -P 2 100M 10M' -c 'write -z 95M 5M' top "
       ">/dev/null && qemu-img convert -f qcow2 -O raw top flat");
    ok(bm_device_open_image(chain, 2, 2, &devs[0], &err), err);
    ok(bm_device_open_image(&flat, 1, 2, &devs[1], &err), err);
    compare();
    cr_expect(result.equal);
    cr_expect_leq(result.data_read, 21 << 20);
    cr_expect_str_eq(result.root_b, oracle("flat"));
}

Test(compare, agrees_with_qemu_img)
{
    sh("head -c 3M /dev/urandom >a && qemu-img convert -O qcow2 a b");
    open_both("a", "raw", "b", "qcow2");
    compare();
    cr_expect(result.equal);
    sh("qemu-img compare -q -f raw -F qcow2 a b");
}

/* --- trouble --- */

Test(compare, an_unreadable_block_is_an_error)
{
    sh("head -c 8M /dev/urandom >a && printf '0 + 1\n0 0x300000 +\n"
       "0x300000 0x1000 -\n0x301000 0x4ff000 +\n' >map");
    open_both("a", "raw",
              serve("--filter=ddrescue file a ddrescue-mapfile=map"), NULL);
    cr_expect_eq(bm_compare(devs[0], devs[1], &how, &result, &err), -EIO);
    cr_expect(strstr(err.what, "3145728"), "%s", err.what);
    cr_expect_null(result.ranges);
}

/* A server whose data are slow to come, so that a tick finds it at work. */
static void open_slow(void)
{
    sh("head -c 64M /dev/urandom >a && qemu-img convert -O qcow2 a b");
    open_both("a", "raw", "b", "qcow2");
    kill(bm_device_server_pid(devs[1]), SIGSTOP);
}

/* Called from the test's thread, in the middle of the work. */
static int kill_server(void *opaque, uint64_t done, uint64_t total)
{
    kill(bm_device_server_pid(devs[1]), SIGKILL);
    return 0;
}

Test(compare, server_killed_meanwhile_is_an_error)
{
    open_slow();
    how.progress = kill_server;
    cr_expect_lt(bm_compare(devs[0], devs[1], &how, &result, &err), 0);
    cr_expect_null(result.ranges);
    cr_expect_neq(err.what[0], '\0');
}

static int cancel(void *opaque, uint64_t done, uint64_t total)
{
    kill(bm_device_server_pid(devs[1]), SIGCONT);
    return 1;
}

Test(compare, progress_cancels)
{
    open_slow();
    how.progress = cancel;
    cr_expect_eq(bm_compare(devs[0], devs[1], &how, &result, &err), -ECANCELED);
}

static int cut_off(void *opaque, uint64_t done, uint64_t total)
{
    sh("truncate -s 32M %s", (const char *)opaque);
    kill(bm_device_server_pid(devs[1]), SIGCONT);
    return 0;
}

Test(compare, file_truncated_meanwhile_is_an_error)
{
    open_slow();
    how.progress = cut_off;
    how.opaque = (void *)"a";
    cr_expect_eq(bm_compare(devs[0], devs[1], &how, &result, &err), -EIO);
    cr_expect_neq(err.what[0], '\0');
}

Test(compare, image_truncated_meanwhile_is_an_error)
{
    open_slow();
    how.progress = cut_off;
    how.opaque = (void *)"b";
    cr_expect_lt(bm_compare(devs[0], devs[1], &how, &result, &err), 0);
    cr_expect_neq(err.what[0], '\0');
}
