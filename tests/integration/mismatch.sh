#!/bin/bash
# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The target is damaged behind our back before the proof of the rest: exit 4,
# the guest runs on its source with all that it wrote since the switch, the
# target is removed. A target that never reads back is not switched to. (That
# damage before the switch is repaired: staged.sh, cold.sh.)
set -euo pipefail
. "$(dirname "$0")/common.bash"
. "$(dirname "$0")/mover.bash"
. "$(dirname "$0")/bad-store.bash"

flip() { printf 'bad!' | dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }

# to_proof DOMAIN ARGS...: a move that stands before its proof
to_proof() {
    mover_start proving-rest move "$@" --to "$LAB_DIR/ds2" --json
    mover_stands
    lab_equal "where $1 runs" "$(disk_source "$1" vda | grep -o /ds2/)" /ds2/
}

# proof_fails DOMAIN TARGET OFFSET: it goes on, and ends so
proof_fails() {
    local result
    mover_signal CONT
    mover_ends 60 4 "the proof of disk $2 failed.*the first at offset $3"
    result=$(tail -n 1 "$LAB_DIR/mover.out")
    lab_equal "exit_status in JSON" "$(jq .exit_status <<<"$result")" 4
    lab_equal "state in JSON" "$(jq -r .state <<<"$result")" rolled-back
    jq -e --arg t "$2" '.disks[] | select(.target == $t) |
        .proof_different == 65536 and (.proven | not) and
        .digest_source != .digest_dest' <<<"$result" >/dev/null ||
        fail "the disk's proof in JSON: $result"
    lab_equal "kept in JSON" "$(jq -c .kept <<<"$result")" '[]'
    lab_equal "left in the target store" "$(ls -A "$LAB_DIR/ds2")" ''
    check_clean "$1"
}

# A guest that checks all that it wrote, before and after the switch.
test_guest() {
    lab_guest_os g1 --disk format=raw,size=128M,fill=64M --args 'g.rate=200'
    # by staged what the guest wrote last would lie over the damage
    to_proof g1 --strategy blockcopy
    lab_mark g1
    lab_wait_line g1 '^T .*[0-9]$' 20 >/dev/null
    # where the guest does not write in a moment: its area begins at 0
    flip "$LAB_DIR/ds2/g1-vda.raw" $((100 << 20))
    proof_fails g1 vda $((100 << 20))
    check_source g1 vda "$LAB_DIR/ds1/g1-vda.raw"
    lab_verify g1
    ! grep -aq '^WRONG\|^IOERR' "$LAB_DIR/g1.serial" ||
        fail "the guest complains"
    off g1
    lab_mark g1
    lab_virsh -q start g1 >/dev/null
    lab_wait_line g1 '^B disk=vda .* lost=0 wrong=0 .* maxseq=[1-9]' 60 >/dev/null
    off g1
    ok "a guest under load goes back, nothing lost"
}

pair() {
    lab_guest_bare "$1" --disk size=64M,fill=8M --disk format=qcow2,size=64M
    lab_hmp_write "$1" vda 0x5a 3M 64k
    lab_hmp_write "$1" vdb 0x5b 3M 64k
}

# What was written before and after the switch is there, on the sources.
pair_is_right() {
    check_source "$1" vda "$LAB_DIR/ds1/$1-vda.raw"
    check_source "$1" vdb "$LAB_DIR/ds1/$1-vdb.qcow2"
    check_format "$1" vda raw
    check_format "$1" vdb qcow2
    lab_hmp_read "$1" vda 0x5a 3M 64k
    lab_hmp_read "$1" vdb 0x5b 3M 64k
    lab_hmp_read "$1" vda 0x6a 5M 64k
    lab_hmp_read "$1" vdb 0x6b 5M 64k
}

write_after() {
    lab_hmp_write "$1" vda 0x6a 5M 64k
    lab_hmp_write "$1" vdb 0x6b 5M 64k
}

# Where in a qcow2 file that byte of the guest lies.
offset_of() {
    lab run qemu-img map -U --output=json -f qcow2 "$1" | jq --argjson at "$2" \
        '.[] | select(.start <= $at and $at < .start + .length) |
            .offset + $at - .start'
}

# Only the second disk differs: both go back.
test_pair() {
    local target=$LAB_DIR/ds2/b1-vdb.qcow2
    pair b1
    to_proof b1
    write_after b1
    flip "$target" "$(offset_of "$target" $((3 << 20)))"
    proof_fails b1 vdb $((3 << 20))
    pair_is_right b1
    # and nothing stands in the way of a second try
    move b1 --to "$LAB_DIR/ds2" --source delete
    lab_hmp_read b1 vdb 0x6b 5M 64k
    check_clean b1
    rm "$LAB_DIR"/ds2/*
    ok "two disks, one of them differs"
}

# The guest went off before the proof failed.
test_off() {
    pair b2
    to_proof b2
    write_after b2
    off b2
    flip "$LAB_DIR/ds2/b2-vda.raw" $((9 << 20))
    proof_fails b2 vda $((9 << 20))
    lab_virsh -q start b2 >/dev/null
    pair_is_right b2
    ok "the guest is off by then"
}

# wrong_target DOMAIN: its target does not read back, however often written
wrong_target() {
    local before
    before=$(picture "$1")
    mover_start copying move "$1" --to "$LAB_DIR/bad"
    mover_stands
    fault wrong
    mover_signal CONT
    mover_ends 60 4 'vda.*at offset 2097152.*written three times'
    fault ok
    lab_equal "images and XML of $1" "$(picture "$1")" "$before"
    lab_equal "left in the target store" "$(ls -A "$LAB_DIR/under")" ''
    job_is "$(newest_job)" state rolled-back
    check_clean "$1"
}

test_wrong() {
    bad_store
    pair w1
    wrong_target w1
    lab_hmp_read w1 vda 0x5a 3M 64k
    off w1
    wrong_target w1
    ok "a target that does not read back: never switched to, running or off"
}

lab_begin
for one in ${TESTS:-guest pair off wrong}; do
    test_$one
done
