#!/usr/bin/env bash
# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The lab keeps what lab.sh promises: labs side by side, a guest that sees
# damage and only damage, pauses measured by the host's clock, and nothing
# left behind, not even after kill -9 of the owner.
set -euo pipefail
. "$(dirname "$0")/../lab/lab.sh"

# No process and no file of the lab in $1.
nothing_left() {
    [ ! -e "$1" ] && ! pgrep -f "$1(/|,|\$)" >/dev/null
}

second_lab() {
    local dir
    dir=$(mktemp -d "$(lab_parent)/bm.XXXXXX")
    lab_at_exit "$LAB_HERE/lab" stop "$dir"
    LAB_OWNER=$$ "$LAB_HERE/lab" start "$dir"
    LAB_OWNER=$$ "$LAB_HERE/lab" define "$dir" bare --disk size=16M
    "$LAB_HERE/lab" run "$dir" virsh -q start bare >/dev/null
    LAB_DIR2=$dir
}

test_side_by_side() {
    local pid
    second_lab
    lab_guest_bare bare --disk size=16M,format=qcow2 --disk size=16M
    lab_hmp_write bare vda 0xcc 8M 4k
    lab_hmp_read bare vda 0xcc 8M 4k
    ! lab_hmp_read bare vda 0xcd 8M 4k 2>/dev/null || fail "reads a wrong 0xcd"
    ! lab_hmp_read bare vdb 0xcc 8M 4k 2>/dev/null || fail "vdb is vda"
    pid=$("$LAB_HERE/lab" qemu-pid "$LAB_DIR2" bare)
    [ "$pid" != "$(lab qemu-pid bare)" ] || fail "one guest in two labs"
    "$LAB_HERE/lab" stop "$LAB_DIR2"
    lab_wait 5 nothing_left "$LAB_DIR2" || fail "$LAB_DIR2 is not gone"
    lab_is_state bare running || fail "the end of one lab touched another"
    ok "two labs side by side"
}

test_guest() {
    lab_guest_os os --args 'g.rate=500 g.span=32M g.depth=2' \
        --disk size=64M,fill=8M --disk size=64M,format=qcow2,store=ds2
    lab_wait_line os '^B disk=vdb .* lost=0 wrong=0' 1 >/dev/null
    lab_watch os
    lab_verify os
    ok "a guest writes and verifies"
}

# The host's clock sees a suspend of 0.7 s, the guest does not.
test_pause() {
    local from to said
    from=$(lab_now)
    lab_virsh -q suspend os >/dev/null
    sleep 0.7
    lab_virsh -q resume os >/dev/null
    lab_mark os
    lab_wait_line os '^S ' 10 >/dev/null
    lab_wait_line os '^T .*[0-9]$' 10 >/dev/null
    to=$(lab_now)
    said=$(lab_measure os "$from" "$to")
    lab_equal pauses "$(lab_value pauses <<<"$said")" 1
    lab_equal wrong "$(lab_value wrong <<<"$said")" 0
    awk -F= '{ v[$1] = $2 } END { exit !(v["n"] > 0 &&
        v["pause_longest_ms"] >= 690 && v["pause_longest_ms"] < 3000 &&
        v["worst_gap_ms"] >= 590 && v["worst_stall_ms"] >= 690) }' \
        <<<"$said" || fail "the pause is not in: $said"
    ok "a suspend of 700 ms:" \
        "$(grep -E 'pause_longest|worst_gap' <<<"$said" | xargs)"
}

# libvirtd dies and comes back; the guest and the watch go on.
test_daemon() {
    lab kill-daemon
    lab_wait 10 grep -q 'E disconnected' "$LAB_DIR/home/os.watch" ||
        fail "watch did not see the daemon go"
    lab start
    lab_is_state os running || fail "the guest is lost to the daemon"
    lab_wait 10 sh -c 'tail -n +2 "$1" | grep -c "E state running" |
        grep -qx 2' count "$LAB_DIR/home/os.watch" ||
        fail "watch did not come back"
    lab restart-daemon
    lab_is_state os running || fail "the guest is lost to the new daemon"
    ok "libvirtd killed and restarted"
}

# What was flushed is there after the guest's death.
test_power_cycle() {
    kill -9 "$(lab qemu-pid os)"
    lab_wait_state os "shut off" 10
    lab_mark os
    lab_virsh -q start os >/dev/null
    lab_wait_line os '^B disk=vda .* lost=0 wrong=0 .* maxseq=[1-9]' 30 \
        >/dev/null
    lab_wait_line os '^S ' 30 >/dev/null
    lab_verify os
    ok "nothing lost over a power cycle"
}

# One sector, changed behind the guest's back.
test_damage() {
    lab_tell os pause >/dev/null
    lab_tell os verify >/dev/null
    dd if=/dev/urandom of="$LAB_DIR/ds1/os-vda.raw" bs=4096 count=256 \
        conv=notrunc status=none
    (lab_verify os) >/dev/null 2>&1 && fail "the guest did not see the damage"
    lab_wait_line os '^WRONG disk=vda .*state=b' 5 >/dev/null
    ok "the guest sees damage"
}

test_reap() {
    local dir pid
    dir=$(mktemp -d "$(lab_parent)/bm.XXXXXX")
    lab_at_exit "$LAB_HERE/lab" stop "$dir"
    (
        LAB_OWNER=$BASHPID "$LAB_HERE/lab" start "$dir"
        "$LAB_HERE/lab" define "$dir" bare --disk size=16M
        "$LAB_HERE/lab" run "$dir" virsh -q start bare >/dev/null
        "$LAB_HERE/lab" run "$dir" sleep 1000 &
        : >"$dir/ready"
        exec sleep 1000
    ) &
    pid=$!
    lab_wait 20 test -e "$dir/ready" || fail "the second lab does not start"
    "$LAB_HERE/lab" reap "$(lab_parent)" >/dev/null
    [ -d "$dir" ] || fail "reaped a lab whose owner lives"
    kill -9 "$pid"
    wait "$pid" 2>/dev/null || true
    "$LAB_HERE/lab" reap "$(lab_parent)" >/dev/null
    lab_wait 5 nothing_left "$dir" || fail "reap left something of $dir"
    lab_is_state bare running || fail "reap touched our lab"
    ok "reap ends the lab of a dead owner"
}

# Guests of a system daemon run as another user, who gets the image.
test_system() {
    local image
    [ "$(id -u)" = 0 ] || return 0
    LAB_DIR=$(mktemp -d "$(lab_parent)/bm.XXXXXX")
    lab_at_exit lab_stop "$LAB_DIR"
    lab start --system
    lab_guest_bare owned --disk size=16M
    image=$LAB_DIR/ds1/owned-vda.raw
    lab_equal "owner of a running guest's image" "$(stat -c %U "$image")" \
        libvirt-qemu
    lab_virsh -q destroy owned >/dev/null
    lab_equal "owner after its end" "$(stat -c %U "$image")" root
    lab_virsh -q start owned >/dev/null
    lab stop
    lab_wait 5 nothing_left "$LAB_DIR" || fail "$LAB_DIR is not gone"
    ok "a system daemon with ownership"
}

lab_begin
first=$LAB_DIR
test_side_by_side
test_guest
test_pause
test_daemon
test_power_cycle
test_damage
test_reap
test_system
LAB_DIR=$first
lab stop
lab_wait 5 nothing_left "$first" || fail "$first is not gone"
ok "nothing left"
