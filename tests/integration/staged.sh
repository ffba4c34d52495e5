#!/bin/bash
# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The staged move: frozen, copied, proven, iterated, switched, settled, merged;
# by guests without a system, and by one that checks its own data.
set -euo pipefail
. "$(dirname "$0")/common.bash"
. "$(dirname "$0")/mover.bash"

size=64M

# staged DOMAIN OPTION...: by blockmig, which must end with 0
staged() {
    local name=$1
    shift
    move "$name" --strategy staged --to "$LAB_DIR/ds2" "$@"
}

guest() {
    lab_guest_bare "$@"
    lab_hmp_write "$1" vda 0x5a 3M 64k
}

# moved NAME FORMAT: the disk stands on its new image, which is sound, and its
# bytes are those that the guest sees; nothing of ours is left.
moved() {
    local name=$1 format=$2 new=$LAB_DIR/ds2/$1-vda.$2
    check_source "$name" vda "$new"
    check_format "$name" vda "$format"
    check_clean "$name"
    lab_hmp_read "$name" vda 0x5a 3M 64k
    lab_equal proven "$(result 'disks[0].proven')" true
}

# The digest in the report is that of the new image at the moment of the
# switch; this guest has not written since.
digest_holds() {
    local name=$1 format=$2
    ! lab_is_state "$name" running || off "$name"
    lab_equal "digest of $name" \
        "$(blockmig hash -f "$format" "$LAB_DIR/ds2/$name-vda.$format" |
            cut -d ' ' -f 1)" "$(result 'disks[0].digest_dest')"
}

test_formats() {
    local from to name n=0
    for from in raw qcow2; do
        for to in raw qcow2; do
            n=$((n + 1)) name=s$n
            guest $name --disk format=$from,size=$size,fill=8M
            staged $name --format $to
            moved $name $to
            [ $to = raw ] || lab run qemu-img check -U -q -f qcow2 \
                "$LAB_DIR/ds2/$name-vda.qcow2"
            digest_holds $name $to
        done
    done
    ok "raw and qcow2, each to each, with their digests"
}

# What is written while the move waits is not lost on the way back, and on the
# way forth.
test_settle() {
    local id
    guest t1 --disk format=raw,size=$size,fill=8M
    mover_start none move t1 --strategy staged --to "$LAB_DIR/ds2" --settle 1h
    lab_wait 60 is_settled || fail "never settled: $(mover_said)"
    id=$(newest_job)
    lab_hmp_write t1 vda 0x66 5M 64k
    expect 0 '' blockmig job undo "$id"
    mover_ends 30 1 'was undone'
    job_is "$id" state rolled-back
    expect 0 'vda of t1: [^ ]*/ds1/t1-vda.raw, where it was' \
        blockmig job show "$id"
    check_source t1 vda "$LAB_DIR/ds1/t1-vda.raw"
    check_clean t1
    gone "$LAB_DIR/ds2/t1-vda.raw"
    lab_hmp_read t1 vda 0x5a 3M 64k
    lab_hmp_read t1 vda 0x66 5M 64k
    mover_start none move t1 --strategy staged --to "$LAB_DIR/ds2" --settle 1h
    lab_wait 60 is_settled || fail "never settled: $(mover_said)"
    id=$(newest_job)
    lab_hmp_write t1 vda 0x77 6M 64k
    expect 0 '' blockmig job accept "$id"
    mover_ends 30 0
    moved t1 raw
    lab_hmp_read t1 vda 0x77 6M 64k
    expect 3 'finished already' blockmig job undo "$id"
    ok "settled: undone, accepted"
}

# And sets the time of the last write back.
flip() {
    touch -r "$1" "$LAB_DIR/time"
    printf 'bad!' | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
    touch -r "$LAB_DIR/time" "$1"
}

# damaged POINT TEXT: somebody writes to the new image while the move stands at
# that point, before the switch: found, written again, proven.
damaged() {
    local name=d${1:0:1} point=$1 text=$2
    guest "$name" --disk format=raw,size=$size,fill=8M
    mover_start "$point" move "$name" --strategy staged --to "$LAB_DIR/ds2"
    mover_stands
    flip "$LAB_DIR/ds2/$name-vda.raw" $((2 << 20))
    mover_signal CONT
    mover_ends 30 0 'written again'
    expect 0 "$text" blockmig job events "$(newest_job)"
    moved "$name" raw
    lab_equal repaired "$(result 'disks[0].repaired')" 65536
    digest_holds "$name" raw
}

test_damage() {
    damaged proving 'did not read back as they were written.*offset 2097152'
    damaged converging 'someone has written to .*proven again'
    ok "damage before the switch is repaired and proven"
}

offs=0
goes_off() {
    local point=$1 name=o$((++offs)) old
    old=$LAB_DIR/ds1/$name-vda.raw
    guest "$name" --disk format=raw,size=$size,fill=8M
    mover_start "$point" move "$name" --strategy staged --to "$LAB_DIR/ds2"
    mover_stands
    lab_hmp_write "$name" vda 0x44 7M 64k
    off "$name"
    mover_signal CONT
    mover_ends 60 0
    check_source_off "$name" "$LAB_DIR/ds2/$name-vda.raw"
    check_clean "$name"
    there "$old"
    lab_equal proven "$(result 'disks[0].proven')" true
    digest_holds "$name" raw
    lab_virsh -q start "$name" >/dev/null
    lab_hmp_read "$name" vda 0x5a 3M 64k
    lab_hmp_read "$name" vda 0x44 7M 64k
}

check_source_off() {
    lab_equal "saved XML of $1" "$(disk_source "$1" vda --inactive)" "$2"
}

# The guest goes off on the way: the move is finished without it.
test_off() {
    goes_off copying
    goes_off iterating
    goes_off ready
    # asked to pause, and never heard of again
    goes_off switching.suspended
    ok "a guest that goes off is moved cold"
}

# What was saved names the overlays: nothing is done until the guest is back.
saved() {
    local name=$1 point=$2
    shift 2
    guest "$name" --disk format=raw,size=$size,fill=8M
    mover_start "$point" move "$name" --strategy staged --to "$LAB_DIR/ds2" "$@"
    mover_stands
    lab_hmp_write "$name" vda 0x44 7M 64k
    lab_virsh -q managedsave "$name"
    mover_signal CONT
    mover_ends 60 6 'managed save image'
    expect 6 'managed save image' blockmig job resume "$(newest_job)"
    lab_virsh -q start "$name" >/dev/null
}

test_saved() {
    saved y1 copying
    expect 0 '' blockmig job resume "$(newest_job)"
    moved y1 raw
    lab_hmp_read y1 vda 0x44 7M 64k
    saved y2 settled --settle 2s
    expect 0 '' blockmig job resume "$(newest_job)"
    moved y2 raw
    lab_hmp_read y2 vda 0x44 7M 64k
    lab_virsh -q save y2 "$LAB_DIR/home/y2.save"
    expect 3 'saved to a file, which names the old disks' \
        blockmig move y2 --to "$LAB_DIR/ds1"
    ok "a guest that was saved is waited for"
}

# What virsh makes inside of our overlay would go with it.
inner() {
    local name=$1 point=$2
    guest "$name" --disk format=raw,size=$size,fill=8M
    mover_start "$point" move "$name" --strategy staged --to "$LAB_DIR/ds2"
    mover_stands
    # enough for another front
    lab_hmp_write "$name" vda 0x44 7M 8M
    lab_virsh -q snapshot-create-as "$name" inner >/dev/null
    mover_signal CONT
    mover_ends 60 6 '1 internal snapshot'
    lab_virsh -q snapshot-delete "$name" inner >/dev/null
    expect 0 '' blockmig job resume "$(newest_job)"
    moved "$name" raw
    lab_hmp_read "$name" vda 0x44 7M 8M
}

# The new image is gone while the old one is all there: back.
test_lost() {
    guest l1 --disk format=raw,size=$size,fill=8M
    mover_start settled move l1 --strategy staged --to "$LAB_DIR/ds2" --settle 2s
    mover_stands
    mv "$LAB_DIR/ds2/l1-vda.raw" "$LAB_DIR/ds2/away"
    mover_signal CONT
    mover_ends 60 6 'l1-vda.raw'
    mv "$LAB_DIR/ds2/away" "$LAB_DIR/ds2/l1-vda.raw"
    expect 1 'was rolled back' blockmig job resume "$(newest_job)" --back
    check_source l1 vda "$LAB_DIR/ds1/l1-vda.raw"
    lab_hmp_read l1 vda 0x5a 3M 64k
    check_clean l1
    ok "a new image that was taken away leaves the way back open"
}

test_inner() {
    inner i1 copying
    inner i2 settled
    ok "an internal snapshot is not lost"
}

# Somebody merges all of it, just after the switch: only --accept is left.
test_merged() {
    guest x1 --disk format=raw,size=$size,fill=8M
    mover_start proving-rest move x1 --strategy staged --to "$LAB_DIR/ds2"
    mover_stands
    lab_hmp_write x1 vda 0x44 7M 64k
    lab_virsh -q blockcommit x1 vda --active --pivot --wait >/dev/null
    mover_signal CONT
    mover_ends 60 6 'job resume .* --accept'
    expect 6 '--accept' blockmig job resume "$(newest_job)" --back
    expect 0 '' blockmig job resume "$(newest_job)" --accept
    check_source x1 vda "$LAB_DIR/ds2/x1-vda.raw"
    check_clean x1
    lab_equal proven "$(result 'disks[0].proven')" false
    lab_hmp_read x1 vda 0x44 7M 64k
    ok "what somebody has merged can be accepted"
}

# A source of two layers becomes one image.
test_chain() {
    guest c1 --disk format=qcow2,size=$size,fill=8M
    lab_virsh -q snapshot-create-as c1 upper --disk-only --no-metadata \
        --diskspec "vda,file=$LAB_DIR/ds1/c1-upper.qcow2" >/dev/null
    lab_hmp_write c1 vda 0x31 9M 64k
    staged c1 --chain flatten --name c1-vda.qcow2
    moved c1 qcow2
    lab_hmp_read c1 vda 0x31 9M 64k
    there "$LAB_DIR/ds1/c1-upper.qcow2"
    ok "a chain becomes one image"
}

# Resized when its overlay was made already: the guest sees the new size.
test_resized() {
    guest z1 --disk format=raw,size=$size,fill=8M
    mover_start freezing.sent,freezing.frozen move z1 --strategy staged --to "$LAB_DIR/ds2"
    mover_stands
    lab_virsh -q blockresize z1 vda 80M
    mover_signal CONT
    mover_stands
    lab_equal "the guest's size" "$(lab_virsh domblkinfo z1 vda |
        awk '/^Capacity/ { print $2 }')" $((80 << 20))
    mover_signal CONT
    mover_ends 60 1 'bytes and not'
    check_source z1 vda "$LAB_DIR/ds1/z1-vda.raw"
    lab_hmp_write z1 vda 0x77 70M 64k
    lab_hmp_read z1 vda 0x77 70M 64k
    check_clean z1
    guest z2 --disk format=raw,size=$size,fill=8M
    mover_start converging move z2 --strategy staged --to "$LAB_DIR/ds2"
    mover_stands
    lab_virsh -q blockresize z2 vda 80M
    lab_hmp_write z2 vda 0x77 70M 64k
    mover_signal CONT
    mover_ends 60 1 'resized meanwhile'
    lab_hmp_read z2 vda 0x77 70M 64k
    ok "a disk that is resized keeps its size, and no move says it is proven"
}

test_refused() {
    guest r1 --disk format=raw,size=$size
    expect 3 'does not watch how large' blockmig move r1 --to "$LAB_DIR/ds2" \
        --strategy blockcopy --overlay-max 1G
    expect 3 'with --proof none' blockmig move r1 --strategy staged \
        --proof none --to "$LAB_DIR/ds2"
    expect 2 'not a factor' blockmig move r1 --guest-latency 0.5 \
        --to "$LAB_DIR/ds2"
    expect 2 'not a time' blockmig move r1 --settle 5x --to "$LAB_DIR/ds2"
    check_source r1 vda "$LAB_DIR/ds1/r1-vda.raw"
    ok "what is refused"
}

tests="formats settle damage off saved inner merged lost chain resized refused"
tests=${PARTS:-$tests}
lab_begin
for one in $tests; do
    "test_$one"
done
