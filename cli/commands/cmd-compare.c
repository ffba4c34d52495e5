// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * blockmig compare: 0 equal, 1 different, 2 it cannot be told, whatever the
 * reason: who asks whether two images are equal must not take a refusal or a
 * full disk for "they differ".
 */
#include "cli/output/bytes.h"
#include "cli/output/output.h"
#include "nbd/compare/compare.h"
#include "nbd/base/units.h"
#include "cli/commands/commands.h"
#include "blockmig/report/json.h"

#include <errno.h>
#include <json-c/printbuf.h>
#include <string.h>

enum { EQUAL = 0, DIFFERENT = 1, TROUBLE = 2 };

/* --- open --------------------------------------------------------------- */

static int open_side(const struct cli *cli, int side, struct bm_device **out,
                     struct bm_error *err)
{
    const struct cli_options *o = &cli->options;
    const struct bm_open how = {.format = side == 0 ? o->image_format
                                                    : o->other_format,
                                .queues = bm_device_lanes(),
                                .direct = strcmp(o->cache, "none") == 0,
                                .share = o->force_share,
                                .tls_certificates = o->tls_certificates,
                                .tls_psk = o->tls_psk};
    int rc = bm_device_open(cli->args[side], &how, out, err);

    if (rc == -EBUSY)
        bm_remedy(err, "stop who writes it, or give -U (--force-share) to "
                       "read it all the same");
    return rc;
}

/* --- what was found ----------------------------------------------------- */

/* As text at once: a million of them as objects would be a gigabyte. */
static int print_ranges(struct json_object *object, struct printbuf *buf,
                        int level, int flags)
{
    const struct bm_compare_result *result = json_object_get_userdata(object);

    printbuf_strappend(buf, "[");
    for (size_t i = 0; i < result->n_ranges; i++)
        sprintbuf(buf, "%s{\"offset\":%llu,\"length\":%llu}", i ? "," : "",
                  (unsigned long long)result->ranges[i].offset,
                  (unsigned long long)result->ranges[i].length);
    printbuf_strappend(buf, "]");
    return 0;
}

static json_object *side_json(const struct bm_device *dev, const char *where,
                              const char *digest)
{
    json_object *o = json_object_new_object();

    if (!o)
        return NULL;
    bm_report_add_text(o, "image", where);
    bm_report_add_bytes(o, "size", dev->size);
    bm_report_add_text(o, "sha256", digest[0] ? digest : NULL);
    return o;
}

static json_object *result_json(const struct cli *cli,
                                struct bm_device *const devs[2],
                                struct bm_compare_result *result)
{
    json_object *o = json_object_new_object();
    json_object *ranges = json_object_new_array();

    if (!o || !ranges) {
        json_object_put(o);
        json_object_put(ranges);
        return NULL;
    }
    bm_report_add_number(o, "exit_status", result->equal ? EQUAL : DIFFERENT);
    bm_report_add_bool(o, "equal", result->equal);
    json_object_object_add(o, "a",
                           side_json(devs[0], cli->args[0], result->root_a));
    json_object_object_add(o, "b",
                           side_json(devs[1], cli->args[1], result->root_b));
    bm_report_add_bytes(o, "compared", result->size);
    bm_report_add_bytes(o, "read", result->data_read);
    bm_report_add_bytes(o, "different", result->different);
    bm_report_add_text(o, "medium", result->medium);
    json_object_set_serializer(ranges, print_ranges, result, NULL);
    json_object_object_add(o, "ranges", ranges);
    bm_report_add_bool(o, "truncated", result->truncated);
    return o;
}

static void say_verdict(const struct bm_compare_result *result,
                        struct bm_device *const devs[2])
{
    bool same_size = devs[0]->size == devs[1]->size;
    char different[32], size[32], read[32];

    if (!same_size)
        cli_say("The sizes differ: %llu and %llu bytes.\n",
                (unsigned long long)devs[0]->size,
                (unsigned long long)devs[1]->size);
    if (result->equal)
        cli_say("Images are identical%s.\n",
                same_size ? "" : " but for zeroes at the end of one");
    else
        cli_say("Images differ: %s in %zu%s range%s.\n",
                bm_format_size(result->different, different, sizeof different),
                result->n_ranges, result->truncated ? " and more" : "",
                result->n_ranges == 1 ? "" : "s");
    cli_say("%s compared, %s of each read (%s).\n",
            bm_format_size(result->size, size, sizeof size),
            bm_format_size(result->data_read, read, sizeof read),
            result->medium);
}

static void result_text(const struct cli *cli, struct bm_device *const devs[2],
                        const struct bm_compare_result *result)
{
    for (size_t i = 0; i < result->n_ranges; i++)
        cli_print("%llu %llu\n", (unsigned long long)result->ranges[i].offset,
                  (unsigned long long)result->ranges[i].length);
    if (cli->options.digests)
        cli_print("%s  %s\n%s  %s\n", result->root_a, cli->args[0],
                  result->root_b, cli->args[1]);
    say_verdict(result, devs);
}

/* --- the command -------------------------------------------------------- */

static int on_progress(void *opaque, uint64_t done, uint64_t total)
{
    const struct cli_options *options = opaque;

    /* a document at the end is all that JSON gets */
    return options->json ? cli_stop_asked()
                         : cli_bytes_progress("comparing", done, total);
}

static int compare(struct cli *cli, struct bm_device *devs[2],
                   struct bm_error *err)
{
    const struct cli_options *o = &cli->options;
    const struct bm_compare_how how = {.digests = o->digests,
                                       .zero_tail = !o->strict,
                                       .progress = on_progress,
                                       .opaque = &cli->options};
    struct bm_compare_result result = {0};
    int rc = 0, status;

    for (int i = 0; rc == 0 && i < 2; i++)
        rc = open_side(cli, i, &devs[i], err);
    if (rc == 0)
        rc = bm_compare(devs[0], devs[1], &how, &result, err);
    if (rc != 0)
        return rc;
    if (o->json)
        cli_json(result_json(cli, devs, &result));
    else
        result_text(cli, devs, &result);
    status = result.equal ? EQUAL : DIFFERENT;
    bm_compare_result_clear(&result);
    return status;
}

static void tell_trouble(const struct cli *cli, struct bm_error *err)
{
    json_object *o = cli->options.json ? json_object_new_object() : NULL;
    char line[2100];

    if (o) {
        bm_error_line(err, line, sizeof line);
        bm_report_add_number(o, "exit_status", TROUBLE);
        bm_report_add_text(o, "error", line);
        cli_json(o);
    }
    /* not a usage error: --help would not help */
    bm_status(err, BM_EXIT_FAILED);
    cli_output_error(err, cli->command);
}

int cli_compare(struct cli *cli, struct bm_error *err)
{
    struct bm_device *devs[2] = {NULL, NULL};
    int status;

    cli_output_trouble(TROUBLE);
    cli_catch_signals();
    status = compare(cli, devs, err);
    bm_device_close(devs[0]);
    bm_device_close(devs[1]);
    if (status >= 0)
        return status;
    tell_trouble(cli, err);
    return TROUBLE;
}
