#!/bin/bash
# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The pull: the new image gets the guest's writes at once, then all the rest.
# By guests without a system, and by one that checks its own data.
set -euo pipefail
. "$(dirname "$0")/common.bash"
. "$(dirname "$0")/mover.bash"

guest() {
    lab_guest_bare "$@"
    lab_hmp_write "$1" vda 0x5a 3M 64k
}

# pull NAME OPTION...: in the background
pull() {
    local name=$1
    shift
    mover_start "${point:-none}" move "$name" --strategy pull --to "$LAB_DIR/ds2" \
        --guest-latency off "$@"
}

# on_new NAME [TARGET]: the disk stands on its new image, alone and sound
on_new() {
    local target=${2:-vda} new=$LAB_DIR/ds2/$1-${2:-vda}.qcow2
    check_source "$1" "$target" "$new"
    check_format "$1" "$target" qcow2
    lab_equal "layers of $1, live" \
        "$(disk_xpath "$1" "$target" backingStore//source/@file)" ''
    lab_equal "layers of $1, saved" \
        "$(disk_xpath "$1" "$target" backingStore//source/@file --inactive)" ''
    lab run qemu-img check -U -q -f qcow2 "$new" || fail "qemu-img check of $new"
    lab_equal "backing file of $new" \
        "$(lab run qemu-img info -U --output=json "$new" | jq -r '."backing-filename"')" null
    check_clean "$1"
}

# on_old NAME FORMAT: the disk stands where it stood, the target is gone
on_old() {
    check_source "$1" vda "$LAB_DIR/ds1/$1-vda.$2"
    gone "$LAB_DIR/ds2/$1-vda.qcow2"
    check_clean "$1"
    job_is "$(newest_job)" state rolled-back
}

# A chain is flattened; the plan, the dry run and the report say what it is not.
test_move() {
    guest m1 --disk format=qcow2,size=64M,fill=8M
    lab_virsh -q snapshot-create-as m1 upper --disk-only --no-metadata \
        --diskspec "vda,file=$LAB_DIR/ds1/m1-upper.qcow2" >/dev/null
    lab_hmp_write m1 vda 0x31 9M 64k
    expect 0 'NOT proven' blockmig move m1 --strategy pull --dry-run \
        --to "$LAB_DIR/ds2" --name m1-vda.qcow2
    [[ "$output" == *'needs both stores'*'chain becomes one image'* ]] ||
        [[ "$output" == *'chain becomes one image'*'needs both stores'* ]] ||
        fail "the plan does not say it: $output"
    move m1 --strategy pull --to "$LAB_DIR/ds2" --name m1-vda.qcow2
    [[ "$output" == *'NOT proven'*'both stores'* ]] ||
        fail "the report does not say it: $output"
    on_new m1
    lab_hmp_read m1 vda 0x5a 3M 64k
    lab_hmp_read m1 vda 0x31 9M 64k
    lab_equal proven "$(result 'disks[0].proven')" false
    expect 3 'without a proof' blockmig job release "$(newest_job)"
    there "$LAB_DIR/ds1/m1-upper.qcow2"
    ok "a chain becomes one image"
}

copies() { in_phase copying && [ "$(stat -c %b "$LAB_DIR/ds2/$1-vda.qcow2")" -gt 8000 ]; }

# In the middle of a slow pull: what was written since goes back.
test_cancel() {
    guest c1 --disk format=raw,size=64M,fill=all
    pull c1 --bandwidth 4M
    lab_wait 20 copies c1 || fail "it does not pull: $(mover_said)"
    lab_hmp_write c1 vda 0x66 5M 64k
    lab_hmp_write c1 vda 0x67 60M 4k
    expect 0 'asked to cancel' blockmig job cancel "$(newest_job)"
    mover_ends 30 1 'the move of c1 stops'
    on_old c1 raw
    lab_hmp_read c1 vda 0x5a 3M 64k
    lab_hmp_read c1 vda 0x66 5M 64k
    lab_hmp_read c1 vda 0x67 60M 4k
    ok "cancelled in the middle, no write lost"
}

# The source takes no writes: the guest stays where it is, and the pull can go
# on, or back once it does.
test_held() {
    local id source=$LAB_DIR/ds1/h1-vda.raw
    guest h1 --disk format=raw,size=32M,fill=all
    pull h1 --bandwidth 8M
    lab_wait 20 copies h1 || fail "it does not pull: $(mover_said)"
    lab_hmp_write h1 vda 0x66 5M 64k
    id=$(newest_job)
    takes_no_writes "$source"
    mover_signal INT
    mover_ends 30 6 'takes no writes'
    job_is "$id" state held
    lab_hmp_read h1 vda 0x66 5M 64k
    expect 6 'takes no writes' blockmig job resume --back "$id"
    job_is "$id" state held
    expect 0 '' blockmig job resume "$id"
    on_new h1
    lab_hmp_read h1 vda 0x5a 3M 64k
    lab_hmp_read h1 vda 0x66 5M 64k
    takes_writes "$source"
    ok "held while the source takes no writes, then pulled to the end"
}

# For root no mode forbids anything.
takes_no_writes() {
    if [ "$(id -u)" = 0 ]; then
        chattr +i "$1"
        lab_at_exit chattr -i "$1"
    else
        chmod 400 "$1"
    fi
}
takes_writes() { if [ "$(id -u)" = 0 ]; then chattr -i "$1"; else chmod 600 "$1"; fi; }

# goes_off POINT: the guest, and qemu-img does the rest
goes_off() {
    local point=$1 name=o${1: -1}
    guest "$name" --disk format=raw,size=64M,fill=8M
    pull "$name"
    mover_stands
    lab_hmp_write "$name" vda 0x44 7M 64k
    off "$name"
    mover_signal CONT
    mover_ends 60 0
    lab_equal "saved XML of $name" "$(disk_source "$name" vda --inactive)" \
        "$LAB_DIR/ds2/$name-vda.qcow2"
    lab_virsh -q start "$name" >/dev/null
    on_new "$name"
    lab_hmp_read "$name" vda 0x5a 3M 64k
    lab_hmp_read "$name" vda 0x44 7M 64k
}

test_off() {
    goes_off copying
    goes_off copying.started
    ok "a guest that goes off is pulled by qemu-img"
}

# Two disks: once one is on its new image alone, there is only the way on.
test_two() {
    local id
    guest t1 --disk size=16M --disk size=32M,fill=all
    lab_hmp_write t1 vdb 0x21 30M 64k
    point=copying.pulled pull t1 --bandwidth 16M
    mover_stands
    id=$(newest_job)
    mover_signal KILL
    lab_wait 10 test -s "$LAB_DIR/mover.status"
    lab_hmp_write t1 vdb 0x22 2M 64k
    expect 0 'too late to go back' blockmig job resume --back "$id"
    on_new t1
    on_new t1 vdb
    lab_hmp_read t1 vdb 0x21 30M 64k
    lab_hmp_read t1 vdb 0x22 2M 64k
    ok "two disks, and too late for the way back"
}

# killed POINT: and resumed
killed() {
    local name=k$2 point=$1
    guest "$name" --disk size=32M,fill=16M
    pull "$name"
    mover_stands
    mover_signal KILL
    lab_wait 10 test -s "$LAB_DIR/mover.status"
    lab_hmp_write "$name" vda 0x33 2M 64k
    expect 0 '' blockmig job resume "$(newest_job)"
    on_new "$name"
    lab_hmp_read "$name" vda 0x5a 3M 64k
    lab_hmp_read "$name" vda 0x33 2M 64k
}

# Killed before the guest stood on the new image: there is a way back.
test_back() {
    local point n=0 name
    for point in allocating.created freezing.sent; do
        name=p$((++n))
        guest "$name" --disk size=32M,fill=16M
        pull "$name"
        mover_stands
        mover_signal KILL
        lab_wait 10 test -s "$LAB_DIR/mover.status"
        expect 1 'rolled back' blockmig job resume --back "$(newest_job)"
        on_old "$name" raw
        lab_hmp_read "$name" vda 0x5a 3M 64k
    done
    ok "back from before the freeze"
}

test_kill() {
    local point n=0
    for point in allocating.created freezing.sent freezing.frozen \
        copying.started copying.pulled consolidating releasing; do
        n=$((n + 1))
        killed $point $n
    done
    ok "kill -9 at $n points, resumed"
}

# A guest that writes without pause is pulled all the same, and checks it.
test_busy() {
    lab_guest_os b1 --disk "size=256M,fill=all,cache=none" --args 'g.rate=0'
    move b1 --strategy pull --to "$LAB_DIR/ds2"
    on_new b1
    lab_verify b1
    ok "a guest that writes without pause"
}

refused() {
    local text=$1
    shift
    expect 3 "$text" blockmig move r1 --strategy pull --to "$LAB_DIR/ds2" "$@"
}

test_refused() {
    guest r1 --disk format=raw,size=64M
    refused 'with --proof full' --proof full
    refused 'with --source delete' --source delete
    refused 'with --format raw' --format raw
    refused 'with --settle' --settle 1h
    lab define r2 --disk format=qcow2,size=64M
    lab run qemu-img create -q -f qcow2 -o extended_l2=on \
        "$LAB_DIR/ds1/r2-vda.qcow2" 64M
    lab_virsh -q start r2 >/dev/null
    expect 3 'extended L2 entries' blockmig move r2 --strategy pull \
        --to "$LAB_DIR/ds2"
    check_source r1 vda "$LAB_DIR/ds1/r1-vda.raw"
    gone "$LAB_DIR/ds2/r1-vda.qcow2"
    ok "what is refused"
}

tests='move cancel back two busy refused'
[ "${BM_LONG:-0}" = 0 ] || tests+=' held off kill'
tests=${PARTS:-$tests}
lab_begin
for one in $tests; do
    "test_$one"
done
