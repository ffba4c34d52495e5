# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# A guest without a system and a model of it: what its disk vda holds now, and
# what it held at each restore point, a raw file each. Sourced after
# mover.bash; $name is the guest.

size=${size:-4M}

model() { echo "$LAB_DIR/ds1/model/$name.$1"; }

model_begin() { lab run mkdir -p "$LAB_DIR/ds1/model"; }

# The restore points that the model knows.
points() {
    (cd "$LAB_DIR/ds1/model" && ls "$name".p.* 2>/dev/null || true) |
        sed "s/^$name\.p\.//"
}

# model_keep POINT: what the disk holds now is its state
model_keep() { lab run cp "$(model now)" "$(model "p.$1")"; }
model_back() { lab run cp "$(model "p.$1")" "$(model now)"; }

running() { lab_is_state "$name" running; }
active() { disk_source "$name" vda --inactive; }

# What QEMU has in memory of the image's tables is written.
flush() {
    lab_virsh qemu-monitor-command "$name" --hmp \
        'qemu-io -d /machine/peripheral/virtio-disk0/virtio-backend "flush"' \
        >/dev/null
}

# new_guest NAME: off, with an empty disk
new_guest() {
    name=$1
    lab define "$name" --disk "format=qcow2,size=$size"
    image -f raw "$(model now)" "$size"
}

end_guest() {
    ! running || off "$name"
    lab_virsh -q undefine "$name" --snapshots-metadata >/dev/null
    rm -f "$LAB_DIR/ds1/$name"* "$LAB_DIR/ds1/model/$name".*
}

# put PATTERN OFFSET LENGTH: written by the guest, and in the model
put() {
    lab run qemu-io -f raw -c "write -P $*" "$(model now)" >/dev/null
    if running; then
        lab_hmp_write "$name" vda "$@"
    else
        lab run qemu-io -f qcow2 -c "write -P $*" "$(active)" >/dev/null
    fi
}

# same VIEW MODEL
same() {
    lab run qemu-img compare -q -U -f raw -F qcow2 "$2" "$1" ||
        fail "$1 is not as $2"
}

# The disk, and every restore point that is listed, is as the model says; every
# image is sound; libvirt knows the same restore points.
check_model() {
    local image point list
    ! running || flush
    list=$(blockmig snapshot list "$name" --json)
    lab_equal "restore points, by virsh" \
        "$(lab_virsh snapshot-list "$name" --name | sort | xargs)" \
        "$(jq -r '.[].name' <<<"$list" | sort | xargs)"
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

# snap ARGS...: must end with 0; what it says is $output
snap() { expect 0 '' blockmig snapshot "$@"; }

# layers NAME N: a running guest with N restore points s1 to sN, each after a
# write of its own, and one write more
layers() {
    local i
    new_guest "$1"
    lab_virsh -q start "$name" >/dev/null
    for i in $(seq "$2"); do
        put $((0x10 + i)) "$((i * 100))k" 96k
        snap create "$name" "s$i"
        model_keep "s$i"
    done
    put 0x77 3M 64k
}

depth_is() {
    lab_equal "images of $1" "$(blockmig snapshot tree "$1" --json |
        jq '.[0].images | length')" "$2"
}

# some N WORD...: N of them by the seed; in `make check-long` all
some() {
    local n=$1
    shift
    [ "$BM_LONG" = 0 ] || n=$#
    shuf -n "$n" --random-source=<(yes "${BM_SEED:-1}") -e "$@"
}
