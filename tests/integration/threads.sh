#!/usr/bin/env bash
# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# One staged move, one merge under a running guest, and one cancel of a move
# that copies. With TSAN=1 the program is built with ThreadSanitizer, which
# makes it end with 99 when two threads touch one thing at once.
set -euo pipefail
. "$(dirname "$0")/common.bash"
. "$(dirname "$0")/mover.bash"
name=vm1

lab_begin
lab_guest_os "$name" --disk size=64M,fill=32M --args 'g.rate=50'

expect 0 'proven' blockmig move "$name" --to "$LAB_DIR/ds2"
check_source "$name" vda "$LAB_DIR/ds2/$name-vda.raw"
check_clean "$name"
ok "a staged move"

expect 0 '' blockmig snapshot create "$name" s1
expect 0 'merged into' blockmig snapshot delete "$name" s1
check_clean "$name"
ok "a merge under a running guest"

mover_start none move "$name" --to "$LAB_DIR/ds1" --name back.raw --bandwidth 1M
lab_wait 60 in_phase copying || fail "it does not copy: $(mover_said)"
expect 0 'asked to cancel' blockmig job cancel "$(newest_job)"
mover_ends 60 1 'the move of'
check_clean "$name"
ok "a cancel of a move that copies"
lab_verify "$name"
