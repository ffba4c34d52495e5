#!/bin/bash
# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A block device as the target: what is on it is found and named, and only
# --force overwrites it; its size must fit. Loop devices need root.
set -euo pipefail
. "$(dirname "$0")/common.bash"
. "$(dirname "$0")/mover.bash"

[ "$(id -u)" = 0 ] || skip "loop devices need root"

# Makes $dev, a block device of that size that the lab's user may use. Its
# node is ours, so that nobody's udev and no other lab minds.
device() {
    local name=$1 size=$2 loop
    truncate -s "$size" "$LAB_DIR/$name.img"
    loop=$(losetup --find --show --direct-io=on "$LAB_DIR/$name.img" 2>&1) ||
        skip "no loop device: $loop"
    lab_at_exit losetup -d "$loop"
    dev=$LAB_DIR/$name
    mknod "$dev" b 7 "${loop#/dev/loop}"
    chown "$(lab run id -u)" "$dev"
    dd if="$dev" of=/dev/null bs=4k count=1 status=none ||
        skip "device nodes do not work in $LAB_DIR"
}

# refused TEXT ARGS...: and neither the device nor the domain has changed
refused() {
    local text=$1 before sum
    shift
    before=$(picture dev1)
    sum=$(md5sum <"$dev")
    expect 3 "$text" blockmig move dev1 "$@"
    lab_equal "what a refusal left" "$(picture dev1)" "$before"
    lab_equal "the device" "$(md5sum <"$dev")" "$sum"
}

# The move is done, the guest's data is on the device.
taken() {
    local format=$1
    shift
    move dev1 --to "$dev" "$@"
    check_source dev1 vda "$dev"
    check_format dev1 vda "$format"
    lab_equal "type of the disk" "$(disk_xpath dev1 vda @type)" block
    lab_equal "attribute of the saved disk" \
        "$(disk_xpath dev1 vda source/@dev --inactive)" "$dev"
    check_clean dev1
    lab_hmp_read dev1 vda 0x5a 3M 64k
    lab_hmp_write dev1 vda 0x6b 7M 64k
    off dev1
    lab run qemu-io -f "$format" -c 'read -q -P 0x5a 3M 64k' \
        -c 'read -q -P 0x6b 7M 64k' "$dev" >"$LAB_DIR/io.out" 2>&1 &&
        ! grep -q -i fail "$LAB_DIR/io.out" || fail "$(cat "$LAB_DIR/io.out")"
    lab_virsh -q start dev1 >/dev/null
    lab_hmp_read dev1 vda 0x6b 7M 64k
    move dev1 --to "$LAB_DIR/ds1" --name "back$((n += 1)).raw" --format raw \
        --source delete
    # a device is never deleted
    [ -b "$dev" ] || fail "the device is gone"
    lab_hmp_write dev1 vda 0x5a 7M 64k
}
n=0

# LVM2's label, its checksum and all, without LVM
lvm() {
    printf 'LABELONE\1\0\0\0\0\0\0\0\x91\x9c\xb1\x48\x20\0\0\0LVM2 001' |
        dd of="$dev" bs=512 seek=1 conv=notrunc status=none
    printf '0123456789abcdefABCDEF0123456789' |
        dd of="$dev" bs=1 seek=544 conv=notrunc status=none
}

lab_begin
lab_guest_bare dev1 --disk size=64M,fill=4M
lab_hmp_write dev1 vda 0x5a 3M 64k
lab_hmp_write dev1 vda 0x5a 7M 64k

device same 64M
mkfs.ext4 -q -F -L precious "$dev"
refused 'ext4 file system' --to "$dev"
taken raw --force
ok "a device with a file system"

dd if=/dev/zero of="$dev" bs=1M count=64 conv=notrunc status=none
echo 'label: gpt
,10M' | sfdisk -q "$dev" >/dev/null 2>&1
refused 'GPT partition table' --to "$dev"
# GPT has a copy at the end
dd if=/dev/zero of="$dev" bs=1M count=64 conv=notrunc status=none
lvm
refused 'LVM2_member' --to "$dev"
taken raw --force
dd if=/dev/zero of="$dev" bs=1M count=64 conv=notrunc status=none
image -f qcow2 "$dev" 32M
refused 'qcow2 image' --to "$dev"
dd if=/dev/zero of="$dev" bs=1M count=64 conv=notrunc status=none
sync "$dev"
taken raw
ok "GPT, LVM, qcow2; and an empty device without --force"

# shut off: the same checks, another copy
off dev1
mkfs.ext4 -q -F "$dev"
refused 'ext4 file system' --to "$dev"
expect 0 '' blockmig move dev1 --to "$dev" --force
check_source dev1 vda "$dev"
check_format dev1 vda raw
check_clean dev1
same_content raw "$LAB_DIR/ds1/back$n.raw" raw "$dev"
refused 'is the source itself' --to "$dev"
ok "shut off, onto a device"

device small 32M
refused 'small has 33554432 bytes, the disk 67108864' --to "$dev"
device large 96M
slice='100663296 bytes, of which the guest will see the first 67108864'
expect 0 "$slice" blockmig move dev1 --to "$dev" --dry-run
lab_virsh -q start dev1 >/dev/null
expect 0 "$slice" blockmig move dev1 --to "$dev" --dry-run \
    --overlay-dir "$LAB_DIR/ds1"
refused 'small has 33554432 bytes' --to "$LAB_DIR/small"
refused 'give --overlay-dir' --to "$dev" --format qcow2
taken qcow2 --format qcow2 --overlay-dir "$LAB_DIR/ds1"
ok "devices that are too small, too large, large enough for qcow2"

mkfs.ext4 -q -F "$dev"
mkdir "$LAB_DIR/mnt"
mount "$dev" "$LAB_DIR/mnt"
lab_at_exit umount "$LAB_DIR/mnt"
expect 3 'for ourselves.*busy' blockmig move dev1 --to "$dev" --force \
    --format qcow2
ok "a device that is mounted"
