// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A disk's backing chain as libvirt's XML tells it, the active layer first.
 */
#ifndef BM_SNAPSHOT_DOMAIN_CHAIN_H
#define BM_SNAPSHOT_DOMAIN_CHAIN_H

#include "nbd/image/qemu-img.h"

#include <libxml/tree.h>
#include <stdbool.h>
#include <stddef.h>

enum bm_source_type {
    BM_SOURCE_NONE, /* an empty drive */
    BM_SOURCE_FILE,
    BM_SOURCE_BLOCK,
    BM_SOURCE_NETWORK,
    BM_SOURCE_VOLUME,
    BM_SOURCE_DIR,
    BM_SOURCE_NVME,
    BM_SOURCE_VHOSTUSER,
    BM_SOURCE_VHOSTVDPA,
    BM_SOURCE_OTHER,
};
const char *bm_source_type_name(enum bm_source_type type);

struct bm_layer {
    enum bm_source_type type;
    char *path;   /* file or block: the path; network: protocol:name;
                   * volume: pool/volume; else NULL */
    char *format; /* raw, qcow2, ...; NULL when the XML does not say */
    int index;    /* of the live XML, vda[index]; 0 when it has none */
    bool encrypted, sliced;
    uint64_t slice; /* bytes: only the first so many of a raw image are the
                     * disk; 0: all, or a slice that begins elsewhere */
    uint64_t id;    /* bm_file_id when it was looked at; 0: not known */
};

struct bm_chain {
    struct bm_layer *layers;
    size_t n;
    bool complete; /* the XML ends it with an empty backingStore */
};

void bm_chain_clear(struct bm_chain *chain);
int bm_chain_copy(const struct bm_chain *from, struct bm_chain *to);
int bm_chain_append(struct bm_chain *chain, enum bm_source_type type,
                    const char *path, const char *format);
/* A copy of a layer, at the end. */
int bm_chain_add(struct bm_chain *chain, const struct bm_layer *layer);
/* Whether a layer has that path. */
bool bm_chain_names(const struct bm_chain *chain, const char *path);
/* Same types, paths, formats and slices in the same order (indexes do not
 * count). */
bool bm_chain_equal(const struct bm_chain *a, const struct bm_chain *b);
/* Whether chain is `tail` below its first `skip` layers. */
bool bm_chain_ends_with(const struct bm_chain *chain, size_t skip,
                        const struct bm_chain *tail);
/* "a.qcow2 <- b.raw" for messages, into buf; returns buf. */
const char *bm_chain_text(const struct bm_chain *chain, char *buf, size_t size);
/* What the header of an image on that layer says, as libvirt has it written:
 * the path, or of a slice a json: name. Caller frees; NULL: out of memory. */
char *bm_chain_backing_name(const struct bm_layer *layer);
/* Layers for nbd/, strings borrowed; caller frees the array. ENOTSUP when a
 * layer is neither file nor block. */
int bm_chain_images(const struct bm_chain *chain, struct bm_image_layer **out,
                    struct bm_error *err);
/* One step down by the header of the last layer, which has a format. 1: there
 * is one more layer; 0: there is none, the chain is complete. */
int bm_chain_step(struct bm_chain *chain, struct bm_error *err);
/* A shut-off domain's XML may name the top image only: follows the headers
 * (explicit formats, no probing) to the end of the chain. */
int bm_chain_complete(struct bm_chain *chain, struct bm_error *err);
/* Reads <source>, <driver>/<format> and the nested <backingStore> of a
 * <disk>, <mirror> or <backingStore> element. */
int bm_chain_from_xml(xmlNodePtr element, struct bm_chain *out);

#endif
