#!/bin/bash
# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Cancelled before the pivot was requested: exit 1, the guest on its source,
# the target removed, nothing of ours left. After it: done, and said so.
set -euo pipefail
. "$(dirname "$0")/common.bash"
. "$(dirname "$0")/mover.bash"

copying() { in_phase copying && [ -s "$LAB_DIR/ds2/$name-vda.raw" ]; }

# The world is as it was before the move began.
untouched() {
    lab_equal "images and XML of $name" "$(picture "$name")" "$before"
    check_clean "$name"
    job_is "$(newest_job)" state rolled-back
    job_is "$(newest_job)" exit_status 1
    lab_is_state "$name" "shut off" || {
        lab_hmp_read "$name" vda 0x5a 3M 64k
        lab_hmp_write "$name" vda 0x6b 4M 4k
    }
}

# cancelled WHAT CMD...: CMD cancels a slow copy
cancelled() {
    local what=$1
    shift
    before=$(picture "$name")
    mover_start none move "$name" --to "$LAB_DIR/ds2" --bandwidth 2M
    lab_wait 20 copying || fail "it does not copy: $(mover_said)"
    "$@"
    mover_ends 20 1 'the move of'
    untouched
    ok "$what while copying, $(lab_virsh domstate "$name" | head -n 1)"
}

cancel_newest() {
    expect 0 'asked to cancel' blockmig job cancel "$(newest_job)"
}

# cancelled_at POINT SIGNAL: it stands there when the signal comes
cancelled_at() {
    before=$(picture "$name")
    mover_start "$1" move "$name" --to "$LAB_DIR/ds2"
    mover_stands
    mover_signal "$2"
    mover_signal CONT
    mover_ends 30 1
    untouched
    ok "$2 at $1"
}

# too_late POINT SIGNAL
too_late() {
    local to=$LAB_DIR/ds2
    [ "$(disk_source "$name" vda)" = "$LAB_DIR/ds1/$name-vda.raw" ] ||
        to=$LAB_DIR/ds1
    mover_start "$1" move "$name" --to "$to" --max-pause 60000 --source delete
    mover_stands
    mover_signal "$2"
    mover_signal CONT
    mover_ends 40 0 'too late to cancel'
    check_source "$name" vda "$to/$name-vda.raw"
    check_clean "$name"
    lab_is_state "$name" running || fail "$name does not run"
    lab_hmp_read "$name" vda 0x5a 3M 64k
    job_is "$(newest_job)" state 'done'
    ok "$2 at $1 comes too late"
}

# A small file system; false: not here.
small_store() {
    small=$LAB_DIR/small
    if [ "$(id -u)" != 0 ]; then
        echo "no small file system without root: no store fills up"
        return 1
    fi
    truncate -s 256M "$small.img"
    mkfs.ext4 -q -m 0 "$small.img"
    mkdir "$small"
    if ! mount -o loop "$small.img" "$small"; then
        echo "no loop device: no store fills up"
        return 1
    fi
    lab_at_exit umount "$small"
    chmod 777 "$small"
}

# The store fills up in the middle of the copy: given up in the same way. (The
# source has a hole: the target of one without has its room from the start.)
fills_up() {
    before=$(picture "$name")
    mover_start copying.started move "$name" --to "$small" "$@"
    mover_stands
    dd if=/dev/zero of="$small/other" bs=1M status=none 2>/dev/null || true
    mover_signal CONT
    mover_ends 30 1
    untouched
    rm "$small/other"
    lab_equal "left in the full store" "$(ls -A "$small")" lost+found
    ok "a store that fills up, $(lab_virsh domstate "$name" | head -n 1)"
}

lab_begin
name=vm1
lab_guest_bare vm1 --disk size=64M,fill=all --disk size=64M,fill=all
lab_hmp_write vm1 vda 0x5a 3M 64k
cancelled SIGINT mover_signal INT
cancelled SIGTERM mover_signal TERM
cancelled "job cancel" cancel_newest
cancelled_at allocating TERM
cancelled_at ready INT
cancelled_at switching TERM
off vm1
cancelled SIGINT mover_signal INT
cancelled "job cancel" cancel_newest
cancelled_at proving INT
cancelled_at copying.started TERM
cancelled_at switching INT

name=vm2
lab_guest_bare vm2 --disk size=64M,fill=60M
lab_hmp_write vm2 vda 0x5a 3M 64k
if small_store; then
    fills_up --bandwidth 4M
fi
too_late switching.pivot-sent TERM
too_late switching.frozen INT
too_late proving-rest TERM
too_late consolidating.started INT
if mountpoint -q "$LAB_DIR/small"; then
    off vm2
    fills_up
fi
