// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Which layers of a disk's chain serve others too: another domain, another disk
 * or a branch of the snapshot tree of the same one, or a file beside them. Such
 * a layer cannot be taken away from where it is.
 */
#ifndef BM_IMAGE_SHARED_LAYERS_H
#define BM_IMAGE_SHARED_LAYERS_H

#include "snapshot/domain/domain.h"

/*
 * *from is how many of the chain's uppermost layers are the disk's alone (its
 * first layer always is), *why who uses the next one (malloc'd; NULL: nobody,
 * all are). The folders that are searched are those of the layers, and `store`
 * (NULL: no other). What cannot be read counts as no user.
 */
int bm_sharing_find(struct bm_connection *conn, const struct bm_domain *domain,
                    const char *target, const struct bm_chain *chain,
                    const char *store, size_t *from, char **why,
                    struct bm_error *err);

#endif
