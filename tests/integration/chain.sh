#!/bin/bash
# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The staged move of a chain: each layer gets an image of its own, a base that
# others use stays where it is, libvirt's snapshots go on working; or all of it
# becomes one image.
set -euo pipefail
BM_LONG=${BM_LONG:-0}
. "$(dirname "$0")/common.bash"
. "$(dirname "$0")/mover.bash"

size=64M

# layers NAME: ds1/NAME-base.qcow2, and NAME-mid.qcow2 on it, which names it
# without its folder and is made in another way than others are. In each layer
# the mid one hides something of the base, with data and with zeroes.
layers() {
    local base=$LAB_DIR/ds1/$1-base.qcow2 mid=$LAB_DIR/ds1/$1-mid.qcow2
    image -f qcow2 "$base" $size
    lab run qemu-io -f qcow2 -c 'write -P 0x11 0 8M' "$base" >/dev/null
    image -f qcow2 -b "$1-base.qcow2" -F qcow2 \
        -o cluster_size=128k,lazy_refcounts=on "$mid"
    lab run qemu-io -f qcow2 -c 'write -P 0x22 4M 1M' -c 'write -z 7M 512k' \
        "$mid" >/dev/null
}

# Another domain, shut off, whose disk stands on the base too.
share() {
    image -f qcow2 -b "$LAB_DIR/ds1/$1-base.qcow2" -F qcow2 \
        "$LAB_DIR/ds1/$1-other.qcow2"
    lab define "$1-other" --disk "format=qcow2,path=$LAB_DIR/ds1/$1-other.qcow2"
}

snapshot() {
    lab_virsh -q snapshot-create-as "$1" "$2" --disk-only \
        --diskspec "vda,file=$LAB_DIR/ds1/$1-$2.qcow2" >/dev/null
}

# guest NAME: without a system, on base, mid and the overlay of snapshot s1
guest() {
    layers "$1"
    lab_guest_bare "$1" --disk "format=qcow2,path=$LAB_DIR/ds1/$1-mid.qcow2"
    snapshot "$1" s1
    lab_hmp_write "$1" vda 0x33 9M 64k
}

# What the guest must see.
reads() {
    lab_hmp_read "$1" vda 0x11 0 4M
    lab_hmp_read "$1" vda 0x22 4M 1M
    lab_hmp_read "$1" vda 0x00 7M 512k
    lab_hmp_read "$1" vda 0x33 9M 64k
}

# chain_of NAME [--inactive]: its layers from the top
chain_of() {
    lab_virsh dumpxml "$@" |
        xmllint --xpath "//disk[target/@dev='vda']//source/@file" - |
        sed 's/.*="\(.*\)"/\1/' | xargs
}

# chain_is NAME PATH...: live and saved
chain_is() {
    local name=$1
    shift
    lab_equal "live chain of $name" "$(chain_of "$name")" "$*"
    lab_equal "saved chain of $name" "$(chain_of "$name" --inactive)" "$*"
}

# What an image itself holds, whatever is below it, and wherever in the file.
own() {
    lab run qemu-img map -U --output=json "$1" |
        jq -c 'reduce (.[] | select(.depth == 0)) as $r ([];
            if length > 0 and .[-1].zero == $r.zero and
                .[-1].start + .[-1].length == $r.start
            then .[-1].length += $r.length
            else . + [{start: $r.start, length: $r.length, zero: $r.zero}] end)'
}

# new_layer NAME FILE: frozen on both sides, equal, and no larger
new_layer() {
    local old=$LAB_DIR/ds1/$1 new=$LAB_DIR/ds2/$1
    lab_equal "what $1 holds" "$(own "$new")" "$(own "$old")"
    lab run qemu-img compare -q -U -f qcow2 -F qcow2 "$old" "$new" ||
        fail "$new differs from $old"
    lab run qemu-img check -q -U -f qcow2 "$new" || fail "check of $new"
}

option() {
    lab run qemu-img info -U --output=json "$1" | jq -r ".$2"
}

# No metadata of a snapshot names an image of this pattern.
snapshots_forget() {
    local one
    for one in $(lab_virsh snapshot-list "$1" --name); do
        ! lab_virsh snapshot-dumpxml "$1" "$one" --security-info |
            grep -q "$2" || fail "snapshot $one of $1 still names $2"
    done
}

# A guest that checks its own data and writes all the time; the base is shared
# with another domain, and one snapshot was made by virsh.
test_keep() {
    local sum ds1=$LAB_DIR/ds1 ds2=$LAB_DIR/ds2
    layers vm1
    share vm1
    lab_guest_os vm1 --disk "format=qcow2,path=$ds1/vm1-mid.qcow2" \
        --args 'g.rate=100'
    snapshot vm1 s1
    sum=$(sha256sum <"$ds1/vm1-base.qcow2")
    expect 0 'vm1-base.qcow2 .qcow2., which stays where it is' \
        blockmig move vm1 --to "$ds2" --dry-run
    [[ "$output" =~ 'vm1-base.qcow2 is used by domain vm1-other' ]] ||
        fail "not said who uses the base: $output"
    move vm1 --to "$ds2"
    lab_verify vm1
    chain_is vm1 "$ds2/vm1-s1.qcow2" "$ds2/vm1-mid.qcow2" "$ds1/vm1-base.qcow2"
    check_clean vm1
    lab_equal "the base" "$(sha256sum <"$ds1/vm1-base.qcow2")" "$sum"
    new_layer vm1-mid.qcow2
    lab_equal "cluster size" "$(option "$ds2/vm1-mid.qcow2" '"cluster-size"')" \
        131072
    lab_equal "lazy refcounts" "$(option "$ds2/vm1-mid.qcow2" \
        '"format-specific".data."lazy-refcounts"')" true
    lab_equal "snapshots" "$(lab_virsh snapshot-list vm1 --name | xargs)" s1
    lab_equal "the current one" "$(lab_virsh snapshot-current vm1 --name)" s1
    snapshots_forget vm1 'ds1/vm1-[ms]'
    expect 0 'mid.qcow2' blockmig job release "$(newest_job)"
    gone "$ds1/vm1-s1.qcow2"
    gone "$ds1/vm1-mid.qcow2"
    there "$ds1/vm1-base.qcow2"
    # libvirt merges the layers by what its metadata says
    lab_virsh -q snapshot-delete vm1 s1 >/dev/null
    chain_is vm1 "$ds2/vm1-mid.qcow2" "$ds1/vm1-base.qcow2"
    lab_verify vm1
    off vm1
    lab run qemu-img check -q "$ds2/vm1-mid.qcow2"
    ok "a chain is kept, its snapshot too, and the base of others stays"
}

# Killed when the base is there: it is not copied again. Then once more, where
# libvirt's metadata is half done.
test_kill() {
    local id base=$LAB_DIR/ds2/k1-base.qcow2 mid=$LAB_DIR/ds2/k1-mid.qcow2 times
    guest k1
    snapshot k1 s2
    mover_start copying.layer move k1 --to "$LAB_DIR/ds2"
    mover_stands
    mover_signal KILL
    mover_ends 10 137
    times=$(stat -c '%i %y' "$base")
    id=$(newest_job)
    mover_start releasing.redefined job resume "$id"
    mover_stands
    mover_signal KILL
    mover_ends 10 137
    expect 0 '' blockmig job resume "$id"
    chain_is k1 "$LAB_DIR/ds2/k1-s2.qcow2" "$LAB_DIR/ds2/k1-s1.qcow2" \
        "$mid" "$base"
    lab_equal "the base" "$(stat -c '%i %y' "$base")" "$times"
    lab_equal "link of the middle one" \
        "$(option "$mid" '"backing-filename"')" k1-base.qcow2
    new_layer k1-base.qcow2
    new_layer k1-mid.qcow2
    new_layer k1-s1.qcow2
    reads k1
    check_clean k1
    snapshots_forget k1 ds1/k1-base
    lab_equal "the tree" "$(lab_virsh snapshot-list k1 --tree | xargs)" "s1 | +- s2"
    lab_equal "the current one" "$(lab_virsh snapshot-current k1 --name)" s2
    lab_equal "read back" "$(result 'disks[0].proven')" true
    off k1
    lab_equal digest "$(blockmig hash -f qcow2 "$LAB_DIR/ds2/k1-s2.qcow2" |
        cut -d ' ' -f 1)" "$(result 'disks[0].digest_dest')"
    ok "killed in the copy and in the metadata: nothing is copied again"
}

# The same for a layer that has another one below it.
test_again() {
    local mid=$LAB_DIR/ds2/g1-mid.qcow2 times
    guest g1
    share g1
    mover_start copying.layer move g1 --to "$LAB_DIR/ds2"
    mover_stands
    mover_signal KILL
    mover_ends 10 137
    times=$(stat -c '%i %y' "$mid")
    expect 0 '' blockmig job resume "$(newest_job)"
    lab_equal "the middle layer" "$(stat -c '%i %y' "$mid")" "$times"
    new_layer g1-mid.qcow2
    reads g1
    check_clean g1
    ok "a layer that was copied is not copied again"
}

# two_disks NAME: vda of three layers, the last by snapshot s1; vdb of one
two_disks() {
    layers "$1"
    lab_guest_bare "$1" --disk "format=qcow2,path=$LAB_DIR/ds1/$1-mid.qcow2" \
        --disk format=qcow2,size=16M
    lab_virsh -q snapshot-create-as "$1" s1 --disk-only \
        --diskspec vdb,snapshot=no \
        --diskspec "vda,file=$LAB_DIR/ds1/$1-s1.qcow2" >/dev/null
}

# other NAME SNAPSHOT: of vdb alone, while vda moves
other() {
    lab_virsh -q snapshot-create-as "$1" "$2" --disk-only \
        --diskspec vda,snapshot=no \
        --diskspec "vdb,file=$LAB_DIR/ds1/$1-vdb.$2" >/dev/null
}

# other_is NAME SNAPSHOT PATHS: vda's chain in both of its domains
other_is() {
    local name=$1 snapshot=$2 which paths
    for which in domain inactiveDomain; do
        paths=$(lab_virsh snapshot-dumpxml "$name" "$snapshot" | xmllint --xpath \
            "/*/$which//disk[target/@dev='vda']//source/@file" - |
            sed 's/.*="\(.*\)"/\1/' | xargs)
        lab_equal "vda in $which of $snapshot" "$paths" "$3"
    done
}

# Snapshots of another disk, before the switch and after it.
test_other() {
    local new="$LAB_DIR/ds2/o2-s1.qcow2 $LAB_DIR/ds2/o2-mid.qcow2" one
    two_disks o2
    mover_start copying,converging,settled move o2 vda --to "$LAB_DIR/ds2"
    for one in o3 o4 o5; do
        mover_stands
        other o2 $one
        mover_signal CONT
    done
    mover_ends 60 0
    snapshots_forget o2 'blockmig'
    # libvirt did not write down what it had found out itself, the base
    other_is o2 o3 "$new"
    other_is o2 o4 "$new"
    other_is o2 o5 "$new $LAB_DIR/ds2/o2-base.qcow2"
    check_clean o2
    # libvirt takes from the metadata what to merge
    lab_virsh -q snapshot-delete o2 o4 >/dev/null
    ok "snapshots of another disk meanwhile do not name our overlays"
}

# The same, when the move goes back.
test_other_back() {
    local old="$LAB_DIR/ds1/p2-s1.qcow2 $LAB_DIR/ds1/p2-mid.qcow2" id
    two_disks p2
    mover_start copying,settled move p2 vda --to "$LAB_DIR/ds2" --settle 1h
    mover_stands
    other p2 p3
    mover_signal CONT
    mover_stands
    other p2 p4
    mover_signal CONT
    id=$(newest_job)
    lab_wait 20 is_settled
    expect 0 '' blockmig job undo "$id"
    mover_ends 60 1
    snapshots_forget p2 'blockmig'
    snapshots_forget p2 "$LAB_DIR/ds2"
    other_is p2 p3 "$old"
    check_clean p2
    ok "nor do they when the move goes back"
}

# Back from the middle of the copy, and from after the switch.
test_back() {
    local before chain id point
    guest b1
    share b1
    before=$(lab_virsh snapshot-dumpxml b1 s1)
    chain=$(chain_of b1)
    for point in copying.layer settled; do
        mover_start $point move b1 --chain all --to "$LAB_DIR/ds2"
        mover_stands
        mover_signal KILL
        mover_ends 10 137
        id=$(newest_job)
        expect 1 '' blockmig job resume "$id" --back
        reads b1
        check_clean b1
        lab_equal "left in ds2" "$(find "$LAB_DIR/ds2" -name '*b1-*')" ''
        lab_equal "snapshot s1" "$(lab_virsh snapshot-dumpxml b1 s1)" "$before"
        lab_equal "the chain" "$(chain_of b1)" "$chain"
        check_source b1 vda "$LAB_DIR/ds1/b1-s1.qcow2"
    done
    ok "the way back leaves nothing"
}

# One image, read through the shared base; the snapshots' sense is lost, so
# that is refused with them.
test_flatten() {
    guest f1
    share f1
    expect 3 'leave --chain flatten out' blockmig move f1 --chain flatten \
        --to "$LAB_DIR/ds2"
    lab_virsh -q snapshot-delete f1 s1 --metadata >/dev/null
    move f1 --chain flatten --to "$LAB_DIR/ds2"
    chain_is f1 "$LAB_DIR/ds2/f1-s1.qcow2"
    reads f1
    check_clean f1
    lab run qemu-img check -q -U "$LAB_DIR/ds2/f1-s1.qcow2"
    ok "a chain becomes one image"
}

# A copy of the shared layer too, its format another one; names that are taken;
# the old layers go when nobody else uses them.
test_all() {
    local ds1=$LAB_DIR/ds1 ds2=$LAB_DIR/ds2
    guest a1
    share a1
    image -f raw "$ds2/a1-mid.qcow2" 1M
    expect 3 'only the base of a chain' blockmig move a1 --format raw --to "$ds2"
    move a1 --chain all --format raw --source delete --to "$ds2"
    chain_is a1 "$ds2/a1-s1.qcow2" "$ds2/a1-vda.1.qcow2" "$ds2/a1-base.raw"
    reads a1
    check_clean a1
    snapshots_forget a1 ds1/a1
    gone "$ds1/a1-s1.qcow2"
    gone "$ds1/a1-mid.qcow2"
    there "$ds1/a1-base.qcow2"
    expect 0 'is kept: .*still in use' blockmig job events "$(newest_job)"
    lab_virsh -q snapshot-delete a1 s1 >/dev/null
    reads a1
    ok "a shared layer is copied when asked, and never deleted"
}

# What hangs on the middle layer keeps it, and the base, where they are.
test_branch() {
    local ds1=$LAB_DIR/ds1 ds2=$LAB_DIR/ds2
    guest n1
    image -f qcow2 -b "$ds1/n1-mid.qcow2" -F qcow2 "$ds1/n1-branch.qcow2"
    move n1 --to "$ds2"
    chain_is n1 "$ds2/n1-s1.qcow2" "$ds1/n1-mid.qcow2" "$ds1/n1-base.qcow2"
    reads n1
    check_clean n1
    lab_virsh -q snapshot-delete n1 s1 --metadata >/dev/null
    ok "a branch keeps its layers"
}

# Somebody writes to a new lower layer, before the switch and after it.
test_damage() {
    local ds2=$LAB_DIR/ds2
    guest d1
    mover_start converging move d1 --to "$ds2"
    mover_stands
    lab run qemu-io -f qcow2 -c 'write -P 0x99 4M 64k' "$ds2/d1-mid.qcow2" \
        >/dev/null
    mover_signal CONT
    mover_ends 30 0 'written again'
    new_layer d1-mid.qcow2
    reads d1
    guest d2
    mover_start converging move d2 --to "$ds2"
    mover_stands
    lab run qemu-io -f qcow2 -c 'write -P 0x99 20M 64k' "$ds2/d2-mid.qcow2" \
        >/dev/null
    mover_signal CONT
    mover_ends 30 4 'where the old layer holds nothing'
    reads d2
    gone "$ds2/d2-mid.qcow2"
    check_clean d2
    ok "damage to a lower layer is found"
}

# The guest goes off on the way.
test_off() {
    local ds2=$LAB_DIR/ds2
    guest o1
    mover_start iterating move o1 --to "$ds2"
    mover_stands
    lab_hmp_write o1 vda 0x55 12M 64k
    off o1
    mover_signal CONT
    mover_ends 60 0
    snapshots_forget o1 ds1/o1
    lab_virsh -q start o1 >/dev/null
    chain_is o1 "$ds2/o1-s1.qcow2" "$ds2/o1-mid.qcow2" "$ds2/o1-base.qcow2"
    reads o1
    lab_hmp_read o1 vda 0x55 12M 64k
    check_clean o1
    ok "a guest that goes off keeps its chain"
}

test_refused() {
    guest r1
    expect 3 'strategy blockcopy .* makes one image' blockmig move r1 \
        --strategy blockcopy --chain keep --to "$LAB_DIR/ds2"
    expect 2 'chain' blockmig move r1 --chain some --to "$LAB_DIR/ds2"
    off r1
    expect 3 'start the guest' blockmig move r1 --chain keep --to "$LAB_DIR/ds2"
    lab_virsh -q snapshot-delete r1 s1 --metadata >/dev/null
    move r1 --to "$LAB_DIR/ds2"
    lab_equal "saved XML" "$(disk_source r1 vda --inactive)" \
        "$LAB_DIR/ds2/r1-s1.qcow2"
    ok "what is refused"
}

default='keep kill other other_back'
long='keep kill other other_back again back flatten all branch damage off refused'
tests=${PARTS:-$([ "$BM_LONG" = 1 ] && echo "$long" || echo "$default")}
lab_begin
for one in $tests; do
    "test_$one"
done
