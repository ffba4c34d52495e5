// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
#include "snapshot/domain/chain.h"

#include "nbd/base/cleanup.h"
#include "snapshot/libvirt/xml.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LAYERS 200 /* libvirt's own limit */

static const struct {
    enum bm_source_type type;
    const char *name;
} type_names[] = {
    {BM_SOURCE_NONE, "none"},           {BM_SOURCE_FILE, "file"},
    {BM_SOURCE_BLOCK, "block"},         {BM_SOURCE_NETWORK, "network"},
    {BM_SOURCE_VOLUME, "volume"},       {BM_SOURCE_DIR, "dir"},
    {BM_SOURCE_NVME, "nvme"},           {BM_SOURCE_VHOSTUSER, "vhostuser"},
    {BM_SOURCE_VHOSTVDPA, "vhostvdpa"},
};
#define N_TYPES (sizeof type_names / sizeof type_names[0])

const char *bm_source_type_name(enum bm_source_type type)
{
    for (size_t i = 0; i < N_TYPES; i++)
        if (type_names[i].type == type)
            return type_names[i].name;
    return "other";
}

static enum bm_source_type type_from_name(const char *name)
{
    for (size_t i = 0; name && i < N_TYPES; i++)
        if (!strcmp(type_names[i].name, name))
            return type_names[i].type;
    return BM_SOURCE_OTHER;
}

void bm_chain_clear(struct bm_chain *chain)
{
    for (size_t i = 0; i < chain->n; i++) {
        free(chain->layers[i].path);
        free(chain->layers[i].format);
    }
    free(chain->layers);
    memset(chain, 0, sizeof *chain);
}

/* A fresh, empty layer at the end; NULL: out of memory. */
static struct bm_layer *add_layer(struct bm_chain *chain)
{
    struct bm_layer *layers =
        realloc(chain->layers, (chain->n + 1) * sizeof *layers);

    if (!layers)
        return NULL;
    chain->layers = layers;
    memset(&layers[chain->n], 0, sizeof *layers);
    return &layers[chain->n++];
}

int bm_chain_append(struct bm_chain *chain, enum bm_source_type type,
                    const char *path, const char *format)
{
    struct bm_layer *layer = add_layer(chain);

    if (!layer)
        return -ENOMEM;
    layer->type = type;
    layer->path = path ? strdup(path) : NULL;
    layer->format = format ? strdup(format) : NULL;
    if ((path && !layer->path) || (format && !layer->format))
        return -ENOMEM;
    return 0;
}

int bm_chain_add(struct bm_chain *chain, const struct bm_layer *layer)
{
    int rc = bm_chain_append(chain, layer->type, layer->path, layer->format);
    struct bm_layer *made = rc ? NULL : &chain->layers[chain->n - 1];

    if (rc)
        return rc;
    made->index = layer->index;
    made->encrypted = layer->encrypted;
    made->sliced = layer->sliced;
    made->slice = layer->slice;
    made->id = layer->id;
    return 0;
}

int bm_chain_copy(const struct bm_chain *from, struct bm_chain *to)
{
    int rc = 0;

    memset(to, 0, sizeof *to);
    for (size_t i = 0; !rc && i < from->n; i++)
        rc = bm_chain_add(to, &from->layers[i]);
    to->complete = from->complete;
    if (rc)
        bm_chain_clear(to);
    return rc;
}

static bool same(const char *a, const char *b)
{
    return a == b || (a && b && !strcmp(a, b));
}

static bool layer_equal(const struct bm_layer *a, const struct bm_layer *b)
{
    return a->type == b->type && same(a->path, b->path) &&
           same(a->format, b->format) && a->slice == b->slice;
}

bool bm_chain_ends_with(const struct bm_chain *chain, size_t skip,
                        const struct bm_chain *tail)
{
    if (chain->n != skip + tail->n)
        return false;
    for (size_t i = 0; i < tail->n; i++)
        if (!layer_equal(&chain->layers[skip + i], &tail->layers[i]))
            return false;
    return true;
}

bool bm_chain_names(const struct bm_chain *chain, const char *path)
{
    for (size_t l = 0; l < chain->n; l++)
        if (chain->layers[l].path && !strcmp(chain->layers[l].path, path))
            return true;
    return false;
}

bool bm_chain_equal(const struct bm_chain *a, const struct bm_chain *b)
{
    return bm_chain_ends_with(a, 0, b);
}

const char *bm_chain_text(const struct bm_chain *chain, char *buf, size_t size)
{
    size_t used = 0;

    snprintf(buf, size, "%s", chain->n ? "" : "nothing");
    for (size_t i = 0; i < chain->n && used < size; i++)
        used += (size_t)snprintf(
            buf + used, size - used, "%s%s", i ? " <- " : "",
            chain->layers[i].path ? chain->layers[i].path
                                  : bm_source_type_name(chain->layers[i].type));
    return buf;
}

char *bm_chain_backing_name(const struct bm_layer *layer)
{
    const struct bm_image_layer image = {.path = layer->path,
                                         .format = layer->format,
                                         .block =
                                             layer->type == BM_SOURCE_BLOCK,
                                         .slice = layer->slice};

    return bm_image_backing_name(&image);
}

int bm_chain_images(const struct bm_chain *chain, struct bm_image_layer **out,
                    struct bm_error *err)
{
    struct bm_image_layer *images = calloc(chain->n + 1, sizeof *images);

    if (!images)
        return bm_fail_errno(err, ENOMEM, "cannot describe a chain");
    for (size_t i = 0; i < chain->n; i++) {
        const struct bm_layer *layer = &chain->layers[i];

        if ((layer->type != BM_SOURCE_FILE && layer->type != BM_SOURCE_BLOCK) ||
            !layer->path || !layer->format) {
            free(images);
            bm_fail(err, ENOTSUP, "cannot read the %s image %s",
                    bm_source_type_name(layer->type),
                    layer->path ? layer->path : "without a name");
            return bm_cause(err, "only files and block devices of a stated "
                                 "format can be read here"),
                   -ENOTSUP;
        }
        images[i].path = layer->path;
        images[i].format = layer->format;
        images[i].block = layer->type == BM_SOURCE_BLOCK;
        images[i].slice = layer->slice;
    }
    *out = images;
    return 0;
}

int bm_chain_step(struct bm_chain *chain, struct bm_error *err)
{
    const struct bm_layer *last = &chain->layers[chain->n - 1];
    struct bm_image_info info;
    int rc = bm_image_read_info(last->path, last->format, &info, err);

    if (rc)
        return rc;
    if (!info.backing) {
        chain->complete = true;
    } else if (!info.backing_format) {
        rc = bm_fail(err, EINVAL, "cannot follow the backing file of %s",
                     last->path);
        bm_cause(err, "its header names %s but no format, and we do not probe",
                 info.backing);
        bm_remedy(err, "state the format with qemu-img rebase -u -F");
        bm_status(err, BM_EXIT_REFUSED);
    } else {
        rc = bm_chain_append(chain, BM_SOURCE_FILE, info.backing,
                             info.backing_format);
        rc = rc ? rc : 1;
    }
    bm_image_info_clear(&info);
    return rc;
}

int bm_chain_complete(struct bm_chain *chain, struct bm_error *err)
{
    int rc = chain->n ? 1 : 0;

    while (rc > 0 && !chain->complete) {
        const struct bm_layer *last = &chain->layers[chain->n - 1];

        if (chain->n >= MAX_LAYERS)
            return bm_fail(err, ELOOP, "the chain of %s has no end",
                           chain->layers[0].path);
        if ((last->type != BM_SOURCE_FILE && last->type != BM_SOURCE_BLOCK) ||
            !last->format || !strcmp(last->format, "raw"))
            chain->complete = true;
        else
            rc = bm_chain_step(chain, err);
    }
    return rc < 0 ? rc : 0;
}

/* --- from XML --- */

static char *join(const char *a, char sep, const char *b)
{
    char *text;

    if (asprintf(&text, "%s%c%s", a ? a : "", sep, b ? b : "") < 0)
        return NULL;
    return text;
}

static char *source_path(enum bm_source_type type, xmlNodePtr source)
{
    BM_FREE char *a = NULL;
    BM_FREE char *b = NULL;

    switch (type) {
    case BM_SOURCE_FILE:
        return bm_xml_attr(source, "file");
    case BM_SOURCE_BLOCK:
    case BM_SOURCE_VHOSTVDPA:
        return bm_xml_attr(source, "dev");
    case BM_SOURCE_DIR:
        return bm_xml_attr(source, "dir");
    case BM_SOURCE_NETWORK:
        a = bm_xml_attr(source, "protocol");
        b = bm_xml_attr(source, "name");
        return join(a, ':', b);
    case BM_SOURCE_VOLUME:
        a = bm_xml_attr(source, "pool");
        b = bm_xml_attr(source, "volume");
        return join(a, '/', b);
    default:
        return NULL;
    }
}

/* <driver type=> on a disk, <format type=> on a mirror or backingStore. */
static char *layer_format(xmlNodePtr element)
{
    xmlNodePtr format = bm_xml_child(element, "format");

    if (!format)
        format = bm_xml_child(element, "driver");
    return bm_xml_attr(format, "type");
}

/* <slices><slice type='storage' offset= size=/></slices>, libvirt knows one. */
static uint64_t read_slice(xmlNodePtr source)
{
    xmlNodePtr slice = bm_xml_child(bm_xml_child(source, "slices"), "slice");
    BM_FREE char *size = bm_xml_attr(slice, "size");

    return size && bm_xml_attr_is(slice, "offset", "0")
               ? strtoull(size, NULL, 10)
               : 0;
}

static int read_layer(xmlNodePtr element, struct bm_chain *out)
{
    xmlNodePtr source = bm_xml_child(element, "source");
    BM_FREE char *type = bm_xml_attr(element, "type");
    BM_FREE char *index = bm_xml_attr(source, "index");
    BM_FREE char *below = bm_xml_attr(element, "index");
    struct bm_layer *layer = add_layer(out);

    if (!layer)
        return -ENOMEM;
    layer->type = source ? type_from_name(type) : BM_SOURCE_NONE;
    layer->format = layer_format(element);
    layer->path = source ? source_path(layer->type, source) : NULL;
    /* of a disk its source has it, of what is below the backingStore */
    layer->index = index ? atoi(index) : below ? atoi(below) : 0;
    layer->encrypted = bm_xml_child(source, "encryption") ||
                       bm_xml_child(element, "encryption");
    layer->sliced = bm_xml_child(source, "slices") != NULL;
    if (layer->format && !strcmp(layer->format, "raw"))
        layer->slice = read_slice(source);
    if ((layer->type == BM_SOURCE_FILE || layer->type == BM_SOURCE_BLOCK) &&
        !layer->path)
        layer->type = BM_SOURCE_NONE;
    return 0;
}

int bm_chain_from_xml(xmlNodePtr element, struct bm_chain *out)
{
    memset(out, 0, sizeof *out);
    while (element && out->n < MAX_LAYERS) {
        xmlNodePtr next = bm_xml_child(element, "backingStore");

        if (read_layer(element, out) < 0) {
            bm_chain_clear(out);
            return -ENOMEM;
        }
        if (next && !bm_xml_child(next, "source")) {
            out->complete = true;
            next = NULL;
        }
        element = next;
    }
    return 0;
}
