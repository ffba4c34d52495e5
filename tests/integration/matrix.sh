#!/bin/bash
# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The kill matrix: at each point of a move the mover stops itself, something
# happens, it goes on (or is dead); then `job resume` must end in done or
# rolled back, or say why a person must look. After each: the guest's data is
# right, live and saved XML name an image that exists, nothing of ours is left.
#
# In `make check` a sample: every other point once (of staged, which has more
# of them, every third; of pull just one), with an action by the seed; in `make
# check-long` all of it.
# ROWS="point:action ..." runs just those.
set -euo pipefail
BM_LONG=${BM_LONG:-0}
. "$(dirname "$0")/common.bash"
. "$(dirname "$0")/mover.bash"

# The strategy, and a point of it from where it can go back.
strategy=${STRATEGY:-blockcopy}
# A pace that never slows down: it steers, but beside so many guests on so few
# cores it would only make each row a minute longer.
options=(--strategy "$strategy" --guest-latency 50)
format=raw every=2
switch='ready switching switching.suspended switching.pivot-sent
    switching.pivoted switching.frozen switching.resumed proving-rest settled'
merging='consolidating.started consolidating.pivot-sent consolidating.committed'
undo='undoing undoing.ready'
case $strategy in
blockcopy)
    before='copying copying.started'
    back='' turn=copying.started
    ;;
staged)
    before='freezing freezing.ballast freezing.sent freezing.frozen copying
        proving iterating converging converging.carried converging.started'
    merging="consolidating.merging consolidating.merged $merging"
    back=rolling-back.committed turn=converging.started every=3
    # so that there is something to iterate for
    options+=(--switch-max 256K)
    ;;
pull)
    before='freezing freezing.sent freezing.frozen copying copying.started
        copying.pulled'
    switch='' merging=consolidating.flushed undo='' format=qcow2
    back=rolling-back.committed turn=copying.started every=13
    # so that there is something to go back for
    options+=(--bandwidth 24M)
    ;;
esac
points="allocating allocating.created $before $switch consolidating $merging
    releasing rolling-back $back rolling-back.removed $undo"
actions='kill9 kill9-guard libvirtd libvirtd-kill9 qemu poweroff reboot resize
    unplug rename undefine snapshot backup blockcopy sigint sigterm qemu-stop'

# --- the rows ---

choose_rows() {
    local point action all n=0 skip=$((${BM_SEED:-0} % every))
    if [ -n "${ROWS:-}" ]; then
        echo "$ROWS"
        return
    fi
    RANDOM=$((BM_SEED % 32768))
    read -ra all <<<"$(echo $actions)"
    for point in $points; do
        if [ "$BM_LONG" = 1 ]; then
            for action in $actions; do
                echo "$point:$action"
            done
        else
            # a random start, then one after the other: all actions occur
            [ $n -gt 0 ] || n=$((RANDOM % ${#all[@]} + 1))
            skip=$(((skip + 1) % every))
            [ $skip != 0 ] || echo "$point:${all[n % ${#all[@]}]}"
            n=$((n + 1 + 2 * (RANDOM % 4)))
        fi
    done
}

# --- one row ---

wait_mover() {
    lab_wait "$1" test -s "$LAB_DIR/mover.status" ||
        fail "$row: the mover did not end within $1 s: $(mover_said)"
    cat "$LAB_DIR/mover.status"
}

gone() { [ ! -e "/proc/$1" ] || grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null; }

kill_mover() {
    local pid
    pid=$(mover_pid) || return 0 # it has ended
    kill -KILL "$pid"
}

job_field() {
    blockmig job show "$job" --json | jq -r ".$1"
}

# The target as libvirt made it, behind our back.
flip_byte() {
    printf '\xff' | dd of="$1" bs=1 seek=$((1 << 20)) conv=notrunc status=none
    printf 'bad!' | dd of="$1" bs=1 seek=$((24 << 20)) conv=notrunc status=none
}

# Brings the mover to the point; the last two pairs need a reason to go back.
reach() {
    case $point in
    rolling-back*)
        mover_start "$turn" move "$name" --to "$LAB_DIR/ds2" "${options[@]}"
        stop_there
        kill_mover
        wait_mover 20 >/dev/null
        mover_start "$point" job resume --back "$job"
        ;;
    undoing*)
        mover_start proving-rest move "$name" --to "$LAB_DIR/ds2" "${options[@]}"
        stop_there
        kill_mover
        wait_mover 20 >/dev/null
        flip_byte "$LAB_DIR/ds2/$name-vda.raw"
        mover_start "$point" job resume "$job"
        ;;
    *)
        mover_start "$point" move "$name" --to "$LAB_DIR/ds2" "${options[@]}"
        ;;
    esac
    stop_there
}

stop_there() {
    mover_stands
    job=$(blockmig job list --json | jq -r '.[0].id')
}

qemu_pid() { lab qemu-pid "$name"; }

# Calls with an end: QEMU or libvirtd may not answer.
run_for() {
    local seconds=$1
    shift
    timeout "$seconds" "$LAB_HERE/lab" run "$LAB_DIR" "$@"
}

tell_it() { LAB_TELL_SECONDS=5 timeout 10 "$LAB_HERE/lab" tell "$LAB_DIR" "$name" "$1"; }

# What a foreign hand does may be refused, by libvirt or because it comes at
# the wrong moment: that is fine, we only try.
try() { "$@" >"$LAB_DIR/try.out" 2>&1 || echo "    refused: $(tail -n 1 "$LAB_DIR/try.out")"; }

act() {
    case $action in
    kill9) kill_mover ;;
    kill9-guard)
        try kill -KILL $(guard_pid)
        kill_mover
        ;;
    libvirtd) lab kill-daemon && lab restart-daemon ;;
    libvirtd-kill9)
        kill_mover
        lab kill-daemon && lab restart-daemon
        ;;
    qemu) kill -KILL "$(qemu_pid)" ;;
    poweroff) try tell_it poweroff ;;
    reboot)
        lab_mark "$name"
        lab_virsh -q reset "$name"
        ;;
    resize) try run_for 10 virsh blockresize "$name" vda 160M ;;
    unplug) try run_for 10 virsh detach-disk "$name" vda --live ;;
    rename) try run_for 10 virsh domrename "$name" "$name-new" ;;
    undefine) try lab_virsh undefine "$name" ;;
    snapshot)
        try run_for 10 virsh snapshot-create-as "$name" foreign \
            --disk-only --no-metadata --diskspec "vda,file=$LAB_DIR/ds1/$name.foreign"
        ;;
    backup)
        cat >"$LAB_DIR/backup.xml" <<-XML
		<domainbackup mode='push'><disks><disk name='vda' backup='yes' type='file'>
		<target file='$LAB_DIR/ds1/$name.backup'/><driver type='qcow2'/></disk></disks></domainbackup>
		XML
        try run_for 10 virsh backup-begin "$name" "$LAB_DIR/backup.xml"
        ;;
    blockcopy)
        try run_for 10 virsh blockcopy "$name" vda "$LAB_DIR/ds1/$name.copy" \
            --transient-job --format raw
        ;;
    sigint) mover_signal INT ;;
    sigterm) mover_signal TERM ;;
    qemu-stop) kill -STOP "$(qemu_pid)" ;;
    esac
}

# The person who must look: takes the foreign thing away again.
person() {
    try run_for 20 virsh blockjob "$name" vda --abort
    try run_for 20 virsh domjobabort "$name"
    # the saved XML still has a disk that was unplugged
    if [ "$action" = unplug ] && [ -z "$(disk_source "$name" vda)" ]; then
        lab_virsh destroy "$name" >/dev/null
        lab_wait_state "$name" 'shut off' 10
    fi
    # libvirtd died in the middle of a freeze: what it must be told, it is told
    # by the next resume
    if grep -q 'of which libvirt does not know' "$LAB_DIR/resume.out"; then
        lab_virsh destroy "$name" >/dev/null
        lab_wait_state "$name" 'shut off' 10
    fi
    if [[ "$(disk_source "$name" vda)" == *foreign* ]]; then
        run_for 60 virsh blockcommit "$name" vda \
            --active --pivot --shallow >/dev/null
    elif [[ "$(lab_virsh dumpxml "$name")" == *"<source file="*.foreign* ]]; then
        # it came between the pivot and our overlay: both go down
        run_for 60 virsh blockcommit "$name" vda --active --pivot >/dev/null
    fi
}

domain_state() { lab_virsh domstate "$name" 2>/dev/null | sed -n 1p; }

runs() { [ "$(domain_state)" = running ]; }

# ends_well: job resume until the job is final; a person is asked once.
ends_well() {
    local state status tries how
    for tries in 1 2 3; do
        state=$(job_field state)
        case $state in
        done | rolled-back) return 0 ;;
        esac
        status=0 how=
        # the person read why the proof cannot be made, and accepts that
        if [ $tries = 3 ] && [ "$state" = held ]; then
            grep -q 'different instants' "$LAB_DIR/resume.out" || return 1
            how=--accept
        fi
        lab run env BLOCKMIG_CALL_MS=8000 "$LAB_DIR/bin/blockmig" \
            job resume $how "$job" >"$LAB_DIR/resume.out" 2>&1 || status=$?
        [ $status = 6 ] || [ $status = 3 ] || continue
        echo "    exit $status: $(tail -n 1 "$LAB_DIR/resume.out")"
        [ $tries != 1 ] || person
    done
    state=$(job_field state)
    [ "$state" = done ] || [ "$state" = rolled-back ]
}

check_guest() {
    local state
    state=$(domain_state)
    if [ -z "$state" ]; then
        # undefined and off: the test puts it back, on what the job says
        lab_virsh define "$LAB_DIR/$name.saved.xml" >/dev/null
        state='shut off'
    fi
    if [ "$state" = 'shut off' ] || [ "$state" = crashed ]; then
        lab_mark "$name"
        lab_virsh start "$name" >/dev/null
        line=$(lab_wait_line "$name" '^B ' 60)
        [[ "$line" == *' lost=0 '* && "$line" == *' wrong=0'* ]] || fail "$row: $line"
        lab_wait_line "$name" '^S ' 60 >/dev/null
    fi
    lab_equal "$row: the guest" "$(domain_state)" running
    if [ "$action" = reboot ]; then
        lab_wait_line "$name" '^B ' 60 >/dev/null
        lab_wait_line "$name" '^S ' 60 >/dev/null
    fi
    lab_verify "$name"
    # a disk that is unplugged under a guest, or a kernel that powers off
    # under its writer, gives errors, rightly
    bad='^WRONG\|^LOST\|^IOERR'
    [[ "$action" != @(unplug|poweroff) ]] || bad='^WRONG\|^LOST'
    ! grep -aq "$bad" "$LAB_DIR/$name.serial" ||
        fail "$row: $(grep -a "$bad" "$LAB_DIR/$name.serial" | sed -n 1,3p)"
}

check_end() {
    local state path
    state=$(job_field state)
    path=$LAB_DIR/ds1/$name-vda.raw
    [ "$state" != done ] || path=$LAB_DIR/ds2/$name-vda.$format
    lab_equal "$row: live XML" "$(disk_source "$name" vda)" "$path"
    # what was undefined has been defined again as it was before the move
    [ "$action" = undefine ] ||
        lab_equal "$row: saved XML" "$(disk_source "$name" vda --inactive)" "$path"
    [ -f "$path" ] || fail "$row: $path does not exist"
    [ "$state" = done ] || [ ! -e "$LAB_DIR/ds2/$name-vda.$format" ] ||
        fail "$row: rolled back, and the target is still there"
    check_clean "$name"
    echo "    $state, $path"
}

# In the window the guest must run again by the guard alone.
check_guard() {
    [[ $point == switching.[spf]* ]] || return 0
    [ "$action" = kill9 ] || return 0
    lab_wait 2 runs ||
        fail "$row: the guest is $(domain_state) after the mover was killed"
}

run_row() {
    local name=vm$1 row=$2 job='' status
    local point=${row%%:*} action=${row#*:}
    echo "--- $row"
    lab_guest_os "$name" --disk format=raw,size=128M,fill=64M --args 'g.rate=50'
    lab_virsh dumpxml "$name" --inactive >"$LAB_DIR/$name.saved.xml"
    : >"$LAB_DIR/resume.out"
    reach
    act
    check_guard
    mover_goes_on
    status=$(wait_mover 120)
    echo "    the mover ended with $status: $(mover_said | tail -n 1)"
    [ "$action" != qemu-stop ] || kill -CONT "$(qemu_pid)"
    ends_well ||
        fail "$row: job $job is $(job_field state): $(cat "$LAB_DIR/resume.out")"
    [[ "$action" != @(backup|blockcopy|snapshot|unplug) ]] || person >/dev/null
    check_guest
    check_end
    lab_virsh destroy "$name" >/dev/null 2>&1 || true # a row may end it
    rm -f "$LAB_DIR"/ds?/"$name"*
}

begin_shard() { lab_begin; }

rows=$(choose_rows)
# shellcheck disable=SC2086 # a list
in_shards $rows
ok "$(wc -w <<<"$rows") rows of the kill matrix of $strategy, seed ${BM_SEED:-none}"
