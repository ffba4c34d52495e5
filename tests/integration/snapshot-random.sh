#!/bin/bash
# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Random sequences of snapshot commands and writes, the guest running or off.
# After each step the disk and the state of every restore point are compared
# with a model, a raw file each, by qemu-img compare; every image must be sound,
# and libvirt must know the same restore points.
#
#   BM_SEED seeds them; SEQUENCES how many; STEPS of each
set -euo pipefail
. "$(dirname "$0")/common.bash"
. "$(dirname "$0")/mover.bash"
. "$(dirname "$0")/snapshot.bash"

blocks=64 # of 64 KiB, the size of the disk
long=$([ "${BM_LONG:-0}" = 1 ] && echo 1 || echo 0)
sequences=${SEQUENCES:-$((long ? 200 : 3))}
steps=${STEPS:-9}
seed=${BM_SEED:-1}

name='' # of the guest
step=0
story=''

random() { echo $((RANDOM % $1)); }

one_point() { points | shuf -n 1 --random-source=<(yes "$RANDOM"); }

# --- what is done ---

do_write() {
    local i
    for i in 1 2 3; do
        put $((RANDOM % 255 + 1)) $(($(random $blocks) * 64))k \
            $(($(random 16) * 4 + 4))k
    done
}

do_create() {
    local point=p$step
    if [ "$(random 4)" = 0 ]; then
        story+=' (virsh)'
        lab_virsh -q snapshot-create-as "$name" "$point" --disk-only \
            --diskspec "vda,file=$(ds1 "$name-$point.qcow2")" >/dev/null
    else
        expect 0 '' blockmig snapshot create "$name" "$point"
    fi
    model_keep "$point"
}

do_revert() {
    local point branch
    point=$(one_point)
    [ -n "$point" ] || return 0
    story+=" $point"
    expect 0 '' blockmig snapshot revert "$name" "$point" --force
    branch=$(sed -n 's/.*as restore point \(.*\)$/\1/p' <<<"$output")
    [ -z "$branch" ] || model_keep "$branch"
    model_back "$point"
}

# What blockmig says is gone is gone from the model.
forget_gone() {
    local point
    for point in $(sed -n 's/^restore point \(.*\) is gone$/\1/p' <<<"$output"); do
        rm -f "$(model "p.$point")"
    done
}

merge() {
    story+=" $*"
    expect 0 '' blockmig snapshot "$@" --guest-latency off \
        --proof "$([ "$(random 3)" = 0 ] && echo full || echo touched)"
    forget_gone
}

do_delete() {
    local point children=()
    point=$(one_point)
    [ -n "$point" ] || return 0
    [ "$(random 4)" != 0 ] || children=(--children)
    merge delete "$name" "$point" "${children[@]}"
}

do_commit() {
    local depth
    depth=$(blockmig snapshot tree "$name" --json |
        jq '[.[0].images[] | select(.active)] | length')
    [ "$depth" != 0 ] || fail "no active image"
    # what stands in the way is told, and then nothing is changed
    if blockmig snapshot commit "$name" --force --dry-run >/dev/null 2>&1; then
        merge commit "$name" --force
    else
        story+=' (refused)'
        expect 3 '' blockmig snapshot commit "$name" --force
    fi
}

do_consolidate() {
    case $(random 3) in
    0) merge consolidate "$name" ;;
    1) merge consolidate "$name" --keep "$(random 4)" ;;
    2) merge consolidate "$name" --keep 0 --force ;;
    esac
}

# Into a new image: the points keep theirs.
do_flatten() {
    local depth base
    depth=$(chain_of | wc -l)
    [ "$depth" -gt 1 ] || return 0
    base=$(chain_of | sed -n "$((RANDOM % (depth - 1) + 2))p")
    if [ "$(random 2)" = 0 ] || [ "$base" = "$(chain_of | sed -n 2p)" ]; then
        story+=" flatten"
        expect 0 '' blockmig snapshot flatten "$name" --guest-latency off
    else
        story+=" pull --base $base"
        expect 0 '' blockmig snapshot pull "$name" --base "$base" \
            --guest-latency off
    fi
    # not all that was merged away is ours to delete
    tidy
}

# The chain of the disk, from the top.
chain_of() {
    lab run qemu-img info -U --backing-chain --output=json "$(active)" |
        jq -r '.[].filename'
}

# Images that are nobody's any more.
tidy() {
    local image
    for image in $(ls "$LAB_DIR/ds1/$name"*.qcow2); do
        jq -e --arg i "$image" 'any(.[].images[]; .path == $i)' \
            < <(blockmig snapshot tree "$name" --json) >/dev/null ||
            rm -f "$image"
    done
}

do_toggle() {
    if running; then
        off "$name"
    else
        lab_virsh -q start "$name" >/dev/null
    fi
}

check() {
    check_model
    lab_equal "restore points" \
        "$(lab_virsh snapshot-list "$name" --name | sort | xargs)" \
        "$(points | sort | xargs)"
}

all='write write write create create create revert delete delete commit consolidate flatten toggle toggle'

sequence() {
    local what
    RANDOM=$((seed + $1))
    story=''
    new_guest "r$1"
    do_toggle
    for step in $(seq "$steps"); do
        what=$(shuf -n 1 -e $all --random-source=<(yes "$RANDOM"))
        story+=$'\n'"  $what"
        "do_$what"
        check
    done
    end_guest
}

show() { echo "sequence $name, step $step:$story" >&2; }

lab_begin
model_begin
lab_at_exit show
for number in $(seq "$sequences"); do
    sequence "$number"
done
lab_cleanups=("${lab_cleanups[@]:1}")
ok "$sequences random sequences of $steps steps (BM_SEED=$seed)"
