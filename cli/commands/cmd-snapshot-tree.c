// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/* snapshot tree: the images of a domain, each under the one it stands on. */
#include "cli/session/snapshot-context.h"
#include "nbd/base/units.h"
#include "cli/output/write.h"
#include "cli/commands/commands.h"
#include "blockmig/report/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define INDENT_MAX 64

/* An image as it is shown. */
struct shown {
    const struct bm_tree_image *image;
    uint64_t size; /* guest-visible; 0: not known */
    char error[1024];
};

static void look_at(const struct bm_tree_image *image, struct shown *out)
{
    struct bm_error err = BM_ERROR_INIT;
    struct bm_image_info info;

    *out = (struct shown){.image = image};
    if (image->broken)
        snprintf(out->error, sizeof out->error, "%s", image->broken);
    else if (!image->there)
        snprintf(out->error, sizeof out->error, "missing");
    else if (image->layer.type != BM_SOURCE_FILE &&
             image->layer.type != BM_SOURCE_BLOCK)
        return;
    else if (bm_image_read_info(image->layer.path, image->layer.format, &info,
                                &err) < 0)
        snprintf(out->error, sizeof out->error, "%s",
                 err.cause[0] ? err.cause : err.what);
    else {
        out->size = image->layer.slice ? image->layer.slice : info.virtual_size;
        bm_image_info_clear(&info);
    }
}

/* The points whose state of this disk it is. */
static json_object *points_json(const struct cli_snapshot_context *p, int i)
{
    json_object *array = json_object_new_array();

    for (size_t k = 0; array && k < p->points.n; k++)
        if (bm_tree_is_point(&p->tree, i, &p->points.list[k]))
            json_object_array_add(
                array, json_object_new_string(p->points.list[k].name));
    return array;
}

static json_object *image_json(const struct cli_snapshot_context *p, int i)
{
    const struct bm_tree_image *image = &p->tree.list[i];
    json_object *o = json_object_new_object();
    struct shown shown;

    if (!o)
        return NULL;
    look_at(image, &shown);
    bm_report_add_text(o, "path", image->layer.path);
    bm_report_add_text(o, "format", image->layer.format);
    bm_report_add_text(
        o, "backing",
        image->below < 0 ? NULL : p->tree.list[image->below].layer.path);
    json_object_object_add(o, "virtual_size",
                           json_object_new_uint64(shown.size));
    json_object_object_add(o, "allocated", json_object_new_uint64(image->held));
    bm_report_add_bool(o, "active", image->top);
    json_object_object_add(o, "snapshots", points_json(p, i));
    bm_report_add_text(o, "used_by", image->other);
    bm_report_add_text(o, "error", shown.error[0] ? shown.error : NULL);
    return o;
}

static json_object *tree_json(const struct cli_snapshot_context *p)
{
    json_object *array = json_object_new_array();

    for (size_t d = 0; array && d < p->domain->n_disks; d++) {
        json_object *disk = json_object_new_object();
        json_object *images = json_object_new_array();

        bm_report_add_text(disk, "target", p->domain->disks[d].target);
        for (size_t i = 0; i < p->tree.n; i++)
            if (p->tree.list[i].disk == (int)d)
                json_object_array_add(images, image_json(p, (int)i));
        json_object_object_add(disk, "images", images);
        json_object_array_add(array, disk);
    }
    return array;
}

/* vda[3]: so virsh and --top, --base name it too. */
static void print_index(const struct cli_snapshot_context *p,
                        const struct bm_tree_image *image)
{
    const struct bm_disk *disk =
        image->disk >= 0 ? &p->domain->disks[image->disk] : NULL;

    for (size_t l = 0; disk && image->layer.path && l < disk->chain.n; l++) {
        const struct bm_layer *layer = &disk->chain.layers[l];

        if (layer->index && layer->path &&
            !strcmp(layer->path, image->layer.path))
            cli_print("  %s[%d]", disk->target, layer->index);
    }
}

static void print_notes(const struct cli_snapshot_context *p, int i,
                        const struct shown *shown)
{
    for (size_t k = 0; k < p->points.n; k++)
        if (bm_tree_is_point(&p->tree, i, &p->points.list[k]))
            cli_print("  [%s]", p->points.list[k].name);
    if (shown->image->top)
        cli_print("  active");
    if (shown->image->stray && bm_tree_child(&p->tree, i, -1) < 0)
        cli_print("  (no domain names it)");
    else if (shown->image->other)
        cli_print("  (%s)", shown->image->other);
    if (shown->error[0])
        cli_print("  BROKEN: %s", shown->error);
    cli_print("\n");
}

static void print_image(const struct cli_snapshot_context *p, int i,
                        unsigned indent, bool branch)
{
    const struct bm_tree_image *image = &p->tree.list[i];
    char size[32], held[32];
    struct shown shown;

    look_at(image, &shown);
    if (indent > INDENT_MAX)
        indent = INDENT_MAX;
    cli_print("%*s%s%s  %s  %s, %s allocated", indent, "",
              branch   ? "+- "
              : indent ? "   "
                       : "",
              image->layer.path ? image->layer.path : "-",
              image->layer.format ? image->layer.format : "?",
              bm_format_size(shown.size, size, sizeof size),
              bm_format_size(image->held, held, sizeof held));
    print_index(p, image);
    print_notes(p, i, &shown);
}

/* What stands on i: one alone goes on below it, several are branches. */
static void print_branch(const struct cli_snapshot_context *p, int i,
                         unsigned indent, bool branch, size_t left)
{
    bool several;

    print_image(p, i, indent, branch);
    several = bm_tree_children(&p->tree, i) > 1;
    for (int k = bm_tree_child(&p->tree, i, -1); k >= 0 && left;
         k = bm_tree_child(&p->tree, i, k))
        print_branch(p, k, several ? indent + 3 : indent, several, left - 1);
}

static void print_tree(const struct cli_snapshot_context *p)
{
    for (size_t d = 0; d < p->domain->n_disks; d++) {
        bool named = false;

        for (size_t i = 0; i < p->tree.n; i++) {
            if (p->tree.list[i].disk != (int)d || p->tree.list[i].below >= 0)
                continue;
            if (!named)
                cli_print("%s of %s\n", p->domain->disks[d].target,
                          p->domain->name);
            else
                cli_print("\n"); /* it does not stand on the last one */
            named = true;
            print_branch(p, (int)i, 0, false, p->tree.n);
        }
    }
}

int cli_snapshot_tree(struct cli *cli, struct bm_error *err)
{
    CLI_SNAPSHOT_CONTEXT context = {0};
    int rc = cli_snapshot_context_read(cli, CLI_KIN_ALL, &context, err);

    if (rc)
        return rc;
    if (cli->options.json)
        cli_json(tree_json(&context));
    else
        print_tree(&context);
    return 0;
}
