#!/bin/bash
# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Stores that die, hang, fill up or become read-only under a staged move, state
# by state; a qemu-nbd of ours that is killed; our own folder that is full. The
# guest checks its own data: before the switch it feels nothing of what becomes
# of the target. Every command ends by itself; when the fault is gone `job
# resume` ends in done or rolled back, and nothing of ours is left.
#
# A row is SIDE:FAULT:POINT, its end as the issue has it:
#   target   the store that the disk moves to
#   source   the one that it comes from: the guest's errors are its own
#   commit   as target, in the midst of the commit of what the guest wrote last
#   cancel   as target, and `job cancel`, and `job resume` too early
#   merge    the store of layers that a merge takes away, with the guest off
#   look     as merge, and commands that look around before they do anything
#   scratch  our state directory
#   server   every qemu-nbd of ours
# In `make check` a sample, in `make check-long` all. ROWS="..." runs just those.
set -euo pipefail
. "$(dirname "$0")/common.bash"
. "$(dirname "$0")/mover.bash"
. "$(dirname "$0")/bad-store.bash"
BM_LONG=${BM_LONG:-0}

CALL_MS=3000
bound=90 # seconds, for whatever a fault takes to be seen
# Seconds, for a job that goes on to its end: beside a guest at work its copy has
# the CPU only while nobody wants it, and other tests may want it all the time.
patience=300

# --- what all rows have ---

# check_clean looks there.
state_dir() { echo "${lab_state[1]:-$LAB_DIR/state/blockmig}"; }

# Whatever hangs: a command that only looks answers. (Of a full folder SQLite
# may be unable to read: then it says so.)
looks() {
    timeout 10 "$LAB_HERE/lab" run "$LAB_DIR" "$LAB_DIR/bin/blockmig" \
        "${lab_state[@]}" "$@" >"$LAB_DIR/look.out" 2>&1 ||
        [[ "$row:$?" = scratch:*:1 ]] ||
        fail "$row: blockmig $* ends with $?: $(cat "$LAB_DIR/look.out")"
}

state() { blockmig job show "$job" --json | jq -r .state; }

final() { [[ "$(state)" = @(done|rolled-back) ]]; }

# resume SECONDS OPTION...: its status in $status
resume() {
    local seconds=$1
    shift
    status=0
    lab run env BLOCKMIG_CALL_MS=$CALL_MS timeout "$seconds" \
        "$LAB_DIR/bin/blockmig" "${lab_state[@]}" job resume "$job" "$@" \
        >"$LAB_DIR/resume.out" 2>&1 || status=$?
    echo "    resume: $status $(tail -n 1 "$LAB_DIR/resume.out")"
    [ $status != 124 ] || fail "$row: job resume hangs"
}

# It ends by itself, and says how in one line.
ends() {
    local start=$SECONDS
    lab_wait $bound test -s "$LAB_DIR/mover.status" ||
        fail "$row: the mover hangs for $bound s: $(mover_said)"
    status=$(cat "$LAB_DIR/mover.status")
    echo "    exit $status after $((SECONDS - start)) s:" \
        "$(tail -n 1 "$LAB_DIR/mover.err")"
    [[ $status = @(0|1|6) ]] || fail "$row: exit status $status: $(mover_said)"
    lab_equal "$row: lines of error" "$(grep -c . "$LAB_DIR/mover.err" || true)" \
        $((status != 0))
    [ $status != 6 ] || grep -q 'job resume' "$LAB_DIR/mover.err" ||
        fail "$row: 'job resume' is not named: $(cat "$LAB_DIR/mover.err")"
}

# starts NAME STORE: the move, until the point
starts() {
    mover_start "$point" move "$1" --strategy staged --to "$2" --settle 1s \
        --switch-max 256K "${options[@]}"
    mover_stands
    job=$(newest_job)
}

# Before the switch the guest stands on its source.
before_switch() {
    [[ "$point" != @(settled|consolidating*|releasing|proving-rest) ]]
}

# ends_well NAME HOME: the job's end, and the disk back at its home
ends_well() {
    local name=$1 home=$2 tries
    fault ok
    for tries in 1 2 3; do
        final || resume $patience
    done
    # the proof failed, as the old image misses what it could not take
    [ "$side:$(state)" != source:held ] || resume $patience --accept
    final || fail "$row: job $job is $(state): $(cat "$LAB_DIR/resume.out")"
    echo "    $(state)"
    # a full disk stops a guest, whoever moves it
    lab_is_state "$name" running || lab_virsh -q resume "$name" >/dev/null
    lab_verify "$name"
    check_clean "$name"
    if [ "$(state)" = 'done' ]; then
        rm "$home/$name-vda.raw"
        move "$name" --to "$home" --source delete --format raw
    fi
    check_source "$name" vda "$home/$name-vda.raw"
}

# --- the rows ---

row_target() {
    starts vm1 "$LAB_DIR/bad"
    fault "$what"
    mover_signal CONT
    target_is_bad
}

# At consolidating: the guest has written for a while, and the commit of that
# takes its time.
row_commit() {
    starts vm1 "$LAB_DIR/bad"
    sleep 3
    fault slow
    mover_signal CONT
    sleep 0.5
    fault "$what"
    target_is_bad
}

target_is_bad() {
    ends
    looks job show "$job"
    looks job list
    ! before_switch || lab_verify vm1
    ends_well vm1 "$LAB_DIR/ds1"
    lab_equal "$row: left in the store" "$(ls -A "$LAB_DIR/bad")" ''
}

row_cancel() {
    starts vm1 "$LAB_DIR/bad"
    fault "$what"
    mover_signal CONT
    sleep 1
    timeout 10 "$LAB_HERE/lab" run "$LAB_DIR" "$LAB_DIR/bin/blockmig" \
        job cancel "$job" >"$LAB_DIR/look.out" 2>&1 ||
        fail "$row: job cancel: $(cat "$LAB_DIR/look.out")"
    ends
    resume 60
    lab_equal "$row: resumed too early" $status 6
    lab_verify vm1
    ends_well vm1 "$LAB_DIR/ds1"
    job_is "$job" state rolled-back
}

# Its guest comes with the first such row, and stays there: other rows want the
# store for themselves.
row_source() {
    [ -e "$LAB_DIR/bad/vm2-vda.raw" ] || lab_guest_os vm2 --args 'g.rate=100' \
        --disk "path=$LAB_DIR/bad/vm2-vda.raw,size=128M,fill=64M"
    starts vm2 "$LAB_DIR/ds1"
    fault "$what"
    mover_signal CONT
    ends
    looks job show "$job"
    ends_well vm2 "$LAB_DIR/bad"
}

# Guest m1, three layers of which lie in the store.
layered() {
    local i
    lab_guest_bare m1 --disk format=qcow2,size=16M,fill=1M
    for i in 1 2 3; do
        blockmig snapshot create m1 s$i --overlay-dir "$LAB_DIR/bad" >/dev/null
    done
}

layered_ends() {
    lab_virsh -q undefine m1 --snapshots-metadata >/dev/null
    rm -f "$LAB_DIR"/{bad,ds1}/m1*
}

row_merge() {
    layered
    lab_virsh -q destroy m1
    mover_start "$point" snapshot delete m1 s2
    mover_stands
    job=$(newest_job)
    fault "$what"
    mover_signal CONT
    ends
    looks job show "$job"
    fault ok
    final || resume $patience
    final || fail "$row: job $job is $(state): $(cat "$LAB_DIR/resume.out")"
    lab run qemu-img check -q "$(disk_source m1 vda)" ||
        fail "$row: the disk is not sound"
    check_clean m1
    layered_ends
}

# is_refused COMMAND...: soon, in one line that names the store
is_refused() {
    local status=0 out
    out=$(timeout 30 "$LAB_HERE/lab" run "$LAB_DIR" env \
        BLOCKMIG_CALL_MS=$CALL_MS "$LAB_DIR/bin/blockmig" "$@" 2>&1) ||
        status=$?
    echo "    $status: $*"
    [[ "$status:$out" =~ ^3:blockmig:\ $LAB_DIR/bad/[^$'\n']*\ does\ not\ answer ]] ||
        fail "$row: blockmig $* ends with $status: $out"
}

# Commands that only look around, with the guest on or off.
row_look() {
    local one pid pids=()
    layered
    [ "$point" = on ] || lab_virsh -q destroy m1
    fault "$what"
    for one in 'snapshot tree m1' 'snapshot doctor m1' 'snapshot verify m1' \
        doctor 'snapshot create m1 s4' 'snapshot delete m1 s2 --detach' \
        'snapshot create m1 s4 --dry-run' 'snapshot create-group s4 m1' \
        'snapshot delete m1 s2 --dry-run'; do
        # shellcheck disable=SC2086 # words
        is_refused $one &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do
        wait "$pid"
    done
    fault ok
    lab_equal "$row: jobs" "$(blockmig job list --json | jq length)" 0
    ! lab_is_state m1 running || lab_virsh -q destroy m1
    layered_ends
}

# Both sides by qemu-nbd.
row_server() {
    options=(--format qcow2)
    starts vm1 "$LAB_DIR/ds2"
    kill -9 $(pgrep -x qemu-nbd -P "$(mover_pid)")
    mover_signal CONT
    ends
    lab_verify vm1
    ends_well vm1 "$LAB_DIR/ds1"
}

row_scratch() {
    lab_state=(--state "$LAB_DIR/bad/state")
    starts vm1 "$LAB_DIR/ds2"
    fault "$what"
    mover_signal CONT
    ends
    lab_equal "$row: exit status" $status 6
    looks job show "$job"
    lab_verify vm1
    ends_well vm1 "$LAB_DIR/ds1"
    lab_state=()
    rm -r "$LAB_DIR/under/state"
}

all_rows() {
    local where
    for where in copying copying.started proving iterating converging \
        converging.started ready switching settled consolidating \
        consolidating.merging releasing; do
        echo "target:hang:$where" "target:dead:$where" "target:full:$where"
    done
    for where in copying.started proving converging.started; do
        echo "cancel:hang:$where"
    done
    for where in allocating copying.begun copying.merging copying.merged; do
        echo "merge:hang:$where" "merge:dead:$where"
    done
    echo look:hang:on look:hang:off
    echo commit:hang:consolidating server:kill:copying.started
    for where in copying.started converging.started settled; do
        echo "scratch:full:$where"
    done
    for where in copying.started converging.started settled; do
        echo "source:readonly:$where" "source:dead:$where" "source:hang:$where"
    done
}

rows='look:hang:off target:hang:copying.started cancel:hang:proving
    target:dead:converging.started'
[ "$BM_LONG" = 0 ] || rows=$(all_rows)
rows=${ROWS:-$rows}
lab_begin
bad_store
[[ "$rows" != *@(target|commit|cancel|server|scratch):* ]] ||
    lab_guest_os vm1 --disk size=128M,fill=64M --args 'g.rate=100'
for row in $rows; do
    IFS=: read -r side what point <<<"$row"
    echo "--- $row"
    options=()
    "row_$side"
    ok "$row"
done
