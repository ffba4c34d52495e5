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

size=4M
blocks=64 # of 64 KiB
long=$([ "${BM_LONG:-0}" = 1 ] && echo 1 || echo 0)
sequences=${SEQUENCES:-$((long ? 200 : 3))}
steps=${STEPS:-9}
seed=${BM_SEED:-1}

name='' # of the guest
step=0
story=''

random() { echo $((RANDOM % $1)); }

# --- the model ---

model() { echo "$LAB_DIR/ds1/model/$name.$1"; }
points() { (cd "$LAB_DIR/ds1/model" && ls "$name".p.* 2>/dev/null || true) | sed "s/^$name\.p\.//"; }
one_point() { points | shuf -n 1 --random-source=<(yes "$RANDOM"); }
write_model() { lab run qemu-io -f raw -c "write -P $2 $3 $4" "$1" >/dev/null; }

# --- the guest ---

running() { lab_is_state "$name" running; }
active() { disk_source "$name" vda --inactive; }

# --- what is done ---

do_write() {
    local i pattern=$((RANDOM % 255 + 1)) offset length
    for i in 1 2 3; do
        offset=$(($(random $blocks) * 64))k
        length=$(($(random 16) * 4 + 4))k
        write_model "$(model now)" "$pattern" "$offset" "$length"
        if running; then
            lab_hmp_write "$name" vda "$pattern" "$offset" "$length"
        else
            lab run qemu-io -f qcow2 -c "write -P $pattern $offset $length" \
                "$(active)" >/dev/null
        fi
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
    lab run cp "$(model now)" "$(model "p.$point")"
}

do_revert() {
    local point branch
    point=$(one_point)
    [ -n "$point" ] || return 0
    story+=" $point"
    expect 0 '' blockmig snapshot revert "$name" "$point" --force
    branch=$(sed -n 's/.*as restore point \(.*\)$/\1/p' <<<"$output")
    [ -z "$branch" ] || lab run cp "$(model now)" "$(model "p.$branch")"
    lab run cp "$(model "p.$point")" "$(model now)"
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

# --- what must hold ---

# What QEMU has in memory of the image's tables is written.
flush() {
    lab_virsh qemu-monitor-command "$name" --hmp \
        'qemu-io -d /machine/peripheral/virtio-disk0/virtio-backend "flush"' \
        >/dev/null
}

# same VIEW MODEL
same() {
    lab run qemu-img compare -q -U -f raw -F qcow2 "$2" "$1" ||
        fail "$1 is not as $2"
}

check() {
    local image point list
    ! running || flush
    list=$(blockmig snapshot list "$name" --json)
    lab_equal "restore points" "$(jq -r '.[].name' <<<"$list" | sort | xargs)" \
        "$(points | sort | xargs)"
    lab_equal "restore points, by virsh" \
        "$(lab_virsh snapshot-list "$name" --name | sort | xargs)" \
        "$(points | sort | xargs)"
    same "$(active)" "$(model now)"
    lab_equal "live and saved image" "$(disk_source "$name" vda)" "$(active)"
    while read -r point image; do
        same "$image" "$(model "p.$point")"
    done < <(jq -r '.[] | .name + " " + .disks[0].image' <<<"$list")
    for image in $(blockmig snapshot tree "$name" --json |
        jq -r '.[].images[].path'); do
        lab run qemu-img check -q -U "$image" || fail "qemu-img check of $image"
    done
    [ ! -d "$(state_dir)" ] || check_clean "$name"
}

all='write write write create create create revert delete delete commit consolidate flatten toggle toggle'

sequence() {
    local what
    name=r$1
    RANDOM=$((seed + $1))
    story=''
    lab define "$name" --disk "format=qcow2,size=$size"
    image -f raw "$(model now)" $size
    do_toggle
    for step in $(seq "$steps"); do
        what=$(shuf -n 1 -e $all --random-source=<(yes "$RANDOM"))
        story+=$'\n'"  $what"
        "do_$what"
        check
    done
    ! running || off "$name"
    lab_virsh -q undefine "$name" --snapshots-metadata >/dev/null
    rm -f "$LAB_DIR/ds1/$name"* "$LAB_DIR/ds1/model/$name".*
}

show() { echo "sequence $name, step $step:$story" >&2; }

lab_begin
lab run mkdir "$LAB_DIR/ds1/model"
lab_at_exit show
for number in $(seq "$sequences"); do
    sequence "$number"
done
lab_cleanups=("${lab_cleanups[@]:1}")
ok "$sequences random sequences of $steps steps (BM_SEED=$seed)"
