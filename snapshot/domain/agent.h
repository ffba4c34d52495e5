// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The agent in the guest (qemu-guest-agent), as libvirt lets us speak to it.
 * Each call can be abandoned, after twice the ordinary deadline, and libvirt
 * gives the agent up before that.
 *
 * -EHOSTDOWN: there is none, it is not connected, or it did not answer: what
 * was asked may come to be all the same. -ETIMEDOUT: abandoned, likewise.
 */
#ifndef BM_SNAPSHOT_DOMAIN_AGENT_H
#define BM_SNAPSHOT_DOMAIN_AGENT_H

#include "snapshot/domain/domain.h"

/* How long the agent may take over a freeze, and how long that may last: half
 * of an ordinary call, 10 s. */
int bm_agent_ms(void);

/* 0: it is there and answers. Changes nothing. */
int bm_agent_ping(struct bm_domain *domain, struct bm_error *err);
/* Flushes and freezes all file systems; *count: of so many. Another error than
 * those above: it was refused, and nothing is frozen by this call. */
int bm_agent_freeze(struct bm_domain *domain, int *count, struct bm_error *err);
/* Thaws them, whoever froze them; *count: of so many, 0: none was frozen. */
int bm_agent_thaw(struct bm_domain *domain, int *count, struct bm_error *err);

#endif
