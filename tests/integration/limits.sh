#!/bin/bash
# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A move that is steered while it runs: other limits (job set), a pause (job
# pause, job resume), and the guest's file systems frozen by its agent
# (--quiesce). tests/run --long has the rest of them; PARTS="..." just those.
set -euo pipefail
. "$(dirname "$0")/common.bash"
. "$(dirname "$0")/mover.bash"

size=64M

# slow NAME OPTION...: a guest, and a move of it that would take a minute
slow() {
    name=$1
    shift
    lab_guest_bare "$name" --disk format=raw,size=$size,fill=all
    lab_hmp_write "$name" vda 0x5a 3M 64k
    mover_start none move "$name" --to "$LAB_DIR/ds2" --bandwidth 1M "$@"
    lab_wait 20 in_phase copying || fail "it does not copy: $(mover_said)"
    id=$(newest_job)
}

field() { blockmig job show "$id" --json | jq -r ".$1"; }
field_is() { [ "$(field "$1")" = "$2" ]; }

moved() {
    mover_ends 60 0
    check_source "$name" vda "$LAB_DIR/ds2/$name-vda.raw"
    check_clean "$name"
    lab_hmp_read "$name" vda 0x5a 3M 64k
}

stayed() {
    mover_ends 20 1 'the move of'
    check_source "$name" vda "$LAB_DIR/ds1/$name-vda.raw"
    check_clean "$name"
    gone "$LAB_DIR/ds2/$name-vda.raw"
    lab_hmp_read "$name" vda 0x5a 3M 64k
}

pause() {
    expect 0 'asked to pause' blockmig job pause "$id"
    lab_wait 10 field_is paused true || fail "not paused: $(mover_said)"
}

# Bytes that were copied, by libvirt's job or by the mover itself.
copied() {
    lab_virsh blockjob "$name" vda --raw --bytes 2>/dev/null |
        sed -n 's/^ *cur=//p' | grep . ||
        awk '/^[rw]char/ { n += $2 } END { print n }' "/proc/$(mover_pid)/io"
}

# Nothing is copied (at 1 MiB a second it would be), and the guest runs.
stands_still() {
    local before after
    sleep 0.3 # what was in flight
    before=$(copied)
    lab_hmp_write "$name" vda 0x66 5M 64k
    sleep 1.2
    after=$(copied)
    [ $((after - before)) -lt 262144 ] ||
        fail "$name is paused, and $((after - before)) bytes are copied"
    lab_is_state "$name" running || fail "$name does not run"
}

# --- job set ---

test_set() {
    slow a1 --strategy staged
    expect 0 'bandwidth none, guest latency off' \
        blockmig job set "$id" bandwidth=none guest-latency=off settle=2s
    moved
    lab_equal bandwidth "$(field bandwidth)" 0
    lab_equal settle "$(field settle_ms)" 2000
    expect 0 'set to bandwidth none.*it was bandwidth 1 MiB/s, guest lat' \
        blockmig job events "$id"
    expect 3 'finished already' blockmig job set "$id" bandwidth=1M
    ok "limits are lifted while the move runs"
}

# libvirt's own copy obeys too.
test_set_blockcopy() {
    slow a2 --strategy blockcopy
    lab_equal "limit of libvirt's job" "$(job_speed)" 1048576
    expect 0 '' blockmig job set "$id" bandwidth=3M
    lab_wait 10 speed_is 3145728 || fail "libvirt's job has $(job_speed)"
    expect 0 '' blockmig job set "$id" bandwidth=none
    moved
    ok "libvirt's copy has the new limit"
}

# In bytes a second; 0: no limit.
job_speed() {
    lab_virsh blockjob "$name" vda --raw --bytes 2>/dev/null |
        sed -n 's/^ *bandwidth=//p'
}
speed_is() { [ "$(job_speed)" = "$1" ]; }

# A job that nobody runs has them when it is resumed.
test_set_dead() {
    slow a3 --strategy staged
    mover_signal KILL
    lab_wait 20 test -s "$LAB_DIR/mover.status"
    expect 0 'for the next job resume' \
        blockmig job set "$id" bandwidth=2G guest-latency=3 switch-max=1M
    lab_equal bandwidth "$(field bandwidth)" 2147483648
    lab_equal latency "$(field guest_latency)" 3
    rm "$LAB_DIR/mover.status"
    mover_start none job resume "$id"
    moved
    lab_equal switch-max "$(field switch_max)" 1048576
    ok "limits for a job that nobody runs"
}

test_set_refused() {
    local word
    for word in bandwidth=5x guest-latency=0.5 max-pause=1 pace=3 bandwidth \
        bandwidth= settle=never; do
        expect 2 "job set '$word'" blockmig job set 00000000 "$word"
    done
    expect 2 'missing' blockmig job set 00000000
    expect 3 'job 00000000' blockmig job set 00000000 bandwidth=1M
    expect 3 'job 00000000' blockmig job pause 00000000
    ok "what job set refuses"
}

# --- job pause ---

test_pause() {
    local watch
    slow b1 --strategy staged
    blockmig job watch "$id" >"$LAB_DIR/watch.out" 2>&1 &
    watch=$!
    pause
    stands_still
    expect 0 'paused' blockmig job list
    expect 0 'running +paused' blockmig job show "$id"
    expect 0 'goes on' blockmig job resume "$id"
    lab_wait 10 field_is paused false || fail "it does not go on"
    expect 3 'it is running already' blockmig job resume "$id"
    expect 0 '' blockmig job set "$id" bandwidth=none
    moved
    wait $watch || fail "job watch ended with $?"
    expect 0 "copying $id: paused $id: goes on .*done after" \
        tr '\n' ' ' <"$LAB_DIR/watch.out"
    lab_hmp_read "$name" vda 0x66 5M 64k
    ok "a staged move stands still and goes on"
}

test_pause_cancel() {
    slow b2 --strategy staged
    pause
    stands_still
    expect 0 'asked to cancel' blockmig job cancel "$id"
    stayed
    ok "cancelled while paused"
}

# libvirt knows no pause: its job crawls, and is as fast as before after it.
test_pause_blockcopy() {
    slow b3 --strategy blockcopy
    pause
    lab_wait 10 speed_is 1 || fail "libvirt's job has $(job_speed)"
    stands_still
    expect 0 'goes on' blockmig job resume "$id"
    lab_wait 10 speed_is 1048576 || fail "libvirt's job has $(job_speed)"
    expect 0 '' blockmig job set "$id" bandwidth=none
    moved
    ok "libvirt's copy stands still and goes on"
}

test_pause_blockcopy_cancel() {
    slow b4 --strategy blockcopy
    pause
    lab_wait 10 speed_is 1 || fail "libvirt's job has $(job_speed)"
    expect 0 'asked to cancel' blockmig job cancel "$id"
    stayed
    ok "libvirt's copy cancelled while paused"
}

# A pause lives as long as its process.
pause_killed() {
    slow "$1" --strategy "$2"
    pause
    [ "$2" = staged ] || lab_wait 10 speed_is 1 || fail "it does not crawl"
    mover_signal KILL
    lab_wait 20 test -s "$LAB_DIR/mover.status"
    expect 0 'running +no' blockmig job show "$id"
    expect 6 'nobody runs it' blockmig job pause "$id"
    expect 0 '' blockmig job set "$id" bandwidth=none
    rm "$LAB_DIR/mover.status"
    mover_start none job resume "$id"
    moved
    ok "killed while paused, $2: job resume goes on"
}

test_pause_killed() { pause_killed b5 staged; }
test_pause_blockcopy_killed() { pause_killed b6 blockcopy; }

# Settled and paused: no time runs out, and undo is heard.
test_pause_settled() {
    slow b7 --strategy staged --settle 1h
    expect 0 '' blockmig job set "$id" bandwidth=none
    lab_wait 60 field_is state settled || fail "never settled: $(mover_said)"
    pause
    expect 0 '' blockmig job set "$id" settle=0
    lab_wait 10 field_is settle_ms 0
    sleep 1
    lab_equal state "$(field state)" settled
    lab_hmp_write "$name" vda 0x66 5M 64k
    expect 0 '' blockmig job undo "$id"
    mover_ends 30 1 'was undone'
    check_source "$name" vda "$LAB_DIR/ds1/$name-vda.raw"
    check_clean "$name"
    lab_hmp_read "$name" vda 0x66 5M 64k
    ok "a settled move stands still, and is undone"
}

# What was asked for in the switch begins when it is over.
test_pause_switch() {
    name=b8
    lab_guest_bare $name --disk format=raw,size=$size,fill=8M
    lab_hmp_write "$name" vda 0x5a 3M 64k
    mover_start proving-rest move $name --strategy staged --to "$LAB_DIR/ds2"
    mover_stands
    id=$(newest_job)
    blockmig job pause "$id" >"$LAB_DIR/pause.out" &
    sleep 0.2 # its control thread stands too: asked while it does
    mover_signal CONT
    lab_wait 10 field_is paused true || fail "not paused: $(mover_said)"
    lab_equal state "$(field state)" settled
    expect 0 'goes on' blockmig job resume "$id"
    moved
    ok "a pause that was asked for in the switch begins in settled"
}

# --- --quiesce ---

# quiet_guest NAME: one that writes, with an agent
quiet_guest() {
    name=$1
    lab_guest_os "$name" --agent --disk format=raw,size=$size \
        --args 'g.rate=200 g.span=32M'
    lab_wait 20 lab run virsh domtime "$name" >/dev/null 2>&1 ||
        fail "the agent of $name does not answer"
}

quiesced() { mover_start "$1" move "$name" --to "$LAB_DIR/ds2" --quiesce; }

writes() { lab_mark "$name" && lab_wait_line "$name" '^S .* writes=[1-9]' 5 >/dev/null; }

wait_said() { lab_wait_line "$name" "$1" "$2" >/dev/null; }

# The guest stands still at that point of the mover, and has a job.
frozen_at() {
    lab_mark "$name"
    quiesced "$1"
    mover_stands
    wait_said '^F frozen disks=1' 5
    id=$(newest_job)
}

mover_killed() {
    mover_signal KILL
    lab_wait 20 test -s "$LAB_DIR/mover.status" || fail "the mover lives"
    rm "$LAB_DIR/mover.status"
}

kill_guard() {
    local pid
    for pid in $(pgrep -f "^$LAB_DIR/bin/blockmig .*(move|resume) ?"); do
        [ "$(cat "/proc/$pid/comm")" != blockmig-guard ] || kill -KILL "$pid"
    done
}

resumed() { mover_start none job resume "$id"; }

done_quiesced() {
    mover_ends 60 0 '1 file system of the guest frozen for'
    lab_equal quiesced "$(field quiesced)" true
    lab_verify "$name"
    check_source "$name" vda "$LAB_DIR/ds2/$name-vda.raw"
    check_clean "$name"
}

# not_done TEXT: rolled back, and the guest writes
not_done() {
    mover_ends 60 1 "$1"
    lab_equal state "$(field state)" rolled-back
    check_source "$name" vda "$LAB_DIR/ds1/$name-vda.raw"
    check_clean "$name"
    writes
}

# Killed while they are frozen: the guard thaws them. The freeze is made again,
# or, where it was made and nobody saw how, the move goes back.
test_quiesce() {
    quiet_guest q1
    frozen_at freezing.frozen
    mover_killed
    wait_said '^F thawed disks=1' 10
    writes
    resumed
    not_done 'whether its file systems were frozen .* is not known'
    frozen_at freezing.sent
    mover_killed
    wait_said '^F thawed disks=1' 10
    lab_mark "$name"
    resumed
    done_quiesced
    wait_said '^F thawed disks=1' 1
    ok "the file systems stand still for the freeze, and go on"
}

test_quiesce_refused() {
    name=q2
    lab_guest_bare q2 --disk format=raw,size=$size
    expect 3 'refused by preflight check quiesce.*agent is not configured.*start qemu-guest-agent' \
        blockmig move q2 --to "$LAB_DIR/ds2" --quiesce
    expect 3 'blockcopy has no use for.*--strategy staged' \
        blockmig move q2 --to "$LAB_DIR/ds2" --quiesce --strategy blockcopy
    check_source q2 vda "$LAB_DIR/ds1/q2-vda.raw"
    check_clean q2
    ok "no agent, another strategy: refused"
}

# Thawed behind our back, by the guest or because it took too long.
test_quiesce_thawed() {
    quiet_guest q3
    frozen_at freezing.sent
    lab_tell "$name" agent thaw >/dev/null
    mover_signal CONT
    not_done 'thawed too early: somebody else did that'
    frozen_at freezing.sent
    # by the guard, at its bound
    wait_said '^F thawed disks=1' 10
    mover_signal CONT
    not_done 'thawed too early: its disks were not frozen within 2000 ms'
    # nobody is left to thaw them but job resume
    frozen_at freezing.sent
    kill_guard
    mover_killed
    sleep 3
    ! lab_line "$name" '^F thawed' || fail "who has thawed $name?"
    lab_mark "$name"
    resumed
    wait_said '^F thawed disks=1' 10
    done_quiesced
    ok "thawed too early, and too late"
}

# An agent that says nothing, from the beginning or after it has frozen.
test_quiesce_hang() {
    quiet_guest q4
    lab_tell "$name" agent dead >/dev/null
    expect 3 'check quiesce.*agent' \
        blockmig move "$name" --to "$LAB_DIR/ds2" --quiesce
    lab_tell "$name" agent hang >/dev/null
    lab_mark "$name"
    quiesced none
    lab_wait 20 lab_line "$name" "^F frozen disks=1" ||
        fail "it does not freeze: $(mover_said)"
    mover_ends 60 6 'file systems of q4 may be frozen.*virsh domfsthaw q4'
    id=$(newest_job)
    lab_equal state "$(field state)" needs-recovery
    ! lab_line "$name" '^F thawed' || fail "who has thawed $name?"
    # the guard has gone on asking
    lab_tell "$name" agent talk >/dev/null
    wait_said '^F thawed disks=1' 60
    writes
    rm "$LAB_DIR/mover.status"
    resumed
    done_quiesced
    ok "an agent that does not answer"
}

short='set set_refused pause quiesce quiesce_refused'
long='set set_blockcopy set_dead set_refused pause pause_cancel pause_blockcopy
    pause_blockcopy_cancel pause_killed pause_blockcopy_killed pause_settled
    pause_switch quiesce quiesce_refused quiesce_thawed quiesce_hang'
[ "${BM_LONG:-0}" = 0 ] || short=$long
lab_begin
for one in ${PARTS:-$short}; do
    "test_$one"
done
