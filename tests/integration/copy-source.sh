#!/bin/bash
# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What is known of a source: that the target is not the source in disguise,
# and that a copy which goes on is about the same bytes.
set -euo pipefail
. "$(dirname "$0")/bytes.bash"

# interrupted SOURCE TARGET OPTION...: a copy killed when it has begun
interrupted() {
    local source=$1 target=$2 pid
    shift 2
    "$blockmig" --state "$tmp/state" -q copy --bandwidth 6M "$@" \
        "$source" "$target" 2>err &
    pid=$!
    until_true 10 grep -qs '+' "$(state_of "$target")"
    kill -KILL "$pid"
    wait "$pid" && fail "it was not interrupted" || true
}

state_of() { echo "$(dirname "$1")/.$(basename "$1").blockmig-state"; }

# nbdkit takes no lock: it serves the very file that is read.
disguised() {
    local before
    qemu-img create -q -f qcow2 a.qcow2 1M
    qemu-io -f qcow2 -c 'write -P 7 0 1M' a.qcow2 >out
    before=$(sha256sum <a.qcow2)
    by_nbdkit s file a.qcow2
    trouble 3 'open for writing: maybe this server' \
        copy -f qcow2 a.qcow2 "$(uri s)"
    [ "$(sha256sum <a.qcow2)" = "$before" ] || fail "the source is changed"
    # a layer below it, too
    stop s
    qemu-img create -q -f qcow2 -b a.qcow2 -F qcow2 top.qcow2
    by_nbdkit s file a.qcow2
    trouble 3 'open for writing: maybe this server' \
        copy -f qcow2 top.qcow2 "$(uri s)"
    [ "$(sha256sum <a.qcow2)" = "$before" ] || fail "the base is changed"
    # any other file is fine, and so is a source that nobody writes
    truncate -s 1M other
    stop s
    by_nbdkit s file other
    run 0 -q copy -f qcow2 top.qcow2 "$(uri s)"
    stop s
    same_image top.qcow2 other
    rm -f a.qcow2 top.qcow2 other
    ok "a source in disguise"
}

same_image() {
    qemu-img compare -q -f qcow2 -F raw "$1" "$2" || fail "$1 and $2 differ"
}

# A layer below that was written between two runs.
changed_below() {
    noise base 32M
    qemu-img create -q -f qcow2 -b base -F raw top.qcow2
    interrupted top.qcow2 b -f qcow2
    printf x | dd of=base bs=1 seek=1000 conv=notrunc status=none
    trouble 1 'source-id was' copy --resume -f qcow2 top.qcow2 b
    run 0 -q copy -f qcow2 top.qcow2 b
    same_image top.qcow2 b
    rm -f base top.qcow2 b
    ok "a changed backing file"
}

# A device that was written between two runs; only root has loop devices.
changed_device() {
    local loop
    [ "$(id -u)" = 0 ] || return 0
    noise disk 32M
    loop=$(losetup --find --show disk)
    interrupted "$loop" b -f raw
    run 0 -q copy --resume -f raw "$loop" b
    cmp disk b
    rm b
    interrupted "$loop" b -f raw
    printf x | dd of="$loop" bs=1 seek=1000 conv=notrunc,fsync status=none
    trouble 1 'source-id was' copy --resume -f raw "$loop" b
    losetup -d "$loop"
    rm -f disk .b.*
    ok "a changed device"
}

names() {
    local long
    noise a 64K
    cp a $'line\nbreak'
    trouble 3 'a line break' copy -f raw $'line\nbreak' b
    trouble 3 'a line break' copy -f raw a $'b\nc'
    long=$(printf '%0240d' 0)
    trouble 3 'File name too long' copy -f raw a "$long"
    trouble 3 'Unknown driver' copy -f nosuch a b
    ! grep -q json err || fail "QEMU's words show: $(cat err)"
    rm -f a b $'line\nbreak'
    ok "names"
}

# A manifest that cannot be saved is no reason to copy all again; a target that
# somebody made longer is not given its name.
spoiled() {
    noise a 40M
    if [ "$(id -u)" = 0 ]; then
        mkdir small.mount
        mount -t tmpfs -o size=8k none small.mount
        run 1 -q copy -f raw a b --manifest small.mount/m
        umount small.mount
        run 0 copy --json --resume --manifest m -f raw a b
        [ "$(jq -r 'select(.event == "result") | .kept' out)" = 41943040 ] ||
            fail "it was copied again: $(cat out)"
        run 0 hash --check m -f raw b
        rm -rf b m small.mount
    fi
    interrupted a b -f raw
    truncate -s 80M .b.blockmig-part
    trouble 1 'has 83886080 bytes' copy --resume -f raw a b
    rm -f a .b.*
    ok "spoiled between two runs"
}

for part in ${PARTS:-disguised changed_below changed_device spoiled names}; do
    $part
done
ok "$checks runs"
