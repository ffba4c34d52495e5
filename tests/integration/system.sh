#!/bin/bash
# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A system libvirtd, whose guests run as another user: the images belong to
# whom they must, before, while and after the guest runs.
set -euo pipefail
. "$(dirname "$0")/common.bash"
. "$(dirname "$0")/mover.bash"

owner() { stat -c %U:%G "$1"; }

running_owner=libvirt-qemu:libvirt-qemu

# test_running NAME FORMAT STRATEGY OWNER: whose the released source is. After a
# freeze libvirt does not give an image back to whom it belonged.
test_running() {
    local old=$LAB_DIR/ds1/$1-vda.$2 new=$LAB_DIR/ds2/$1-vda.$2
    lab define "$1" --disk format="$2",size=64M,fill=16M
    # whom the image belonged to before the guest was started
    chown daemon:daemon "$old"
    lab_virsh -q start "$1" >/dev/null
    lab_equal "owner of the source" "$(owner "$old")" "$running_owner"
    lab_hmp_write "$1" vda 0x5a 3M 64k
    expect 0 '0 different' blockmig move "$1" --to "$LAB_DIR/ds2" \
        --strategy "$3"
    check_source "$1" vda "$new"
    check_clean "$1"
    lab_equal "owner of the target" "$(owner "$new")" "$running_owner"
    lab_equal "owner of the released source" "$(owner "$old")" "$4"
    lab_equal "files in the target store" "$(ls -A "$LAB_DIR/ds2")" \
        "$1-vda.$2"
    lab_hmp_read "$1" vda 0x5a 3M 64k
    lab_hmp_write "$1" vda 0x5a 4M 64k
    off "$1"
    [ "$(owner "$new")" != "$running_owner" ] ||
        fail "$new is still $running_owner's after the end of the guest"
    lab_virsh -q start "$1" >/dev/null
    lab_hmp_read "$1" vda 0x5a 4M 64k
    expect 0 '0 different' blockmig move "$1" --to "$LAB_DIR/ds1" \
        --name "$1-back" --source delete
    [ ! -e "$new" ] || fail "$new is not deleted"
    lab_hmp_read "$1" vda 0x5a 4M 64k
    off "$1"
    ok "a running guest, $2, $3"
}

# Given up in the middle: the source is the guest's, the target is gone.
test_cancelled() {
    local old=$LAB_DIR/ds1/c1-vda.raw
    lab_guest_bare c1 --disk size=64M,fill=all
    lab_hmp_write c1 vda 0x5a 3M 64k
    mover_start copying.started move c1 --to "$LAB_DIR/ds2" --bandwidth 4M
    mover_stands
    mover_signal INT
    mover_signal CONT
    mover_ends 20 1
    lab_equal "owner of the source" "$(owner "$old")" "$running_owner"
    lab_equal "left in the target store" "$(ls -A "$LAB_DIR/ds2")" ''
    check_clean c1
    lab_hmp_write c1 vda 0x5a 3M 64k
    off c1
    ok "cancelled"
}

test_cold() {
    local old=$LAB_DIR/ds1/z1-vda.raw new=$LAB_DIR/ds2/z1-vda.raw
    lab define z1 --disk size=64M,fill=16M
    chown daemon:daemon "$old"
    chmod 640 "$old"
    expect 0 '0 different' blockmig move z1 --to "$LAB_DIR/ds2"
    check_source z1 vda "$new"
    lab_equal "owner of the source" "$(owner "$old")" daemon:daemon
    same_content raw "$old" raw "$new"
    check_clean z1
    lab_virsh -q start z1 >/dev/null
    lab_equal "owner of the target" "$(owner "$new")" "$running_owner"
    off z1
    ok "shut off"
}

lab_begin --system
test_running r1 raw blockcopy daemon:daemon
test_running r2 raw staged "$running_owner"
test_running q1 qcow2 blockcopy daemon:daemon
test_running q2 qcow2 staged "$running_owner"
test_cancelled
rm "$LAB_DIR"/ds?/*
test_cold
