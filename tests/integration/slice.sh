#!/bin/bash
# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A raw disk onto a block device that is larger, and away from there: the guest
# sees the size that it had.
set -euo pipefail
BM_LONG=${BM_LONG:-0}
. "$(dirname "$0")/common.bash"
. "$(dirname "$0")/mover.bash"

size=64M bytes=$((64 << 20))

# device NAME: a fresh loop device of 80 MiB, in $device
device() {
    truncate -s 80M "$LAB_DIR/$1.img"
    device=$(losetup --find --show "$LAB_DIR/$1.img")
    lab_at_exit losetup -d "$device"
    chown nobody "$device"
}

guest() {
    device "$1"
    lab_guest_bare "$1" --disk format=raw,size=$size,fill=8M
    lab_hmp_write "$1" vda 0x5a 3M 64k
}

# Live and saved XML name the device and how much of it is the disk.
stands_on() {
    local name=$1 which
    check_source "$name" vda "$2"
    for which in '' --inactive; do
        lab_equal "slice of $name $which" \
            "$(disk_xpath "$name" vda source/slices/slice/@size $which)" "$bytes"
    done
    lab_equal "capacity of $name" "$(lab_virsh domblkinfo "$name" vda |
        awk '/Capacity/ { print $2 }')" "$bytes"
    lab_hmp_read "$name" vda 0x5a 3M 64k
    check_clean "$name"
}

# There by staged, and back by staged too, given up on the way with the guest
# off: then qemu-img merges the overlays into the slice.
test_staged() {
    local id
    guest s1
    move s1 --strategy staged --to "$device"
    stands_on s1 "$device"
    mover_start iterating move s1 --strategy staged --to "$LAB_DIR/ds2" \
        --overlay-dir "$LAB_DIR/ds2" --name s1.raw
    mover_stands
    lab_hmp_write s1 vda 0x44 7M 64k
    mover_signal KILL
    mover_ends 10 137
    off s1
    id=$(newest_job)
    expect 1 '' blockmig job resume "$id" --back
    lab_virsh -q start s1 >/dev/null
    stands_on s1 "$device"
    lab_hmp_read s1 vda 0x44 7M 64k
    move s1 --strategy staged --to "$LAB_DIR/ds2" \
        --overlay-dir "$LAB_DIR/ds2" --name s1.raw
    check_source s1 vda "$LAB_DIR/ds2/s1.raw"
    lab_equal "a slice" "$(disk_xpath s1 vda 'source/slices')" ''
    lab_hmp_read s1 vda 0x44 7M 64k
    ok "onto a larger device and away, staged"
}

# The guest goes off after the switch: bridge and overlay go down by qemu-img.
test_off() {
    guest o1
    mover_start proving-rest move o1 --strategy staged --to "$device"
    mover_stands
    lab_hmp_write o1 vda 0x66 5M 64k
    off o1
    mover_signal CONT
    mover_ends 60 0
    lab_virsh -q start o1 >/dev/null
    stands_on o1 "$device"
    lab_hmp_read o1 vda 0x66 5M 64k
    ok "a guest that goes off on the way to a larger device"
}

test_back() {
    guest b1
    mover_start settled move b1 --strategy staged --to "$device"
    mover_stands
    lab_hmp_write b1 vda 0x66 5M 64k
    mover_signal KILL
    mover_ends 10 137
    expect 1 '' blockmig job resume "$(newest_job)" --back
    check_source b1 vda "$LAB_DIR/ds1/b1-vda.raw"
    lab_hmp_read b1 vda 0x66 5M 64k
    check_clean b1
    ok "back from a larger device"
}

test_others() {
    guest c1
    move c1 --strategy blockcopy --to "$device"
    stands_on c1 "$device"
    guest c2
    off c2
    move c2 --to "$device"
    lab_virsh -q start c2 >/dev/null
    stands_on c2 "$device"
    ok "by blockcopy, and shut off"
}

[ "$(id -u)" = 0 ] || skip "loop devices need root"
tests=${PARTS:-staged $([ "$BM_LONG" = 0 ] || echo off back others)}
lab_begin
for one in $tests; do
    "test_$one"
done
