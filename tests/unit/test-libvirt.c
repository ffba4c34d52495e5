// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Calls that can be abandoned, flags, and the connection, on libvirt's own
 * test driver where one is needed.
 */
#include "nbd/base/units.h"
#include "nbd/thread/timed-call.h"
#include "snapshot/blockjob/blockjob.h"
#include "snapshot/libvirt/timed-call.h"
#include "snapshot/libvirt/connection.h"
#include "snapshot/domain/domain.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* --- calls --- */

static atomic_int freed;

static void count_free(void *arg)
{
    free(arg);
    atomic_fetch_add(&freed, 1);
}

static int sleepy(void *arg)
{
    bm_sleep_ms(*(int *)arg);
    return 0;
}

static int *sleep_arg(int ms)
{
    int *arg = malloc(sizeof *arg);

    *arg = ms;
    return arg;
}

Test(call, one_in_time_gives_its_argument_back)
{
    int *arg = sleep_arg(1);

    cr_assert_eq(bm_call("sleep", 5000, sleepy, arg, count_free, NULL), 0);
    cr_assert_eq(atomic_load(&freed), 0);
    free(arg);
}

Test(call, one_that_hangs_is_abandoned_at_its_deadline)
{
    struct bm_error err = BM_ERROR_INIT;
    int64_t start = bm_now_ms();
    int rc = bm_call("sleep", 50, sleepy, sleep_arg(600), count_free, &err);

    cr_assert_eq(rc, -ETIMEDOUT);
    cr_assert_eq(err.status, BM_EXIT_HELD);
    cr_assert_lt(bm_now_ms() - start, 500);
    cr_assert_eq(bm_calls_abandoned(), 1);
}

Test(call, an_abandoned_one_frees_its_argument_when_it_returns)
{
    bm_call("sleep", 20, sleepy, sleep_arg(100), count_free, NULL);
    for (int i = 0; i < 100 && bm_calls_abandoned(); i++)
        bm_sleep_ms(50);
    cr_assert_eq(bm_calls_abandoned(), 0);
    cr_assert_eq(atomic_load(&freed), 1);
}

/* --- flags --- */

Test(flags, shallow_reuse_and_synchronous_together_are_refused)
{
    unsigned flags;

    cr_assert_eq(bm_copy_flags(true, true, true, &flags), -EINVAL);
}

Test(flags, a_job_is_always_transient)
{
    for (int i = 0; i < 4; i++) {
        unsigned flags = 0;

        cr_assert_eq(bm_copy_flags(i & 1, i & 2, false, &flags), 0);
        cr_assert(flags & VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB);
    }
}

/* --- the connection --- */

Test(connection, an_unreachable_one_says_so)
{
    struct bm_connection *conn = NULL;
    struct bm_error err = BM_ERROR_INIT;

    cr_assert_lt(bm_connection_open("qemu+unix:///session?socket=/nowhere/s",
                                    &conn, &err),
                 0);
    cr_assert_null(conn);
    cr_assert_not_null(strstr(err.what, "/nowhere/s"));
    cr_assert_neq(err.cause[0], '\0');
}

static struct bm_connection *test_driver(void)
{
    struct bm_connection *conn = NULL;

    cr_assert_eq(bm_connection_open("test:///default", &conn, NULL), 0);
    return conn;
}

Test(connection, a_domain_is_found_by_name_and_uuid)
{
    struct bm_connection *conn = test_driver();
    struct bm_domain *by_name, *by_uuid;

    cr_assert_eq(bm_domain_open(conn, "test", &by_name, NULL), 0);
    cr_assert_eq(bm_domain_open_uuid(conn, by_name->uuid, &by_uuid, NULL), 0);
    cr_assert_str_eq(by_uuid->name, "test");
    bm_domain_free(by_name);
    bm_domain_free(by_uuid);
    bm_connection_close(conn);
}

Test(connection, an_unknown_domain_is_refused)
{
    struct bm_connection *conn = test_driver();
    struct bm_error err = BM_ERROR_INIT;
    struct bm_domain *domain;

    cr_assert_eq(bm_domain_open(conn, "nobody", &domain, &err), -ENOENT);
    cr_assert_eq(err.status, BM_EXIT_REFUSED);
    bm_connection_close(conn);
}

Test(connection, a_suspend_is_seen_as_an_event)
{
    struct bm_connection *conn = test_driver();
    uint64_t seq = bm_connection_mark(conn);
    struct bm_domain *domain;
    struct bm_event event = {0};

    cr_assert_eq(bm_domain_open(conn, "test", &domain, NULL), 0);
    cr_assert_eq(bm_domain_suspend(domain, 5000, NULL), 0);
    cr_assert_eq(bm_connection_next(conn, domain->uuid, &seq, 5000, &event), 1);
    cr_assert_eq(event.kind, BM_EVENT_LIFECYCLE);
    cr_assert_eq(event.code, VIR_DOMAIN_EVENT_SUSPENDED);
    bm_domain_free(domain);
    bm_connection_close(conn);
}

Test(connection, resuming_a_running_guest_is_no_error)
{
    struct bm_connection *conn = test_driver();
    struct bm_domain *domain;

    cr_assert_eq(bm_domain_open(conn, "test", &domain, NULL), 0);
    cr_assert_eq(bm_domain_resume(domain, 5000, NULL), 0);
    bm_domain_free(domain);
    bm_connection_close(conn);
}
