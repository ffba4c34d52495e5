#!/bin/bash
# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Where the overlays of a staged move stand, and what happens when room for
# them gets short: the reserve is let go, the move goes back (or on, once it is
# switched), and a guest that was paused by it runs again and has lost nothing.
# `make check` takes some rows, `make check-long` all; PARTS and SMALL name others.
set -euo pipefail
. "$(dirname "$0")/common.bash"
. "$(dirname "$0")/mover.bash"


# start_move POINT NAME OPTION...: until it stands there; $job is its ID
start_move() {
    local point=$1 name=$2
    shift 2
    mover_start "$point" move "$name" --strategy staged --to "$LAB_DIR/ds2" "$@"
    mover_stands
    job=$(newest_job)
}

ballast() { find "$LAB_DIR"/ds* -name ".blockmig-$job-ballast"; }

# back_home NAME IMAGE: as if nothing had been
back_home() {
    check_source "$1" vda "$2"
    gone "$LAB_DIR/ds2/${2##*/}"
    check_clean "$1"
}

# --- a small file system for the source ---

# small_guest NAME DISK [ARGS]
small_guest() {
    lab_guest_os "$1" --args "g.rate=100 ${3:-}" \
        --disk "path=$small/$1-vda.raw,$2"
}

is_starved() {
    [ "$(lab_virsh domstate --reason "$1")" = 'paused (I/O error)' ]
}

runs() { lab_is_state "$1" running; }

# Somebody else fills the source while it is copied.
test_foreign() {
    start_move copying g1
    [ -n "$(ballast)" ] || fail "there is no reserve"
    leave 2M
    mover_signal CONT
    mover_ends 60 1 'has no room left'
    rm "$small/foreign"
    back_home g1 "$small/g1-vda.raw"
    lab_verify g1
    ok "a source that somebody else fills"
}

# The guest does, and QEMU has paused it before we looked.
test_starved() {
    start_move copying g1
    leave 8M
    lab_tell g1 'rate 0' >/dev/null
    lab_wait 30 is_starved g1 || fail "g1 is never paused"
    mover_signal CONT
    mover_ends 60 1 'has no room left'
    runs g1 || fail "g1 is $(lab_virsh domstate --reason g1)"
    expect 0 'QEMU has paused the guest.*the guest runs again' \
        blockmig job events "$job"
    back_home g1 "$small/g1-vda.raw"
    rm "$small/foreign"
    lab_verify g1
    ok "a guest that was paused runs again"
}

# After the switch it is the target: the move goes on, which frees room.
test_settled() {
    lab_guest_bare s1 --disk size=64M,fill=8M
    lab_hmp_write s1 vda 0x5a 3M 64k
    mover_start none move s1 --strategy staged --to "$small" --settle 1h
    lab_wait 60 in_phase settled || fail "never settled: $(mover_said)"
    job=$(newest_job)
    lab_hmp_write s1 vda 0x61 4M 1M
    leave 2M
    mover_ends 60 0 'no more waiting'
    rm "$small/foreign"
    check_source s1 vda "$small/s1-vda.raw"
    check_clean s1
    lab_hmp_read s1 vda 0x5a 3M 64k
    lab_hmp_read s1 vda 0x61 4M 1M
    ok "a target that fills up once the guest is there"
}

# A pause that somebody else asked for is none of our business.
test_paused() {
    start_move copying g1
    lab_virsh -q suspend g1 >/dev/null
    leave 2M
    mover_signal CONT
    mover_ends 60 1 'has no room left'
    lab_equal 'state of g1' "$(lab_virsh domstate --reason g1)" 'paused (user)'
    lab_virsh -q resume g1 >/dev/null
    rm "$small/foreign"
    back_home g1 "$small/g1-vda.raw"
    lab_verify g1
    ok "a guest that somebody else paused stays so"
}

# A source with holes takes room on the way back: there is none, then some.
test_waiting() {
    lab_guest_bare w1 --disk "path=$small/w1-vda.raw,size=128M"
    start_move copying w1
    lab_hmp_write w1 vda 0x44 8M 60M
    leave 1M
    mover_signal CONT
    lab_wait 20 grep -q 'waiting for some' "$LAB_DIR/mover.out" ||
        fail "it does not wait: $(mover_said)"
    rm "$small/foreign"
    mover_ends 60 1 'has no room left'
    back_home w1 "$small/w1-vda.raw"
    lab_hmp_read w1 vda 0x44 8M 60M
    off w1
    ok "the way back waits for room"
}

# The same with a guest that goes on writing: it is held, with the guest
# paused, until there is room and somebody resumes the job.
test_held() {
    small_guest h1 size=256M 'g.mode=seq64 g.span=200M'
    start_move copying h1 --overlay-on source
    leave 30M
    lab_tell h1 'rate 0' >/dev/null
    lab_wait 60 is_starved h1 || fail "h1 is never paused"
    mover_signal CONT
    mover_ends 120 6 'has no room left'
    job_is "$job" state held
    is_starved h1 || fail "h1 is $(lab_virsh domstate --reason h1)"
    expect 6 'has no room left' blockmig job resume "$job"
    rm "$small/foreign"
    expect 1 'the guest runs again' blockmig job resume "$job"
    runs h1 || fail "h1 is $(lab_virsh domstate --reason h1)"
    back_home h1 "$small/h1-vda.raw"
    lab_verify h1
    off h1
    ok "held, with a paused guest, and resumed"
}

# --- the source takes no writes ---

# read_only NAME: from now on
read_only() {
    mkdir "$LAB_DIR/ds4.$1"
    chown "$(lab run id -u)" "$LAB_DIR/ds4.$1"
    lab_guest_bare "$1" \
        --disk "path=$LAB_DIR/ds4.$1/$1-vda.raw,size=64M,fill=8M"
    lab_hmp_write "$1" vda 0x5a 3M 64k
    chmod 444 "$LAB_DIR/ds4.$1/$1-vda.raw"
    chmod 555 "$LAB_DIR/ds4.$1"
}

on_target() {
    check_source "$1" vda "$LAB_DIR/ds2/$1-vda.raw"
    check_clean "$1"
    lab_hmp_read "$1" vda 0x5a 3M 64k
    lab_hmp_read "$1" vda 0x61 4M 64k
}

test_target() {
    read_only t1
    expect 0 'overlay-place.*both stores.*takes no writes.*way out is forward' \
        blockmig move t1 --to "$LAB_DIR/ds2" --dry-run
    expect 3 'no overlay can be made|cannot make the overlay' \
        blockmig move t1 --to "$LAB_DIR/ds2" --strategy staged \
        --overlay-on source
    start_move iterating t1
    lab_hmp_write t1 vda 0x61 4M 64k
    there "$LAB_DIR/ds2/.blockmig-$job-vda-11.qcow2"
    mover_signal CONT
    mover_ends 60 0
    on_target t1
    ok "overlays on the target"
}

# There is no way back to it: forward, or once it takes writes again.
test_no_way_back() {
    local name
    for name in t2 t3; do
        read_only $name
        start_move iterating $name
        lab_hmp_write $name vda 0x61 4M 64k
        mover_signal INT
        mover_signal CONT
        mover_ends 60 6 'cannot go back'
        job_is "$job" state held
        expect 3 'cannot go back' blockmig job resume --back "$job"
        [ $name = t2 ] || break
        expect 0 '' blockmig job resume "$job"
        on_target t2
    done
    chmod 755 "$LAB_DIR/ds4.t3"
    chmod 644 "$LAB_DIR/ds4.t3/t3-vda.raw"
    expect 1 '' blockmig job resume --back "$job"
    back_home t3 "$LAB_DIR/ds4.t3/t3-vda.raw"
    lab_hmp_read t3 vda 0x61 4M 64k
    ok "no way back to a source that takes no writes"
}

# --- the rest ---

test_max() {
    lab_guest_bare m1 --disk size=64M,fill=8M
    start_move copying m1 --overlay-max 4M
    lab_hmp_write m1 vda 0x61 4M 8M
    mover_signal CONT
    mover_ends 30 1 'hold more than --overlay-max 4 MiB'
    back_home m1 "$LAB_DIR/ds1/m1-vda.raw"
    lab_hmp_read m1 vda 0x61 4M 8M
    ok "--overlay-max before the switch"
}

# After it, it only ends the waiting.
test_max_settled() {
    lab_guest_bare m2 --disk size=64M,fill=8M
    mover_start none move m2 --strategy staged --to "$LAB_DIR/ds2" \
        --overlay-max 4M --settle 1h
    lab_wait 60 in_phase settled || fail "never settled: $(mover_said)"
    lab_hmp_write m2 vda 0x62 12M 8M
    mover_ends 30 0 'no more waiting'
    check_source m2 vda "$LAB_DIR/ds2/m2-vda.raw"
    check_clean m2
    lab_hmp_read m2 vda 0x62 12M 8M
    ok "--overlay-max after the switch"
}

# killed POINT NAME: a guest whose mover died there, with its reserve
killed() {
    lab_guest_bare "$2" --disk size=64M,fill=8M
    lab_hmp_write "$2" vda 0x5a 3M 64k
    start_move "$1" "$2"
    [ -n "$(ballast)" ] || fail "there is no reserve"
    mover_signal KILL
    lab_wait 20 test -s "$LAB_DIR/mover.status" || fail "the mover lives"
}

test_killed_early() {
    killed freezing.ballast k2
    expect 1 '' blockmig job resume --back "$job"
    back_home k2 "$LAB_DIR/ds1/k2-vda.raw"
    ok "a reserve, and nothing frozen"
}

test_killed() {
    killed copying k1
    expect 0 '' blockmig job resume "$job"
    check_source k1 vda "$LAB_DIR/ds2/k1-vda.raw"
    check_clean k1
    lab_hmp_read k1 vda 0x5a 3M 64k
    ok "a reserve that a killed move has left"
}

rows='target max killed'
small_rows='foreign starved'
[ "${BM_LONG:-0}" = 0 ] || {
    rows+=' no_way_back max_settled killed_early'
    small_rows+=' settled paused waiting held'
}
lab_begin
for one in ${PARTS-$rows}; do
    "test_$one"
done
all_off
if ! mount_small; then
    echo "no loop device: no small file system is tried"
else
    small_guest g1 size=128M,fill=all
    for one in ${SMALL-$small_rows}; do
        "test_$one"
    done
fi
