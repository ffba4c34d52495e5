#!/bin/bash
# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# libvirtd dies between QEMU's transaction that puts an overlay of ours under
# the guest and its own note of it: played by the same transaction through
# QEMU's monitor. What the guest writes from then on is in an image that no XML
# names: it must be neither removed nor left out.
set -euo pipefail
. "$(dirname "$0")/common.bash"
. "$(dirname "$0")/mover.bash"

guest() {
    local name=$1
    shift
    lab_guest_bare "$name" --disk size=64M,fill=8M "$@"
}

qmp() {
    local name=$1 said
    said=$(lab_virsh qemu-monitor-command "$name" "$2")
    ! jq -e .error <<<"$said" >"$LAB_DIR/qmp.out" || fail "$2: $said"
    echo "$said"
}

nodes=0
# The node of an image that QEMU writes to, by its path.
node() {
    qmp "$1" '{"execute":"query-named-block-nodes","arguments":{"flat":true}}' |
        jq -r --arg path "$2" '.return[] |
            select(.image.filename == $path and .drv != "file") | ."node-name"'
}

# behind NAME OVERLAY BELOW: as libvirt does it
behind() {
    local over=lost$((++nodes))
    qmp "$1" "{\"execute\":\"blockdev-add\",\"arguments\":{
        \"driver\":\"qcow2\",\"node-name\":\"$over\",\"backing\":null,
        \"file\":{\"driver\":\"file\",\"filename\":\"$2\"}}}" >"$LAB_DIR/qmp.out"
    qmp "$1" "{\"execute\":\"blockdev-snapshot\",\"arguments\":{
        \"node\":\"$(node "$1" "$3")\",\"overlay\":\"$over\"}}" \
        >"$LAB_DIR/qmp.out"
}

# lose NAME POINT OVERLAY BELOW ARGS...: the mover stands there, the overlay is
# put on, the mover ends, and the guest writes. OVERLAY: JOB stands for its ID.
lose() {
    local name=$1 point=$2 overlay=$3 below=$4
    shift 4
    guest "$name"
    mover_start "$point" move "$name" --to "$LAB_DIR/ds2" --max-pause 60000 "$@"
    mover_stands
    job=$(newest_job)
    lost=${overlay//JOB/$job}
    below=${below//JOB/$job}
    [ -s "$lost" ] || image -f qcow2 -b "$below" -F raw "$lost"
    behind "$name" "$lost" "$below"
    mover_signal CONT
    mover_ends 90 6 "QEMU has $lost open, of which libvirt does not know"
    lab_is_state "$name" running || fail "$name is not running"
    lab_hmp_write "$name" vda 0x99 12M 64k
    expect 6 "shut the guest off" blockmig job resume "$job"
    there "$lost"
}

front() { lose "$1" freezing.sent "$(ds1 ".blockmig-JOB-vda-11.qcow2")" \
    "$(ds1 "$1-vda.raw")" --strategy staged; }

tiny() { lose "$1" switching.pivoted "$(ds2 ".blockmig-JOB-vda-1.qcow2")" \
    "$2" --strategy "$3"; }

# ends NAME STATUS STATE SOURCE RESUME-OPTION...
ends() {
    local name=$1 status=$2 state=$3 source=$4
    shift 4
    expect "$status" '' blockmig job resume "$job" "$@"
    job_is "$job" state "$state"
    keeps_write "$name" vda
    check_source "$name" vda "$source"
    check_clean "$name"
}

test_front() {
    front f1
    expect 6 "shut the guest off" blockmig job resume --back "$job"
    there "$lost"
    off f1
    ends f1 1 rolled-back "$(ds1 f1-vda.raw)"
    ok "the first front of a staged move"
}

test_tiny() {
    tiny t1 "$(ds2 .blockmig-JOB-vda-3.qcow2)" staged
    off t1
    ends t1 0 'done' "$(ds2 t1-vda.raw)"
    tiny t2 "$(ds2 t2-vda.raw)" blockcopy
    off t2
    ends t2 0 'done' "$(ds2 t2-vda.raw)"
    ok "the tiny overlay on the new image"
}

test_pull() {
    lose p1 freezing.sent "$(ds2 p1-vda.qcow2)" "$(ds1 p1-vda.raw)" \
        --strategy pull
    off p1
    ends p1 1 rolled-back "$(ds1 p1-vda.raw)"
    ok "the new image of a pull"
}

# One transaction has put on all of them: all come back, empty or not.
test_two() {
    guest d1 --disk size=32M,fill=1M
    mover_start freezing.sent move d1 --to "$LAB_DIR/ds2" --strategy staged
    mover_stands
    job=$(newest_job)
    behind d1 "$(ds1 ".blockmig-$job-vda-11.qcow2")" "$(ds1 d1-vda.raw)"
    behind d1 "$(ds1 ".blockmig-$job-vdb-11.qcow2")" "$(ds1 d1-vdb.raw)"
    mover_signal KILL
    lab_hmp_write d1 vda 0x99 12M 64k
    expect 6 "shut the guest off" blockmig job resume "$job"
    off d1
    ends d1 0 'done' "$(ds2 d1-vda.raw)"
    check_source d1 vdb "$(ds2 d1-vdb.raw)"
    ok "two disks, of which the guest wrote to one"
}

# The live XML names the overlay, the saved one does not: libvirt writes it last.
unsaved() {
    local name=$1 old=$LAB_DIR/$1.old
    guest "$name"
    lab_virsh dumpxml "$name" --inactive >"$old"
    mover_start freezing.frozen move "$name" --to "$LAB_DIR/ds2" \
        --strategy staged
    mover_stands
    job=$(newest_job)
    lab run virsh -q define "$old" >/dev/null
    lab_equal "$name, saved" "$(disk_source "$name" vda --inactive)" \
        "$(ds1 "$name-vda.raw")"
}

test_unsaved() {
    unsaved n1
    mover_signal KILL
    lab_hmp_write n1 vda 0x99 12M 64k
    off n1
    ends n1 0 'done' "$(ds2 n1-vda.raw)"
    unsaved n2
    mover_signal CONT
    mover_ends 60 0
    check_source n2 vda "$(ds2 n2-vda.raw)"
    ok "an overlay that the live XML alone names"
}

# Nobody is left to end the window, and the guest cannot shut itself off.
test_paused() {
    guest q1
    mover_start switching.pivoted move q1 --to "$LAB_DIR/ds2" --max-pause 60000
    mover_stands
    job=$(newest_job)
    behind q1 "$(ds2 ".blockmig-$job-vda-1.qcow2")" \
        "$(ds2 .blockmig-$job-vda-3.qcow2)"
    kill -9 "$(guard_pid)"
    mover_signal KILL
    lab_wait 10 lab_is_state q1 paused || fail "q1 is not paused"
    expect 6 "shut the guest off" blockmig job resume "$job"
    lab_is_state q1 running || fail "q1 stays paused"
    expect 3 "of which libvirt does not know" \
        blockmig job resume "$job" --accept
    lab_hmp_write q1 vda 0x99 12M 64k
    off q1
    ends q1 0 'done' "$(ds2 q1-vda.raw)"
    lab_equal "proven" "$(result 'disks[0].proven')" true
    ok "in a window that nobody ends"
}

# The new side is frozen, so nothing is lost: it is proven, not given up.
test_back() {
    guest b1
    mover_start switching.frozen move b1 --to "$LAB_DIR/ds2"
    mover_stands
    job=$(newest_job)
    mover_signal KILL
    lab_wait 10 lab_is_state b1 running || fail "b1 is not running"
    lab_hmp_write b1 vda 0x99 12M 64k
    expect 6 "proves the rest" blockmig job resume "$job" --back
    ends b1 0 'done' "$(ds2 b1-vda.raw)"
    lab_equal "proven" "$(result 'disks[0].proven')" true
    ok "no way back from the switch before the proof"
}

# Nobody can tell any more which image its guest ran on last.
test_gone() {
    guest g1
    mover_start switching.pivot-sent move g1 --to "$LAB_DIR/ds2" \
        --strategy blockcopy --proof none
    mover_stands
    job=$(newest_job)
    mover_signal KILL
    lab_wait 20 stands_on g1 "$(ds2 g1-vda.raw)" || fail "it does not pivot"
    lab_hmp_write g1 vda 0x99 12M 64k
    lab_virsh -q undefine g1 >/dev/null
    off g1
    expect 6 '' blockmig job resume "$job"
    expect 6 "may be in $(ds2 g1-vda.raw)" blockmig job resume "$job" --back
    there "$(ds2 g1-vda.raw)"
    ok "a domain that is gone after an unproven switch"
}

stands_on() { [ "$(disk_source "$1" vda)" = "$2" ]; }

# Whoever starts the guest before it is resumed starts it without its writes.
test_started() {
    front s1
    off s1
    lab_virsh -q start s1 >/dev/null
    lab_hmp_write s1 vda 0x77 16M 64k
    expect 6 "$lost holds writes of the guest" blockmig job resume "$job"
    off s1
    expect 6 "$lost holds writes of the guest" blockmig job resume "$job" --back
    there "$lost"
    mv "$lost" "$(ds1 s1.lost)"
    expect 1 '' blockmig job resume "$job" --back
    check_source s1 vda "$(ds1 s1-vda.raw)"
    ok "a guest that was started without it"
}

lab_begin
for one in ${TESTS:-front tiny pull two unsaved paused back gone started}; do
    "test_$one"
done
