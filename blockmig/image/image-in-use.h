// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Users of an image are a set: every domain's live and inactive XML, every
 * snapshot's metadata, the headers of the images that those name and of those
 * in the same folder, and last QEMU's own lock. Unknown counts as used.
 */
#ifndef BM_IMAGE_IMAGE_IN_USE_H
#define BM_IMAGE_IMAGE_IN_USE_H

#include "nbd/base/error.h"
#include "snapshot/libvirt/connection.h"

/* 0: no domain but `uuid` names the image, in XML or snapshot metadata.
 * -EBUSY: another does, named in the cause. */
int bm_users_other_domains(struct bm_connection *conn, const char *uuid,
                           const char *path, struct bm_error *err);
/* 0: nobody at all uses it, so it may be deleted. -EBUSY: somebody does. uuid,
 * unless NULL: a restore point of that domain which has put it on its state,
 * and does not need it, does not count. */
int bm_users_none(struct bm_connection *conn, const char *uuid,
                  const char *path, struct bm_error *err);

#endif
