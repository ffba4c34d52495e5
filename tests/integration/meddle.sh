#!/bin/bash
# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What people do behind our back in the middle of a move: resume the guest in
# the window, start it when the mover was killed, replace images, name a source
# where nobody looks. No write is lost, no file of theirs is deleted or
# overwritten, no guest stays paused.
set -euo pipefail
. "$(dirname "$0")/common.bash"
. "$(dirname "$0")/mover.bash"
BM_LONG=${BM_LONG:-0}

guest() { lab_guest_bare "$1" --disk size=64M,fill=8M; }

no_guard() { [ -z "$(guard_pid)" ]; }

test_resumed_in_window() {
    guest w1
    mover_start switching.pivoted move w1 --to "$LAB_DIR/ds2" --max-pause 60000
    mover_stands
    lab_virsh -q resume w1 >/dev/null
    lab_hmp_write w1 vda 0x99 12M 64k
    mover_signal CONT
    mover_ends 60 6 'cannot prove the move.*--accept'
    keeps_write w1 vda
    expect 0 '' blockmig job resume "$(newest_job)" --accept
    keeps_write w1 vda
    check_source w1 vda "$(ds2 w1-vda.raw)"
    ok "a guest resumed by someone in the window"
}

test_resumed_by_hand() {
    local job
    guest k1
    mover_start switching.pivoted move k1 --to "$LAB_DIR/ds2" --max-pause 60000
    mover_stands
    job=$(newest_job)
    kill -9 "$(guard_pid)"
    mover_signal KILL
    lab_wait 10 lab_is_state k1 paused || fail "k1 is not paused"
    lab_virsh -q resume k1 >/dev/null
    lab_hmp_write k1 vda 0x99 12M 64k
    off k1
    expect 6 'the guest ran on the new image' blockmig job resume "$job"
    expect 6 'the guest ran on the new image' blockmig job resume "$job" --back
    keeps_write k1 vda
    expect 0 '' blockmig job resume "$job" --accept
    keeps_write k1 vda
    check_source k1 vda "$(ds2 k1-vda.raw)"
    ok "mover and guard killed, the guest resumed by hand and shut off"
}

test_started_between_disks() {
    local job
    lab define c1 --disk size=64M,fill=8M --disk size=64M,fill=8M
    mover_start switching.redefined move c1 --to "$LAB_DIR/ds2"
    mover_stands
    job=$(newest_job)
    mover_signal KILL
    lab_virsh -q start c1 >/dev/null
    lab_hmp_write c1 vda 0x99 12M 64k
    lab_hmp_write c1 vdb 0x99 12M 64k
    off c1
    expect 6 'the guest ran on the new image' blockmig job resume "$job"
    keeps_write c1 vda
    keeps_write c1 vdb
    ok "a cold move killed between two disks, and the guest started"
}

# Neither the overlay nor the mark can be made: the guest runs all the same.
# stuck NAME SIGNAL
stuck() {
    local name=$1 job state
    guest "$name"
    state=$(state_dir)
    mover_start switching.pivoted move "$name" --to "$LAB_DIR/ds2" \
        --max-pause 60000
    mover_stands
    job=$(newest_job)
    echo theirs >"$(ds2 ".blockmig-$job-vda-1.qcow2")"
    chmod a-w "$state"
    mover_signal "$2"
    lab_wait 20 lab_is_state "$name" running || fail "$name stays paused"
    lab_wait 20 test -s "$LAB_DIR/mover.status" || fail "it does not end"
    lab_wait 20 no_guard || fail "the guard does not end"
    chmod u+w "$state"
    rm "$(ds2 ".blockmig-$job-vda-1.qcow2")"
    expect 6 'cannot prove the move' blockmig job resume "$job"
    expect 0 '' blockmig job resume "$job" --accept
    check_source "$name" vda "$(ds2 "$name-vda.raw")"
}

test_no_mark() {
    stuck p1 CONT
    stuck p2 KILL
    ok "no overlay and no mark: the guest runs"
}

test_replaced_source() {
    guest r1
    move r1 --to "$LAB_DIR/ds2"
    rm "$(ds1 r1-vda.raw)"
    echo theirs >"$(ds1 r1-vda.raw)"
    expect 3 'not the file any more' blockmig job release "$(newest_job)"
    there "$(ds1 r1-vda.raw)"
    ok "another file by the name of a kept source"
}

# kept NAME: --source delete leaves its image, for somebody needs it
kept() {
    move "$1" --to "$LAB_DIR/ds2" --source delete
    [[ "$output" =~ kept ]] || fail "nothing is kept: $output"
    there "$(ds1 "$1-vda.raw")"
}

test_users() {
    local name
    for name in u1 j1 l1; do
        lab define $name --disk size=16M,fill=1M
    done
    image -f qcow2 -b "$(ds1 u1-vda.raw)" -F raw "$(ds2 child.qcow2)"
    lab define u2 --disk "format=qcow2,path=$(ds2 child.qcow2)"
    kept u1
    image -f qcow2 -F raw -b "json:{\"driver\":\"raw\",\"file\":{\"driver\":\
\"file\",\"filename\":\"$(ds1 j1-vda.raw)\"}}" "$(ds1 child.qcow2)"
    kept j1
    mv "$(ds1 l1-vda.raw)" "$(ds1 real.raw)"
    ln -s real.raw "$(ds1 l1-vda.raw)"
    kept l1
    there "$(ds1 real.raw)"
    ok "sources that are used from afar, by a json: name, or links"
}

test_replaced_target() {
    guest t1
    mover_start proving-rest move t1 --to "$LAB_DIR/ds2"
    mover_stands
    lab run sh -c "cd '$LAB_DIR/ds2' && cp t1-vda.raw x && mv x t1-vda.raw"
    mover_signal CONT
    mover_ends 60 6 'not the file any more'
    lab define d1 --disk size=64M,fill=8M
    mover_start copying move d1 --to "$LAB_DIR/ds2"
    mover_stands
    mv "$(ds2 d1-vda.raw)" "$(ds2 away.raw)"
    echo theirs >"$(ds2 d1-vda.raw)"
    mover_signal CONT
    mover_ends 60 1 'not the file any more'
    lab_equal "their file" "$(cat "$(ds2 d1-vda.raw)")" theirs
    lab_equal "saved XML of d1" "$(disk_source d1 vda --inactive)" \
        "$(ds1 d1-vda.raw)"
    ok "a target that was replaced"
}

test_names() {
    local name
    guest n1
    for name in $'a\xffb' $'a\nb'; do
        expect 3 'cannot bear the name' blockmig move n1 --to "$LAB_DIR/ds2" \
            --name "$name"
    done
    check_source n1 vda "$(ds1 n1-vda.raw)"
    ok "names that libvirt's XML would change"
}

# A snapshot of somebody else, by virsh, while a staged move stands at the point:
# it is named, and left as it is with all that is in it; when he has merged it,
# the job goes on, or back.
# snapped POINT WAY: on or back
snapped() {
    local point=$1 job name=f${#1}${1:0:2} upper back=() state='done' status=0
    upper=$(ds1 "$name.upper")
    [ "$2" = on ] || back=(--back) state=rolled-back status=1
    guest "$name"
    mover_start "$point" move "$name" --strategy staged --to "$LAB_DIR/ds2"
    mover_stands
    job=$(newest_job)
    lab_virsh -q snapshot-create-as "$name" theirs --disk-only --no-metadata \
        --diskspec "vda,file=$upper" >/dev/null
    lab_hmp_write "$name" vda 0x99 12M 64k
    mover_signal CONT
    mover_ends 60 6 "$upper.*job resume"
    expect 6 "$upper" blockmig job resume "$job" "${back[@]}"
    lab_equal "$name still stands on" "$(disk_source "$name" vda)" "$upper"
    keeps_write "$name" vda
    lab_virsh -q blockcommit "$name" vda --active --pivot --shallow >/dev/null
    expect $status '' blockmig job resume "$job" "${back[@]}"
    job_is "$job" state $state
    keeps_write "$name" vda
    rm "$upper"
    check_clean "$name"
}

test_snapped() {
    snapped copying back
    [ "$BM_LONG" = 0 ] || {
        snapped iterating on
        snapped converging back
        snapped settled on
    }
    ok "a snapshot in the middle of a staged move"
}

lab_begin
# replaced_target is the last one: its job ends stopped, with its files
for one in ${TESTS:-snapped resumed_in_window resumed_by_hand \
    started_between_disks no_mark replaced_source users names \
    replaced_target}; do
    "test_$one"
done
