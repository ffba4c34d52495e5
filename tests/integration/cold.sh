#!/bin/bash
# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The cold move by our own engine: what is copied stays copied after kill -9,
# unless somebody changed the source meanwhile; damage is found and repaired.
set -euo pipefail
. "$(dirname "$0")/common.bash"
. "$(dirname "$0")/mover.bash"

# Bytes that the mover has sent to the medium.
written() { sed -n 's/^write_bytes: //p' "/proc/$(mover_pid)/io"; }

# killed NAME SIZE: in the middle of the copy, with some of it written down
killed() {
    mover_start none move "$1" --to "$LAB_DIR/ds2" --bandwidth 8M
    lab_wait 20 in_phase copying || fail "it does not copy: $(mover_said)"
    sleep 6 # a checkpoint is made every 5 s
    mover_signal KILL
    lab_wait 10 test -s "$LAB_DIR/mover.status"
    [ "$(stat -c %b "$LAB_DIR/ds2/$1-vda.raw")" -gt 60000 ] ||
        fail "too little was copied"
}

ended() {
    check_clean "$1"
    lab_equal "saved XML" "$(disk_source "$1" vda --inactive)" \
        "$LAB_DIR/ds2/$1-vda.raw"
    same_content raw "$LAB_DIR/ds1/$1-vda.raw" raw "$LAB_DIR/ds2/$1-vda.raw"
    lab_equal "digest" "$(result 'disks[0].digest_dest')" \
        "$(blockmig hash -f raw "$LAB_DIR/ds1/$1-vda.raw" | cut -d ' ' -f 1)"
    [ -z "$(find "$LAB_DIR/state" -name "$(newest_job)-*")" ] ||
        fail "left in the state directory"
}

# resumed NAME: up to the switch; fills $bytes
resumed() {
    mover_start switching job resume "$(newest_job)"
    mover_stands
    bytes=$(written)
    mover_signal CONT
    mover_ends 60 0
    ended "$1"
}

test_resume() {
    local bytes
    lab define c1 --disk size=64M,fill=all
    killed c1
    # its rate is part of the job
    resumed c1
    [ "$bytes" -lt $((44 << 20)) ] || fail "copied again: $bytes bytes"
    ok "kill -9 in the middle, resumed: $bytes bytes were left to write"
}

# While nobody held it, the source was written where it had been copied.
test_changed() {
    local bytes
    lab define c2 --disk size=64M,fill=all
    killed c2
    printf 'changed!' | dd of="$LAB_DIR/ds1/c2-vda.raw" bs=1 seek=$((1 << 20)) \
        conv=notrunc status=none
    resumed c2
    [ "$bytes" -lt $((44 << 20)) ] || fail "copied again: $bytes bytes"
    ok "a source that was changed meanwhile is copied where it was"
}

flip() { printf 'bad!' | dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }

# damaged POINT TEXT
damaged() {
    local name=d${1:0:1}
    lab define "$name" --disk size=32M,fill=8M
    mover_start "$1" move "$name" --to "$LAB_DIR/ds2"
    mover_stands
    flip "$LAB_DIR/ds2/$name-vda.raw" $((2 << 20))
    mover_signal CONT
    mover_ends 30 0 'written again'
    [ -z "$2" ] || expect 0 "$2" blockmig job events "$(newest_job)"
    lab_equal repaired "$(result 'disks[0].repaired')" 65536
    ended "$name"
}

test_damage() {
    damaged proving ''
    damaged switching 'someone has written to'
    ok "damage before the switch is repaired and proven"
}

# A sparse image stays one, in either format.
test_sparse() {
    local format
    for format in raw qcow2; do
        lab define "s$format" --disk format=qcow2,size=1G,fill=4M
        expect 0 '' blockmig move "s$format" --to "$LAB_DIR/ds2" --format $format
        [ "$(du -k "$LAB_DIR/ds2/s$format-vda.$format" | cut -f 1)" -lt 6000 ] ||
            fail "$format is not sparse"
        same_content qcow2 "$LAB_DIR/ds1/s$format-vda.qcow2" \
            $format "$LAB_DIR/ds2/s$format-vda.$format"
    done
    ok "sparse, raw and qcow2"
}

# What the user said of the image, whichever it is, stays in the saved XML.
test_wishes() {
    local seclabel="seclabel[@model='dac']/@relabel" wish
    lab define w1 --disk size=16M,fill=1M
    lab_virsh dumpxml w1 | sed "s|\(<source file='[^']*'\)/>|\1 \
startupPolicy='optional'><seclabel model='dac' relabel='no'/></source>|" \
        >"$LAB_DIR/w1.xml"
    lab_virsh -q define "$LAB_DIR/w1.xml" >/dev/null
    move w1 --to "$LAB_DIR/ds2"
    ended w1
    wish=$(disk_xpath w1 vda source/@startupPolicy --inactive)
    lab_equal startupPolicy "$wish" optional
    wish=$(disk_xpath w1 vda "source/$seclabel" --inactive)
    lab_equal relabel "$wish" no
    ok "startupPolicy and seclabel of the source survive"
}

# the changed source shows what the unchanged one does, too
tests='changed damage sparse wishes'
[ "${BM_LONG:-0}" = 0 ] || tests="resume $tests"
tests=${PARTS:-$tests}
lab_begin
for one in $tests; do
    "test_$one"
done
