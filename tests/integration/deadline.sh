#!/bin/bash
# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# QEMU hangs (SIGSTOP) at each step of a move, or libvirtd does: the mover
# ends by itself within a bound. When they answer again, `job resume` ends in
# done or rolled back, and the guest is right.
set -euo pipefail
. "$(dirname "$0")/common.bash"
. "$(dirname "$0")/mover.bash"
BM_LONG=${BM_LONG:-0}

CALL_MS=3000
bound=40 # seconds; a call, its retries, and the guard

daemon() { cat "$LAB_DIR/run/libvirtd.pid"; }

# By itself within the bound, as an exit status that says what to do.
ends() {
    local start=$SECONDS status
    lab_wait $bound test -s "$LAB_DIR/mover.status" ||
        fail "$what: the mover hangs for $bound s: $(mover_said)"
    status=$(cat "$LAB_DIR/mover.status")
    echo "$what: exit $status after $((SECONDS - start)) s:" \
        "$(tail -n 1 "$LAB_DIR/mover.err")"
    case $status in
    0) ;;
    1 | 6)
        lab_equal "$what: lines of error" "$(wc -l <"$LAB_DIR/mover.err")" 1
        grep -q '^blockmig: ' "$LAB_DIR/mover.err" || fail "$what: no line"
        ;;
    *) fail "$what: exit status $status" ;;
    esac
    [ "$status" != 6 ] || grep -q 'job resume' "$LAB_DIR/mover.err" ||
        fail "$what: 'job resume' is not named: $(cat "$LAB_DIR/mover.err")"
}

final() {
    local status=0
    state=$(blockmig job show "$job" --json | jq -r .state)
    [ "$state" = 'done' ] || [ "$state" = rolled-back ] || {
        lab run env BLOCKMIG_CALL_MS=$CALL_MS "$LAB_DIR/bin/blockmig" job \
            resume "$job" >"$LAB_DIR/resume.out" 2>&1 || status=$?
        state=$(blockmig job show "$job" --json | jq -r .state)
        [ "$state" = 'done' ] || [ "$state" = rolled-back ]
    }
}

# The job's end, and what it must have left.
right() {
    local to=$LAB_DIR/ds2
    final || final || final ||
        fail "$what: job $job is $state: $(cat "$LAB_DIR/resume.out")"
    [ "$state" = 'done' ] || to=$LAB_DIR/ds1
    lab_equal "$what: the guest" "$(lab_virsh domstate vm1 | head -n 1)" running
    check_source vm1 vda "$to/vm1-vda.raw"
    check_clean vm1
    lab_hmp_read vm1 vda 0x5a 3M 64k
    lab_hmp_write vm1 vda 0x6b 4M 4k
    if [ "$state" = 'done' ]; then
        # back again for the next one
        rm "$LAB_DIR/ds1/vm1-vda.raw"
        move vm1 --to "$LAB_DIR/ds1" --source delete
    fi
    lab_equal "$what: left in the target store" "$(ls -A "$LAB_DIR/ds2")" ''
    ok "$what: $state"
}

# hangs POINT PROCESS ARGS...: it hangs from the point on
hangs() {
    local point=$1 process=$2 pid
    shift 2
    what="$process hangs at $point"
    mover_start "$point" move vm1 --to "$LAB_DIR/ds2" "$@"
    mover_stands
    job=$(newest_job)
    if [ "$process" = QEMU ]; then
        pid=$(lab qemu-pid vm1)
    else
        pid=$(daemon)
    fi
    kill -STOP "$pid"
    mover_signal CONT
    ends
    kill -CONT "$pid"
    right
}

# Shut off there is only libvirtd to wait for.
hangs_cold() {
    what="libvirtd hangs at switching, shut off"
    lab define cold --disk size=64M,fill=8M
    mover_start switching move cold --to "$LAB_DIR/ds2"
    mover_stands
    job=$(newest_job)
    kill -STOP "$(daemon)"
    mover_signal CONT
    ends
    kill -CONT "$(daemon)"
    final || final || fail "$what: job $job is $state"
    lab_equal "$what: the job" "$state" 'done'
    check_source cold vda "$LAB_DIR/ds2/cold-vda.raw"
    same_content raw "$LAB_DIR/ds1/cold-vda.raw" \
        raw "$LAB_DIR/ds2/cold-vda.raw"
    check_clean cold
    ok "$what: $state"
}

lab_begin
lab_guest_bare vm1 --disk size=64M,fill=32M
lab_hmp_write vm1 vda 0x5a 3M 64k
hangs copying.started QEMU --bandwidth 8M
points='switching.suspended proving-rest consolidating.started'
[ "$BM_LONG" = 0 ] || points="freezing.sent proving iterating converging
    converging.started ready switching settled consolidating.merging
    consolidating.merged releasing $points"
for point in $points; do
    hangs $point QEMU
done
hangs copying.started libvirtd --bandwidth 8M
hangs switching.suspended libvirtd
if [ "$BM_LONG" = 1 ]; then
    for point in freezing.sent converging.started consolidating.merging \
        consolidating.started releasing; do
        hangs $point libvirtd
    done
fi
hangs_cold
