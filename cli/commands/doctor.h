// SPDX-FileCopyrightText: the blockmig authors
// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Between cmd-doctor.c (the list, and what concerns libvirt) and
 * doctor-host.c (what concerns this host). A check that finds something that
 * is good to know but no trouble is BM_OK with a text that says so.
 */
#ifndef CLI_COMMANDS_DOCTOR_H
#define CLI_COMMANDS_DOCTOR_H

#include "blockmig/preflight/preflight.h"
#include "cli/commands/commands.h"

/* Programs, state directory, KVM, AppArmor, seccomp. 0 or -ENOMEM. */
int cli_doctor_host(const struct cli_options *options,
                    struct bm_preflight *list);

#endif
