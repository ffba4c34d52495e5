#!/bin/bash
# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The kill matrix of the snapshot commands: at each point of one it stops
# itself, something happens, it goes on (or is dead); then `job resume` ends
# it. After each the disk and the restore points that are left are what they
# were, every image is sound, and nothing of ours is left.
#
# In `make check` a sample by the seed; in `make check-long` all of it.
# ROWS="verb:point:action ..." runs just those.
set -euo pipefail
BM_LONG=${BM_LONG:-0}
. "$(dirname "$0")/common.bash"
. "$(dirname "$0")/mover.bash"
. "$(dirname "$0")/snapshot.bash"

merging='copying.forgotten copying.begun copying.merging copying.merged
    copying.proven copying.rebased copying.redefined copying.deleted'
front='freezing.sent freezing.frozen consolidating.started
    consolidating.pivot-sent rolling-back.committed'
making='allocating allocating.created freezing freezing.sent freezing.frozen
    releasing'
# a move in place; off, it is a copy
upwards='allocating allocating.created freezing.sent freezing.frozen copying
    proving converging.started ready switching.suspended switching.pivot-sent
    switching.frozen consolidating.started consolidating.committed releasing
    releasing.deleted'
upwards_off='allocating.created copying proving switching.redefined releasing
    releasing.deleted'
reverting='allocating allocating.created switching switching.branched
    switching.defined releasing'
actions='kill9 back libvirtd libvirtd-kill9 qemu sigint'

# The points of each verb, and what the command is.
points_of() {
    case $1 in
    create | create-off | create-mem) echo $making ;;
    delete-mid | delete-branch) echo allocating $merging consolidating releasing ;;
    # no restore point is left whose metadata would have to be written
    delete-top | keep-none)
        echo ${merging/copying.redefined/} $front consolidating releasing
        ;;
    keep-none-off) echo ${merging/copying.redefined/} releasing ;;
    delete-off) echo $merging releasing ;;
    revert) echo $reverting switching.started ;;
    flatten) echo $upwards ;;
    flatten-off) echo $upwards_off ;;
    revert-off) echo $reverting ;;
    esac
}
verbs='create create-off delete-mid delete-branch delete-top keep-none delete-off
    keep-none-off revert revert-off create-mem flatten flatten-off'

command_of() {
    case $verb in
    create | create-off) echo create "$name" new ;;
    create-mem) echo create "$name" new --memory ;;
    flatten | flatten-off) echo flatten "$name" --guest-latency off ;;
    delete-mid | delete-off) echo delete "$name" s2 --guest-latency off ;;
    delete-top) echo delete "$name" s3 --guest-latency off ;;
    delete-branch) echo delete "$name" s3 --guest-latency off ;;
    keep-none | keep-none-off)
        echo consolidate "$name" --keep 0 --guest-latency off
        ;;
    revert) echo revert "$name" s2 --force ;;
    revert-off) echo revert "$name" s2 ;;
    esac
}

# --- the rows ---

choose_rows() {
    local all=() row n
    if [ -n "${ROWS:-}" ]; then
        echo "$ROWS"
        return
    fi
    for verb in $verbs; do
        for point in $(points_of "$verb"); do
            for action in $actions; do
                # a guest that is off has none; a revert has ended it there
                case $verb:$point:$action in
                *-off:*:qemu | *:switching.branched:qemu | *:switching.defined:qemu) ;;
                *) all+=("$verb:$point:$action") ;;
                esac
            done
        done
    done
    RANDOM=$((BM_SEED % 32768))
    if [ "$BM_LONG" = 1 ]; then
        echo "${all[@]}"
    else
        for n in $(seq 12); do
            echo "${all[(RANDOM * 32768 + RANDOM) % ${#all[@]}]}"
        done
    fi
}

# --- one row ---

# What the commands work on: three restore points, s2 and s3 with two writes of
# their own each.
build() {
    local i
    new_guest "$1"
    lab_virsh -q start "$name" >/dev/null
    for i in 1 2 3; do
        put "0x1$i" "${i}00k" 96k
        expect 0 '' blockmig snapshot create "$name" "s$i"
        model_keep "s$i"
    done
    put 0x21 150k 300k
    put 0x22 2M 64k
    flush
    case $verb in
    delete-branch)
        # s3 is on a branch that nobody stands on, between s2 and before-s1
        expect 0 '' blockmig snapshot revert "$name" s1 --force
        model_keep before-s1
        model_back s1
        put 0x31 3M 64k
        flush
        ;;
    *-off) off "$name" ;;
    esac
}

kill_mover() {
    local pid
    pid=$(mover_pid) || return 0 # it has ended
    kill -KILL "$pid"
    lab_wait 20 mover_is_gone
}
mover_is_gone() { ! mover_pid >/dev/null; }

act() {
    case $action in
    kill9 | back) kill_mover ;;
    libvirtd) lab kill-daemon && lab restart-daemon ;;
    libvirtd-kill9)
        kill_mover
        lab kill-daemon && lab restart-daemon
        ;;
    qemu) kill -KILL "$(lab qemu-pid "$name")" ;;
    sigint) mover_signal INT ;;
    esac
}

wait_mover() {
    lab_wait 60 test -s "$LAB_DIR/mover.status" ||
        fail "$row: the command did not end: $(mover_said)"
    cat "$LAB_DIR/mover.status"
}

unfinished() { [ "$(blockmig job show "$job" --json | jq -r .ended_ms)" = 0 ]; }

# Until the job has ended; 6: it says why it cannot go on.
resume() {
    local status=0 how=()
    [ "$action" != back ] || how=(--back)
    blockmig job resume "$job" "${how[@]}" >"$LAB_DIR/resume.out" 2>&1 ||
        status=$?
    # what cannot go back any more goes forward
    if unfinished && [ ${#how[@]} -gt 0 ]; then
        status=0
        blockmig job resume "$job" >"$LAB_DIR/resume.out" 2>&1 || status=$?
    fi
    unfinished || return 0
    fail "$row: job resume ended with $status: $(cat "$LAB_DIR/resume.out")"
}

# A revert or a new point may have happened, or not: the model follows.
follow() {
    local list
    list=$(lab_virsh snapshot-list "$name" --name)
    [ "$verb:$point" != create-mem:releasing ] || there "$LAB_DIR/ds1/$name.new.mem"
    case $verb in
    create*) ! grep -qx new <<<"$list" || model_keep new ;;
    revert*)
        grep -qx before-s2 <<<"$list" || return 0
        model_keep before-s2
        model_back s2
        ;;
    esac
}

run_row() {
    local status
    row=$2
    IFS=: read -r verb point action <<<"$row"
    build "m$1"
    mover_start "$point" snapshot $(command_of)
    mover_stands
    job=$(blockmig job list --json | jq -r '.[0].id')
    act
    [ "$action" != qemu ] || lab_wait_state "$name" 'shut off' 20
    mover_goes_on
    status=$(wait_mover)
    ! unfinished || resume
    follow
    check_model
    end_guest
    echo "    $row: $status, $(blockmig job show "$job" --json | jq -r .state)"
    row=''
}

# Of a row that did not come to its end.
show() { [ -z "$row" ] || echo "row $row: $(mover_said)" >&2; }

begin_shard() {
    lab_begin
    model_begin
    lab_at_exit show
}

row=''
rows=$(choose_rows)
# shellcheck disable=SC2086 # a list
in_shards $rows
ok "$(wc -w <<<"$rows") rows (BM_SEED=${BM_SEED:-1})"
