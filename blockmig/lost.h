// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * An overlay of ours that libvirt has lost sight of: it died between QEMU's
 * transaction that put it under the guest and its own note of it. libvirt's
 * XML then names the image below as the top, QEMU writes to the overlay, and a
 * guest that is started anew comes up without what is in there.
 *
 * So one of which libvirt has not been seen to know counts as in use as long
 * as QEMU holds it, and is not removed while it holds anything.
 */
#ifndef BM_LOST_H
#define BM_LOST_H

#include "blockmig/mover.h"

/*
 * Reads the domain, and looks at the overlays that the last freeze was asked
 * for with. Of a guest that went off since, the XML is made to name them again.
 * -BM_STUCK with BM_EXIT_HELD: QEMU has one open; or what one holds cannot be
 * given back without a person.
 */
int bm_lost_check(struct bm_mover *m, struct bm_error *err);

#endif
