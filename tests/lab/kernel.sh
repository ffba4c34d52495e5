# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# The guest's kernel: Debian's cloud kernel, unpacked, not installed.
# build/lab/kernel holds vmlinuz and modules.cpio. Sourced by `lab`.

# in the order in which the guest loads them
guest_modules=(virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev
    virtio_pci virtio_blk virtio_console)
guest_cache=$lab_root/build/lab/kernel

guest_kernel() {
    mkdir -p "$lab_root/build/lab"
    ! kernel_is_there || return 0
    (
        flock 9
        kernel_is_there || fetch_kernel
    ) 9>"$lab_root/build/lab/kernel.lock"
}

# With the modules that are wanted now.
kernel_is_there() {
    [ "$(cat "$guest_cache/modules" 2>/dev/null)" = "${guest_modules[*]}" ]
}

kernel_package() {
    apt-cache depends linux-image-cloud-amd64 2>/dev/null |
        sed -n 's/^ *Depends: \(linux-image-[0-9]\)/\1/p' | head -n 1
}

# Built aside and renamed: who sees the folder sees all of it.
fetch_kernel() {
    local work package
    package=$(kernel_package)
    if [ -z "$package" ]; then
        apt-get update -q >/dev/null || die "apt-get update failed"
        package=$(kernel_package)
    fi
    [ -n "$package" ] || die "apt knows no linux-image-cloud-amd64"
    work=$(mktemp -d "$lab_root/build/lab/kernel.XXXXXX")
    # apt warns that its own user cannot write here; only failures matter
    (cd "$work" && download_package "$package" && dpkg -x ./*.deb tree) ||
        die "$package: cannot fetch it; see $work"
    mkdir "$work/done"
    cp "$work"/tree/boot/vmlinuz-* "$work/done/vmlinuz"
    pack_modules "$work/tree" "$work/done"
    rm -rf "$guest_cache"
    mv "$work/done" "$guest_cache"
    rm -rf "$work"
}

# A list that is older than the archive names files that are gone.
download_package() {
    apt-get download -q "$1" >apt.log 2>&1 ||
        { apt-get update -q >>apt.log 2>&1 &&
            apt-get download -q "$1" >>apt.log 2>&1; }
}

pack_modules() {
    local tree=$1 to=$2 module file number=10
    mkdir "$to/initrd"
    for module in "${guest_modules[@]}"; do
        file=$(find "$tree/lib/modules" -name "$module.ko")
        [ -n "$file" ] || die "the kernel has no $module.ko"
        cp "$file" "$to/initrd/$number-$module.ko"
        number=$((number + 1))
    done
    mkdir -p "$to/initrd/dev" "$to/initrd/proc" "$to/initrd/sys"
    (cd "$to/initrd" && find . -mindepth 1 | sort |
        cpio --quiet -o -H newc -R 0:0) >"$to/modules.new"
    rm -r "$to/initrd"
    mv "$to/modules.new" "$to/modules.cpio"
    echo "${guest_modules[*]}" >"$to/modules"
}

# The lab gets copies: its user may not reach the checkout. The kernel takes
# several archives one after another.
lab_kernel() {
    local guest=$lab_root/build/lab/guest work
    [ ! -f "$lab/initrd" ] || return 0
    guest_kernel
    [ -x "$guest" ] || die "$guest is missing: run make lab"
    work=$(mktemp -d "$lab/initrd.XXXXXX")
    cp "$guest" "$work/init"
    (cd "$work" && echo init | cpio --quiet -o -H newc -R 0:0) >"$work/cpio"
    cat "$guest_cache/modules.cpio" "$work/cpio" >"$work/initrd"
    cp --reflink=auto "$guest_cache/vmlinuz" "$work/vmlinuz"
    chmod 644 "$work/vmlinuz" "$work/initrd"
    mv "$work/vmlinuz" "$lab/vmlinuz"
    mv "$work/initrd" "$lab/initrd"
    rm -rf "$work"
}
