// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nbd/base/units.h"

#include <criterion/criterion.h>
#include <errno.h>

static void size_is(const char *text, uint64_t expected)
{
    uint64_t size = 0;

    cr_assert_eq(bm_parse_size(text, &size), 0, "%s", text);
    cr_assert_eq(size, expected, "%s", text);
}

static void size_fails(const char *text, int expected)
{
    uint64_t size = 7;

    cr_assert_eq(bm_parse_size(text, &size), expected, "%s", text);
    cr_assert_eq(size, 7, "%s touched the result", text);
}

Test(units, sizes_with_suffixes)
{
    size_is("4096", 4096);
    size_is("64K", 65536);
    size_is("10G", UINT64_C(10737418240));
    size_is("1T", UINT64_C(1099511627776));
}

Test(units, largest_size)
{
    size_is("9223372036854775807", INT64_MAX);
    size_fails("9223372036854775808", -ERANGE);
    size_fails("8388608T", -ERANGE);
    size_fails("99999999999999999999", -ERANGE);
}

Test(units, sizes_out_of_place)
{
    size_fails("0", -ERANGE);
    size_fails("0G", -ERANGE);
}

Test(units, what_is_no_size)
{
    const char *const wrong[] = {"",    " 1",  "1 ", "-1",   "+1", "1KB",
                                 "1.5", "0x1", "K",  "1KiB", "1m", "1P"};

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        size_fails(wrong[i], -EINVAL);
    size_fails(NULL, -EINVAL);
}

Test(units, numbers_in_range)
{
    int64_t n = 0;

    cr_assert_eq(bm_parse_number("-5", -5, 5, &n), 0);
    cr_assert_eq(n, -5);
    cr_assert_eq(bm_parse_number("6", -5, 5, &n), -ERANGE);
    cr_assert_eq(bm_parse_number("5x", -5, 5, &n), -EINVAL);
    cr_assert_eq(bm_parse_number("--5", -5, 5, &n), -EINVAL);
    cr_assert_eq(n, -5);
}

static void prints(uint64_t bytes, const char *expected)
{
    char buf[32];

    cr_assert_str_eq(bm_format_size(bytes, buf, sizeof buf), expected);
}

Test(units, sizes_for_people)
{
    prints(0, "0 B");
    prints(1023, "1023 B");
    prints(1536, "1.5 KiB");
    prints(UINT64_C(3) << 30, "3 GiB");
    prints(UINT64_MAX, "16 EiB");
}

Test(units, rounding_goes_on_to_the_next_unit)
{
    prints((1 << 20) - 1, "1 MiB");
}

Test(units, sleeps_as_long_as_asked)
{
    int64_t start = bm_now_ms();

    bm_sleep_ms(20);
    cr_assert_geq(bm_now_ms() - start, 19);
}
