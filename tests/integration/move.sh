#!/bin/bash
# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Moves that end well: formats, chains, names, stores, running and shut off,
# with and without a proof, with the source kept, released and deleted.
set -euo pipefail
. "$(dirname "$0")/common.bash"
. "$(dirname "$0")/mover.bash"

size=64M

# moved NAME TARGET OLD OLDFORMAT NEW NEWFORMAT: what every move must leave;
# when the guest is off, both images have the same content.
moved() {
    local name=$1 target=$2 old=$3 oldformat=$4 new=$5 newformat=$6
    check_source "$name" "$target" "$new"
    check_format "$name" "$target" "$newformat"
    check_clean "$name"
    ! lab_is_state "$name" running ||
        lab_hmp_read "$name" "$target" 0x5a 3M 64k
    later same_content "$oldformat" "$old" "$newformat" "$new"
}

guest() {
    lab_guest_bare "$@"
    lab_hmp_write "$1" vda 0x5a 3M 64k
}

starts() {
    lab_virsh -q start "$1" >/dev/null
    lab_hmp_read "$1" vda 0x5a 3M 64k
}

# What the guest writes after the move is in the new image only, which has the
# size of the old one; and the saved XML is good for a start.
written_later() {
    local name=$1 old=$LAB_DIR/ds1/$1-vda.$2 new=$LAB_DIR/ds2/$1-vda.$3
    lab_equal "size of $new" "$(lab run qemu-img info -f "$3" \
        --output=json "$new" | jq '."virtual-size"')" 67108864
    [ "$name" = f2 ] || return 0
    starts "$name"
    lab_hmp_write "$name" vda 0x77 5M 4k
    off "$name"
    ! lab run qemu-img compare -q -f "$2" -F "$3" "$old" "$new" ||
        fail "$name writes to the old image"
}

test_formats() {
    local from to format new name n=0
    for from in raw qcow2; do
        for to in keep raw qcow2; do
            n=$((n + 1)) name=f$n
            format=${to/keep/$from}
            new=$LAB_DIR/ds2/$name-vda.$format
            guest $name --disk format=$from,size=$size,fill=8M
            move $name --to "$LAB_DIR/ds2" --format $to
            moved $name vda "$LAB_DIR/ds1/$name-vda.$from" $from "$new" $format
            later written_later $name $from $format
        done
    done
    ok "raw and qcow2: keep, raw, qcow2"
}

# An overlay on a base with data of its own: one image at the end.
chain() {
    local name=$1 base=$LAB_DIR/ds1/$1-base.raw top=$LAB_DIR/ds1/$1-top.qcow2
    image -f raw "$base" $size
    lab run qemu-io -f raw -c 'write -q -P 0x11 1M 64k' \
        -c 'write -q -P 0x11 9M 64k' "$base" >/dev/null
    image -f qcow2 -b "$base" -F raw "$top"
    lab run qemu-io -f qcow2 -c 'write -q -P 0x22 9M 64k' "$top" >/dev/null
}

test_chain() {
    local before after
    chain c1
    guest c1 --disk "format=qcow2,path=$LAB_DIR/ds1/c1-top.qcow2"
    before=$(md5sum <"$LAB_DIR/ds1/c1-base.raw")
    move c1 --to "$LAB_DIR/ds2" --chain flatten
    lab_hmp_read c1 vda 0x11 1M 64k
    lab_hmp_read c1 vda 0x22 9M 64k
    moved c1 vda "$LAB_DIR/ds1/c1-top.qcow2" qcow2 \
        "$LAB_DIR/ds2/c1-top.qcow2" qcow2
    lab_equal "backing file" "$(lab run qemu-img info -U --output=json \
        "$LAB_DIR/ds2/c1-top.qcow2" | jq -r '."backing-filename"')" null
    after=$(md5sum <"$LAB_DIR/ds1/c1-base.raw")
    lab_equal "the base" "$after" "$before"
    ok "a chain is flattened, its base stays as it was"
}

test_two_disks() {
    guest d1 --disk size=$size,fill=4M --disk format=qcow2,size=$size,fill=4M
    lab_hmp_write d1 vdb 0x5a 3M 64k
    move d1 --to "$LAB_DIR/ds2" --json
    lab_equal "pauses for two disks" \
        "$(tail -n 1 <<<"$output" | jq .pauses.count)" 1
    lab_hmp_read d1 vdb 0x5a 3M 64k
    check_source d1 vdb "$LAB_DIR/ds2/d1-vdb.qcow2"
    moved d1 vda "$LAB_DIR/ds1/d1-vda.raw" raw "$LAB_DIR/ds2/d1-vda.raw" raw
    later same_content qcow2 "$LAB_DIR/ds1/d1-vdb.qcow2" \
        qcow2 "$LAB_DIR/ds2/d1-vdb.qcow2"
    ok "two disks in one move, in one pause"
}

# One of two, by target and by path; the other one stays.
test_named() {
    guest n1 --disk size=$size --disk size=$size
    lab_hmp_write n1 vdb 0x5a 3M 64k
    move n1 vdb --to "$LAB_DIR/ds2"
    check_source n1 vda "$LAB_DIR/ds1/n1-vda.raw"
    check_source n1 vdb "$LAB_DIR/ds2/n1-vdb.raw"
    move n1 "$LAB_DIR/ds1/n1-vda.raw" --to "$LAB_DIR/ds2" --name other.img
    moved n1 vda "$LAB_DIR/ds1/n1-vda.raw" raw "$LAB_DIR/ds2/other.img" raw
    later same_content raw "$LAB_DIR/ds1/n1-vdb.raw" raw "$LAB_DIR/ds2/n1-vdb.raw"
    ok "a disk by target, by path, and --name"
}

# The name is taken in the target: DOMAIN-vda.EXT.
test_clash() {
    lab run sh -c 'echo foreign >"$1"' sh "$LAB_DIR/ds2/disk.img"
    guest k1 --disk "size=$size,path=$LAB_DIR/ds1/disk.img"
    move k1 --to "$LAB_DIR/ds2"
    moved k1 vda "$LAB_DIR/ds1/disk.img" raw "$LAB_DIR/ds2/k1-vda.raw" raw
    lab_equal "the file that was there" "$(cat "$LAB_DIR/ds2/disk.img")" foreign
    ok "a clash of names"
}

test_pool() {
    lab_virsh -q pool-create-as fast dir --target "$LAB_DIR/ds2" >/dev/null
    lab_virsh -q pool-create-as slow dir --target "$LAB_DIR/ds1" >/dev/null
    guest p1 --disk size=$size,fill=4M
    move p1 --to fast
    moved p1 vda "$LAB_DIR/ds1/p1-vda.raw" raw "$LAB_DIR/ds2/p1-vda.raw" raw
    all_off
    lab_virsh -q start p1 >/dev/null
    move p1 --to slow --name p1-back.raw
    moved p1 vda "$LAB_DIR/ds2/p1-vda.raw" raw "$LAB_DIR/ds1/p1-back.raw" raw
    ok "a pool by its name"
}

# disk type='volume': by then a pool knows the volume
volume_xml() {
    lab_virsh dumpxml "$1" --inactive | sed \
        -e "/<disk type='file'/s/'file'/'volume'/" \
        -e "s|<source file='$LAB_DIR/ds1/\([^']*\)'|<source pool='slow' volume='\1'|"
}

test_volume() {
    local name
    for name in v1 v2; do
        lab define $name --disk format=qcow2,size=$size
        volume_xml $name >"$LAB_DIR/$name.xml"
        lab_virsh -q pool-refresh slow >/dev/null
        lab_virsh -q define "$LAB_DIR/$name.xml" >/dev/null
        lab_equal "type of $name" "$(disk_xpath $name vda @type)" volume
    done
    lab_virsh -q start v1 >/dev/null
    lab_hmp_write v1 vda 0x5a 3M 64k
    for name in v1 v2; do
        move $name --to "$LAB_DIR/ds2"
        lab_equal "saved type" "$(disk_xpath $name vda @type --inactive)" file
        moved $name vda "$LAB_DIR/ds1/$name-vda.qcow2" qcow2 \
            "$LAB_DIR/ds2/$name-vda.qcow2" qcow2
        lab_equal "old volume in the saved XML" \
            "$(disk_xpath $name vda source/@volume --inactive)" ''
    done
    later starts v1
    ok "a disk of type='volume', running and shut off"
}

test_transient() {
    lab define t1 --disk format=qcow2,size=$size
    lab_virsh -q undefine t1 >/dev/null
    lab_virsh -q create "$LAB_DIR/t1.xml" >/dev/null
    lab_hmp_write t1 vda 0x5a 3M 64k
    move t1 --to "$LAB_DIR/ds2"
    lab_equal "live XML of t1" "$(disk_source t1 vda)" \
        "$LAB_DIR/ds2/t1-vda.qcow2"
    check_clean t1
    lab_hmp_read t1 vda 0x5a 3M 64k
    later same_content qcow2 "$LAB_DIR/ds1/t1-vda.qcow2" \
        qcow2 "$LAB_DIR/ds2/t1-vda.qcow2"
    ok "a transient domain"
}

test_cold() {
    lab define z1 --disk size=$size,fill=8M \
        --disk format=qcow2,size=$size,fill=8M
    move z1 --to "$LAB_DIR/ds2"
    check_source z1 vdb "$LAB_DIR/ds2/z1-vdb.qcow2"
    moved z1 vda "$LAB_DIR/ds1/z1-vda.raw" raw "$LAB_DIR/ds2/z1-vda.raw" raw
    later same_content qcow2 "$LAB_DIR/ds1/z1-vdb.qcow2" \
        qcow2 "$LAB_DIR/ds2/z1-vdb.qcow2"
    move z1 vda --to "$LAB_DIR/ds1" --format qcow2
    moved z1 vda "$LAB_DIR/ds2/z1-vda.raw" raw \
        "$LAB_DIR/ds1/z1-vda.qcow2" qcow2
    chain z2
    lab define z2 --disk "format=qcow2,path=$LAB_DIR/ds1/z2-top.qcow2"
    move z2 --to "$LAB_DIR/ds2" --format raw --proof none
    moved z2 vda "$LAB_DIR/ds1/z2-top.qcow2" qcow2 \
        "$LAB_DIR/ds2/z2-top.raw" raw
    lab_virsh -q start z2 >/dev/null
    lab_hmp_read z2 vda 0x11 1M 64k
    lab_hmp_read z2 vda 0x22 9M 64k
    ok "shut off: raw, qcow2, a chain"
}

# Without a proof there is no pause, and the source cannot be released.
test_no_proof() {
    local result
    guest w1 --disk size=$size,fill=8M
    move w1 --to "$LAB_DIR/ds2" --proof none --json
    result=$(tail -n 1 <<<"$output")
    lab_equal proven "$(jq .disks[0].proven <<<"$result")" false
    lab_equal pauses "$(jq .pauses.count <<<"$result")" 0
    moved w1 vda "$LAB_DIR/ds1/w1-vda.raw" raw "$LAB_DIR/ds2/w1-vda.raw" raw
    expect 3 'without a proof' blockmig job release "$(jq -r .job <<<"$result")"
    there "$LAB_DIR/ds1/w1-vda.raw"
    ok "--proof none"
}

# --source delete deletes after the proof, and only what nobody else names.
test_delete() {
    guest x1 --disk size=$size,fill=8M
    move x1 --to "$LAB_DIR/ds2" --source delete
    [[ "$output" == *"deleted $LAB_DIR/ds1/x1-vda.raw"* ]] ||
        fail "not said: $output"
    gone "$LAB_DIR/ds1/x1-vda.raw"
    lab_hmp_read x1 vda 0x5a 3M 64k
    check_source x1 vda "$LAB_DIR/ds2/x1-vda.raw"
    check_clean x1

    # another domain, shut off, names it
    guest x2 --disk format=qcow2,size=$size
    lab define x2-user --disk "format=qcow2,path=$LAB_DIR/ds1/x2-vda.qcow2"
    move x2 --to "$LAB_DIR/ds2" --source delete -v
    [[ "$output" =~ "is kept: ".*"domain x2-user names it" ]] ||
        fail "not said: $output"
    there "$LAB_DIR/ds1/x2-vda.qcow2"
    blockmig job list --kept | grep -q ' x2 ' || fail "x2 is not --kept"
    moved x2 vda "$LAB_DIR/ds1/x2-vda.qcow2" qcow2 \
        "$LAB_DIR/ds2/x2-vda.qcow2" qcow2
    lab_virsh -q undefine x2-user >/dev/null

    # an overlay in the same folder stands on it, no domain knows that one
    lab define x3 --disk format=qcow2,size=$size
    image -f qcow2 -b "$LAB_DIR/ds1/x3-vda.qcow2" -F qcow2 \
        "$LAB_DIR/ds1/x3-clone.qcow2"
    move x3 --to "$LAB_DIR/ds2" --source delete
    [[ "$output" =~ 'kept' ]] || fail "not said: $output"
    there "$LAB_DIR/ds1/x3-vda.qcow2"
    ok "--source delete"
}

test_release() {
    local job
    guest r1 --disk size=$size,fill=8M
    move r1 --to "$LAB_DIR/ds2"
    job=$(newest_job)
    there "$LAB_DIR/ds1/r1-vda.raw"
    lab define r1-user --disk "path=$LAB_DIR/ds1/r1-vda.raw"
    expect 3 'domain r1-user names it' blockmig job release "$job"
    there "$LAB_DIR/ds1/r1-vda.raw"
    lab_virsh -q undefine r1-user >/dev/null
    expect 0 "deleted $LAB_DIR/ds1/r1-vda.raw" blockmig job release "$job"
    gone "$LAB_DIR/ds1/r1-vda.raw"
    ! blockmig job list --kept | grep -q "^$job" || fail "still --kept"
    expect 3 'keeps no source' blockmig job release "$job"
    lab_hmp_read r1 vda 0x5a 3M 64k
    ok "job release"
}

lab_begin
for one in ${TESTS:-formats chain two_disks named clash pool volume transient \
    cold no_proof delete release}; do
    test_$one
done
all_off
ok "old and new images have the same content, the new ones are sound"
