#!/bin/bash
# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The kill matrix of a cold move: at each point the mover stops itself, and is
# killed, or libvirtd is, or someone starts, renames or undefines the domain.
# Then `job resume` ends in done or rolled back; the image that the XML names
# holds what the disk held; nothing of ours is left.
set -euo pipefail
BM_LONG=${BM_LONG:-0}
. "$(dirname "$0")/common.bash"
. "$(dirname "$0")/mover.bash"

points='allocating allocating.created copying copying.started proving
    switching switching.redefined releasing releasing.deleted'
actions='kill9 libvirtd start rename undefine sigint'

choose_rows() {
    local point action n=$((${BM_SEED:-0} % 6)) all
    read -ra all <<<"$(echo $actions)"
    if [ -n "${ROWS:-}" ]; then
        echo "$ROWS"
        return
    fi
    for point in $points; do
        n=$((n + 1))
        for action in $actions; do
            [ "$BM_LONG" = 0 ] && [ "$action" != "${all[n % 6]}" ] ||
                echo "$point:$action"
        done
    done
}

# A command that may be refused: QEMU's lock, or the wrong moment.
try() { "$@" >"$LAB_DIR/try.out" 2>&1 || echo "    refused: $(tail -n 1 "$LAB_DIR/try.out")"; }

act() {
    case $1 in
    kill9) mover_signal KILL ;;
    libvirtd) lab kill-daemon && lab restart-daemon ;;
    start) try lab_virsh start "$name" ;;
    rename) try lab_virsh domrename "$name" "$name-b" ;;
    undefine) try lab_virsh undefine "$name" ;;
    sigint) mover_signal INT ;;
    esac
}

job_state() { blockmig job show "$job" --json | jq -r .state; }

# The person of the last resort: ends the guest that was started.
ends_well() {
    local state
    for _ in 1 2 3; do
        state=$(job_state)
        case $state in
        done | rolled-back) return 0 ;;
        esac
        try blockmig job resume "$job"
        lab_virsh destroy "$name" >/dev/null 2>&1 || true # may be off
    done
    fail "$row: job $job is $(job_state): $(cat "$LAB_DIR/try.out")"
}

check_row() {
    local path=$LAB_DIR/ds1/$name-vda.qcow2 now=$name
    [ "$(job_state)" != done ] || path=$LAB_DIR/ds2/$name-vda.qcow2
    lab_virsh domuuid "$now" >/dev/null 2>&1 || now=$name-b
    if lab_virsh domuuid "$now" >/dev/null 2>&1; then
        lab_equal "$row: saved XML" "$(disk_source "$now" vda --inactive)" "$path"
        lab_virsh destroy "$now" >/dev/null 2>&1 || true # may be off
        lab_wait_state "$now" 'shut off' 10
        check_clean "$now"
    else
        [ "$action" = undefine ] || fail "$row: the domain is gone"
    fi
    qemu-img compare -q -f qcow2 -F qcow2 "$path" "$LAB_DIR/home/copy" ||
        fail "$row: $path does not hold what the disk held"
    qemu-img check -q "$path" || fail "$row: $path is damaged"
    [ "$(job_state)" = done ] || [ ! -e "$LAB_DIR/ds2/$name-vda.qcow2" ] ||
        fail "$row: rolled back, and the target is still there"
    echo "    $(job_state), $path"
}

run_row() {
    local name=vm$1 row=$2 job delete=keep
    local point=${row%%:*} action=${row#*:}
    echo "--- $row"
    [ "$point" != releasing.deleted ] || delete=delete
    lab define "$name" --disk format=qcow2,size=64M,fill=32M
    cp "$LAB_DIR/ds1/$name-vda.qcow2" "$LAB_DIR/home/copy"
    mover_start "$point" move "$name" --to "$LAB_DIR/ds2" --source $delete
    mover_stands
    job=$(newest_job)
    act "$action"
    mover_goes_on
    lab_wait 60 test -s "$LAB_DIR/mover.status" || fail "$row: the mover hangs"
    ends_well
    check_row
    rm -f "$LAB_DIR"/ds?/"$name"*
}

begin_shard() { lab_begin; }

rows=$(choose_rows)
# shellcheck disable=SC2086 # a list
in_shards $rows
ok "$(wc -w <<<"$rows") rows of the cold kill matrix"
