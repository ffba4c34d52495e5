#!/bin/bash
# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The fleeting view (--mode cow), and restore points of several domains at one
# instant.
set -euo pipefail
. "$(dirname "$0")/common.bash"
. "$(dirname "$0")/mover.bash"

snap() { expect 0 '' blockmig snapshot "$@"; }

is_clean() { (check_clean "$1") >/dev/null 2>&1; }

view_job() { blockmig job list --json | jq -r '.[0].id'; }

# The process that holds the view of that domain; its guard has another name.
# of_view DOMAIN COMM: those processes of its view
of_view() {
    local pid
    for pid in $(pgrep -f "snapshot create $1 "); do
        [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$2" ] || continue
        echo "$pid"
    done
}
holder() { of_view "$1" blockmig; }
guards() { of_view "$1" blockmig-guard; }

uri() { sed -n "s/^$1: //p" <<<"$output"; }

test_view() {
    local view
    # raw: no overlay, no bitmap
    lab_guest_bare w1 --disk format=raw,size=64M,fill=8M \
        --disk format=qcow2,size=16M,fill=1M
    lab_hmp_write w1 vda 0x11 1M 512k
    lab_hmp_write w1 vdb 0x22 1M 64k
    snap create w1 v1 --mode cow --dry-run
    [[ "$output" =~ 'read-only view v1 of w1' ]] || fail "no plan: $output"
    lab_equal "jobs" "$(blockmig job list --all --json)" '[]'
    snap create w1 v1 --mode cow
    view=$(uri vda)
    [[ "$view" == nbd+unix:* ]] || fail "no URI: $output"
    lab_hmp_write w1 vda 0x33 1M 512k
    snap list w1
    [[ "$output" =~ v1.*live ]] || fail "not listed as live: $output"
    lab_equal "what the guest has" "$(disk_source w1 vda)" "$(ds1 w1-vda.raw)"
    # others are refused at once, naming it
    expect 3 'its view v1 lives' blockmig snapshot create w1 other
    expect 3 'its view v1 lives' blockmig snapshot create w1 v1 --mode cow
    expect 3 'its view v1 lives' blockmig snapshot consolidate w1
    snap show w1 v1
    [[ "$output" =~ kind\ +live.*vda\ +nbd\+unix:///vda ]] ||
        fail "the view is not shown: $output"
    lab_equal "the view in JSON" \
        "$(blockmig snapshot show w1 v1 --json | jq -r '.name, .kind' | xargs)" \
        'v1 live'
    expect 3 'its view v1 lives' blockmig move w1 --to "$LAB_DIR/ds2"
    expect 2 'name one with --disk' blockmig snapshot save w1 v1 "$(ds1 x)"
    snap save w1 v1 "$(ds1 saved.raw)" --disk vda
    [[ "$output" =~ ([0-9a-f]{64}) ]] || fail "no digest: $output"
    lab_equal "the digest" "$(blockmig hash "$(ds1 saved.raw)" | cut -c -64)" \
        "${BASH_REMATCH[1]}"
    lab run qemu-io -r -f raw -c 'read -P 0x11 1M 512k' "$(ds1 saved.raw)" |
        grep -q 'verification failed' && fail "the view is not of that instant"
    lab run qemu-img compare -q -f raw -F raw "$(ds1 saved.raw)" "$view" ||
        fail "the view and what was saved of it differ"
    snap delete w1 v1 --dry-run
    [[ "$output" =~ 'view v1 of w1 ends' ]] || fail "no plan: $output"
    snap list w1
    [[ "$output" =~ v1.*live ]] || fail "a dry run has ended it: $output"
    snap delete w1 v1
    check_clean w1
    lab_hmp_read w1 vda 0x33 1M 512k
    lab_hmp_read w1 vdb 0x22 1M 64k
    off w1
    rm "$(ds1 saved.raw)"
    ok "a view of one instant, saved with its digest, while the guest goes on"
}

test_ends() {
    lab_guest_bare e1 --disk size=64M,fill=8M
    # with its holder: nobody would watch the room
    snap create e1 k1 --mode cow
    # shellcheck disable=SC2046
    kill -KILL $(holder e1)
    lab_wait 20 no_backup e1 || fail "the view outlives its holder"
    snap list e1
    [[ "$output" =~ k1.*lost ]] || fail "not listed as lost: $output"
    expect 3 'process of its view k1 has died' blockmig snapshot create e1 x
    expect 6 'nobody runs its job' blockmig snapshot delete e1 k1
    expect 0 '' blockmig job resume "$(view_job)"
    check_clean e1
    # with its guard, too: then there is nobody to end it
    snap create e1 k4 --mode cow
    expect 0 'nothing' blockmig snapshot doctor e1
    # shellcheck disable=SC2046
    kill -KILL $(guards e1) $(holder e1)
    expect 0 '' blockmig job resume "$(view_job)"
    no_backup e1 || fail "the view lives"
    check_clean e1
    # with the guest
    snap create e1 k2 --mode cow
    off e1
    lab_wait 20 is_clean e1 || check_clean e1
    # by virsh
    lab_virsh -q start e1 >/dev/null
    snap create e1 k3 --mode cow
    lab_virsh -q domjobabort e1
    lab_wait 20 is_clean e1 || check_clean e1
    off e1
    ok "it ends with its holder, with the guest, and by virsh"
}

no_view() { [ -z "$(holder "$1")" ]; }

# Somebody else takes the room where old blocks are saved.
test_room() {
    local job
    mount_small || {
        echo "no loop device: a view without room is not tried"
        return 0
    }
    lab_guest_bare s1 --disk size=256M,fill=all
    leave 3M
    expect 3 'free only' blockmig snapshot create s1 v1 --mode cow \
        --overlay-dir "$small"
    rm "$small/foreign"
    snap create s1 v1 --mode cow --overlay-dir "$small"
    job=$(view_job)
    lab_hmp_write s1 vda 0x11 1M 1M
    leave 3M
    lab_wait 20 no_view s1 || fail "the view lives on without room"
    expect 0 '' blockmig job events "$job"
    [[ "$output" =~ 'short of room' ]] || fail "nobody says why: $output"
    lab_hmp_write s1 vda 0x22 1M 4M
    lab_hmp_read s1 vda 0x22 1M 4M
    check_clean s1
    off s1
    ok "it ends before the store of its blocks is full"
}

no_backup() { ! lab_virsh backup-dumpxml "$1" >/dev/null 2>&1; }

test_refused() {
    lab define o1 --disk size=16M
    expect 3 'the guest is off' blockmig snapshot create o1 v --mode cow
    lab_virsh -q start o1 >/dev/null
    expect 2 'mode row only' blockmig snapshot create o1 v --mode cow --memory
    pull_backup o1
    expect 3 'a backup' blockmig snapshot create o1 v --mode cow
    lab_virsh -q domjobabort o1
    off o1
    lab define t1 --disk size=16M,iothread
    lab_virsh -q start t1 >/dev/null
    expect 3 'iothread' blockmig snapshot create t1 v --mode cow
    off t1
    ok "refused: off, beside a backup, and disks with an iothread"
}

test_group() {
    local name job
    for name in a b c; do
        lab_guest_bare $name --disk format=qcow2,size=16M,fill=1M
    done
    off c
    snap create-group g1 a b c --dry-run
    lab_equal "plans" "$(grep -c '^make restore point g1 of' <<<"$output")" 3
    lab_equal "made by a dry run" "$(lab_virsh snapshot-list a --name | xargs)" ''
    snap create-group g1 a b c
    [[ "$output" =~ '3 domains at one instant; the longest pause was' ]] ||
        fail "the pause is not told: $output"
    for name in a b c; do
        lab_equal "restore points of $name" \
            "$(lab_virsh snapshot-list $name --name | xargs)" g1
        check_clean $name
    done
    expect 3 'has a snapshot g1 already' blockmig snapshot create-group g1 b
    expect 3 'has a snapshot g1 already' \
        blockmig snapshot create-group g1 b --dry-run
    expect 2 'named twice' blockmig snapshot create-group g2 a b a
    expect 3 'nobody' blockmig snapshot create-group g2 a nobody
    check_clean a
    # killed in the pause: the guards let them run; none is of another instant
    mover_start freezing.paused snapshot create-group g2 a b
    mover_stands
    lab_is_state a paused || fail "a runs"
    lab_is_state b paused || fail "b runs"
    mover_signal KILL
    lab_wait 20 lab_is_state a running || fail "a is paused still"
    lab_wait 20 lab_is_state b running || fail "b is paused still"
    for job in $(blockmig job list --json | jq -r '.[].id'); do
        expect 1 'of another instant' blockmig job resume "$job"
    done
    for name in a b; do
        lab_equal "restore points of $name" \
            "$(lab_virsh snapshot-list $name --name | xargs)" g1
        check_clean $name
        off $name
    done
    ok "several domains at one instant, or none"
}

tests=${PARTS:-view ends room refused group}
lab_begin
for one in $tests; do
    "test_$one"
done
