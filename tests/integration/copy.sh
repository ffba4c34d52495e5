#!/bin/bash
# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# blockmig copy: what it copies is the same by qemu-img and cmp, a half copy
# never looks whole, what was interrupted goes on, and whatever is wrong with
# either side is said in one line.
set -euo pipefail
# shellcheck source=tests/integration/bytes.bash
. "$(dirname "$0")/bytes.bash"

kept() { jq -r 'select(.event == "result") | .kept' out; }

files() {
    local size
    for size in 0 1 511 65536 65537 1000003 7M 20000001; do
        sparse_noise a "$size"
        truncate -s "$size" a
        for cache in writeback none; do
            run 0 -q copy --cache $cache --force -f raw a b
            same a b
            run 0 -q copy --cache $cache --verify --force -f raw a b
            same a b
        done
        rm b
    done
    rm a
    truncate -s 1T a
    dd if=/dev/urandom of=a bs=64K count=1 seek=9999999 conv=notrunc status=none
    run 0 -q copy -f raw a b
    qemu-img compare -q -f raw -F raw a b || fail "1 TiB differs"
    [ "$(stat -c %b b)" -lt 1000 ] || fail "b is not sparse"
    rm a b
    ok "files"
}

formats() {
    sparse_noise a 10M
    run 0 -q copy -f raw -O qcow2 --verify a b.qcow2
    qemu-img check -q b.qcow2
    qemu-img compare -q -f raw -F qcow2 a b.qcow2 || fail "qcow2 differs"
    run 0 -q copy b.qcow2 c
    same a c
    by_nbdkit mem memory 10M
    run 0 -q copy --verify -f raw a "$(uri mem)"
    run 0 -q copy --verify "$(uri mem)" d
    same a d
    stop mem
    by_qemu q -e 0 -f qcow2 b.qcow2
    noise n 10M
    run 0 -q copy --verify -f raw n "$(uri q)"
    stop q
    qemu-img compare -q -f raw -F qcow2 n b.qcow2 || fail "by qemu-nbd"
    rm -f a c d n b.qcow2
    ok "formats and servers"
}

# strict BLOCK SIZE: serves so much of disk, and refuses all but whole blocks
strict() {
    by_nbdkit s --filter=blocksize-policy --filter=truncate file disk \
        truncate="$2" blocksize-minimum="$1" blocksize-preferred=65536 \
        blocksize-error-policy=error
}

# begins_with_a BLOCK: disk does after a copy, and the rest is as before
begins_with_a() {
    cp disk before
    strict "$1" 2M
    run 0 -q copy --verify -f raw a "$(uri s)"
    run 0 -q copy --force "$(uri s)" b
    stop s
    same disk b
    cmp -n "$size" a b || fail "$size bytes by blocks of $1 differ"
    cmp -i "$size" before b || fail "what follows $size bytes was changed"
}

ragged() {
    local size format
    noise disk 2M
    for size in 1 511 65537 1000003 1048677; do
        noise a $size
        begins_with_a 512
        begins_with_a 65536
        truncate -s 0 a && truncate -s $size a
        begins_with_a 65536
    done
    # a server whose own end is ragged has a tail that nobody can write
    strict 512 1048677
    noise a 1048677
    trouble 1 'only whole blocks of 512' copy -f raw a "$(uri s)"
    cmp -i 1048576 disk b || fail "the tail was changed"
    truncate -s 1M a
    run 0 -q copy --verify -f raw a "$(uri s)"
    stop s
    for format in qcow2 vmdk vdi vhdx vpc; do
        for size in 1 511 1000003 20000001; do
            noise a $size
            run 0 -q copy --verify --force -f raw -O $format a b
            qemu-img compare -q -f raw -F $format a b || fail "$format differs"
        done
    done
    rm -f a b disk before
    ok "whole blocks only"
}

# The root is that of a known image, and nbdkit's pattern of 1 GiB is known.
digests() {
    by_nbdkit p pattern 1G
    run 0 copy --json --manifest m "$(uri p)" out.img
    [ "$(jq -r 'select(.event == "result") | .digest' out)" = \
        6750a1c3d78e46eaffb0d094624825dea88f0c7098b2424fce776c0748442649 ] ||
        fail "digest: $(cat out)"
    stop p
    run 0 hash --check m -f raw out.img
    rm -f out.img m
    ok "digests on the way"
}

# interrupted SIGNAL: a slow copy, a moment after its first state was saved
interrupted() {
    "$blockmig" --state "$tmp/state" -q copy --bandwidth 4M -f raw a b 2>err &
    local pid=$!
    until_true 20 test -s .b.blockmig-state
    kill "-$1" "$pid"
    wait "$pid" && fail "it ended well" || true
    [ ! -e b ] || fail "a half copy bears its name"
}

resume() {
    noise a 48M
    interrupted KILL
    run 0 copy --json --resume -f raw a b
    [ "$(kept)" -gt 0 ] || fail "nothing was kept: $(cat out)"
    same a b
    rm b
    interrupted INT
    grep -q 'resume goes on' err || fail "no way named: $(cat err)"
    run 0 copy --json --resume -f raw a b
    [ "$(kept)" -gt 4194304 ] || fail "too little was kept: $(cat out)"
    same a b
    nothing_left c
    rm b
    # of another image, damaged, cut off
    interrupted KILL
    touch a
    trouble 1 'source-id was' copy --resume -f raw a b
    cp .b.blockmig-state saved
    sed -i 's/0x0000/0x0001/' .b.blockmig-state
    trouble 1 'damaged' copy --resume -f raw a b
    head -c 60 saved >.b.blockmig-state
    trouble 1 'damaged' copy --resume -f raw a b
    run 0 -q copy -f raw a b
    same a b
    rm -f a b saved
    ok "resume"
}

# The server goes in the middle; another one goes on.
dead_server() {
    noise a 32M
    by_nbdkit s --filter=rate file a rate=80M
    "$blockmig" --state "$tmp/state" -q copy --verify "$(uri s)" b 2>err &
    local pid=$!
    until_true 20 test -s .b.blockmig-part
    stop s
    wait "$pid" && fail "it ended well" || true
    [ "$(wc -l <err)" = 1 ] || fail "not one line: $(cat err)"
    [ ! -e b ] || fail "a half copy bears its name"
    by_nbdkit s file a
    run 0 -q copy --resume --verify "$(uri s)" b
    same a b
    stop s
    rm -f a b
    # a target that goes
    noise a 32M
    by_nbdkit t --filter=rate memory 32M rate=80M
    "$blockmig" --state "$tmp/state" -q copy -f raw a "$(uri t)" 2>err &
    pid=$!
    sleep 0.5
    stop t
    wait "$pid" && fail "it ended well" || true
    [ "$(wc -l <err)" = 1 ] || fail "not one line: $(cat err)"
    rm -f a
    ok "dead servers"
}

faults() {
    noise a 8M
    by_nbdkit e --filter=error pattern 64M error-pread-rate=0.3
    trouble 1 'Input/output error.*--on-read-error rescue' copy "$(uri e)" b
    stop e
    by_nbdkit e --filter=error pattern 64M error-extents-rate=1
    # who cannot say what is zero is read
    run 0 -q copy --verify "$(uri e)" c
    stop e
    by_nbdkit e pattern 64M
    nbdcopy "$(uri e)" d
    same c d
    stop e
    rm c d
    [ ! -e b ] || fail "b is there"
    rm -f .b.*
    by_nbdkit e --filter=error memory 8M error-pwrite-rate=0.2
    trouble 1 'Input/output error' copy -f raw a "$(uri e)"
    stop e
    by_nbdkit e --filter=error memory 8M error-pwrite-rate=1 error-pwrite=ENOSPC
    trouble 1 'No space left' copy -f raw a "$(uri e)"
    stop e
    by_nbdkit e -r memory 8M
    trouble 1 'for reading only' copy -f raw a "$(uri e)"
    stop e
    by_nbdkit e memory 4M
    trouble 3 'needs 8388608' copy -f raw a "$(uri e)"
    stop e
    trouble 1 '' copy -f raw a "$(uri none)"
    by_nbdkit e --filter=noextents --filter=nozero memory 8M
    run 0 -q copy --verify -f raw a "$(uri e)"
    run 0 -q copy "$(uri e)" b
    same a b
    stop e
    # it shrinks while it is read
    noise a 32M
    "$blockmig" --state "$tmp/state" -q copy --bandwidth 8M -f raw a c 2>err &
    local pid=$!
    until_true 20 test -e .c.blockmig-part
    sleep 0.3
    truncate -s 9M a
    wait "$pid" && fail "a source that was cut off" || true
    grep -q 'truncated' err || fail "not said: $(cat err)"
    [ ! -e c ] || fail "c is there"
    rm -f a b .c.*
    ok "faults of either side"
}

# A file system that is full says so, and nothing bears the name.
full() {
    [ "$(id -u)" = 0 ] || { echo "needs root: a full file system"; return 0; }
    mkdir full.mount
    mount -t tmpfs -o size=4M tmpfs full.mount
    noise a 8M
    trouble 1 'No space left' copy -f raw a full.mount/b
    [ ! -e full.mount/b ] || fail "b is there"
    umount full.mount
    rm -f a
    ok "a full target"
}

refused() {
    noise a 1M
    cp a b
    trouble 3 'it exists; --force' copy -f raw a b
    same a b
    ln a hard
    trouble 3 'what would be read' copy --force -f raw a hard
    trouble 3 'what would be read' copy --force -f raw a a
    qemu-img create -q -f qcow2 -b a -F raw top.qcow2
    trouble 3 'what would be read' copy --force -f qcow2 top.qcow2 a
    trouble 3 'names a backing file.*-f' copy top.qcow2 c
    trouble 3 'No such file' copy none c
    trouble 3 'No such file' copy -f raw a none/c
    trouble 3 'neither a file' copy -f raw a .
    mkfifo pipe
    trouble 3 'neither a file' copy pipe c
    trouble 2 'needs --mapfile' copy --on-read-error rescue a c
    trouble 2 'with --verify only' copy --verify-from cache a c
    trouble 2 "unknown digest 'crc'" copy --digest crc a c
    trouble 2 '' copy a
    nothing_left c
    # used by a QEMU: as a target, and as a source
    qemu-nbd -t --fork -k "$tmp/u.sock" --pid-file="$tmp/u.pid" -f raw b
    trouble 3 'open' copy -f raw b c
    run 0 -q copy -U -f raw b c
    stop u
    rm -f a b c hard pipe top.qcow2
    ok "what is refused"
}

devices() {
    local loop
    [ "$(id -u)" = 0 ] || { echo "needs root: loop devices"; return 0; }
    truncate -s 16M disk
    mkfs.ext4 -q disk
    loop=$(losetup --find --show disk)
    noise a 9000001
    run 3 copy -f raw a "$loop"
    grep -q 'ext4.*--force' err || fail "not said: $(cat err)"
    run 0 -q copy --force --verify -f raw a "$loop"
    cmp -n 9000001 a "$loop" || fail "the device differs"
    run 0 -q copy --cache none --force --verify -f raw a "$loop"
    noise big 17M
    trouble 3 'needs' copy --force -f raw big "$loop"
    losetup -d "$loop"
    rm -f a big disk
    ok "block devices"
}

# What would have cost data, each found by an attack.
attacks() {
    local loop pid
    noise a 24M
    noise c 1M
    cp c before
    # two copies to one name
    "$blockmig" -q copy --bandwidth 6M -f raw a b &
    pid=$!
    until_true 10 test -e .b.blockmig-part
    sleep 0.3
    trouble 3 'another copy to it is running' copy -f raw c b
    wait "$pid"
    same a b
    # a file that appears meanwhile, and a link to nothing
    "$blockmig" -q copy --bandwidth 8M -f raw a d 2>err &
    pid=$!
    until_true 10 test -e .d.blockmig-part
    echo precious >d
    wait "$pid" && fail "it replaced a file" || true
    [ "$(cat d)" = precious ] || fail "it is replaced"
    ln -s nowhere link
    trouble 3 'neither a file' copy -f raw a link
    # an image that someone has open is not replaced
    qemu-img create -q -f qcow2 g.qcow2 1M
    by_qemu g -f qcow2 g.qcow2
    trouble 3 'has it open' copy --force -f raw a g.qcow2
    stop g
    # the source is no place for a manifest
    trouble 3 'is no manifest' copy --manifest c -f raw c e
    trouble 3 'is no manifest' hash --manifest c -f raw c
    same c before
    trouble 3 'No such file' copy --manifest none/m -f raw c e
    trouble 2 'that is the target' copy --manifest ./e -f raw c e
    [ ! -e e ] || fail "e is there"
    # a rescue without its map
    cp c kept
    trouble 3 'there is no map' copy --resume --on-read-error rescue \
        --mapfile typo -f raw a kept
    same c kept
    # a server that came back may be empty
    trouble 3 'give --verify' copy --resume -f raw c "$(uri none)"
    if [ "$(id -u)" = 0 ]; then
        # a loop device of the source, and a resume that has no state
        loop=$(losetup --find --show c)
        trouble 3 'what would be read' copy --force -f raw c "$loop"
        losetup -d "$loop"
        truncate -s 16M disk
        mkfs.ext4 -q disk
        loop=$(losetup --find --show disk)
        run 3 copy --resume -f raw c "$loop"
        losetup -d "$loop"
    fi
    rm -rf a b c d before link g.qcow2 kept disk .d.*
    ok "attacks"
}

# A target that forgets the first write of a block is repaired; one that
# always does has exit status 4 and its ranges.
bad_target() {
    cat >liar <<'PLUGIN'
#!/bin/bash
case $1 in
get_size) echo 1048576 ;;
can_write | can_flush) exit 0 ;;
pread) dd if="$LIAR_DISK" bs=4096 count="$3" skip="$4" \
    iflag=count_bytes,skip_bytes status=none ;;
pwrite)
    n=$(cat "$LIAR_DISK.n"); echo $((n + 1)) >"$LIAR_DISK.n"
    if [ "$n" -lt "$LIAR_TIMES" ]; then cat >/dev/null; exit 0; fi
    dd of="$LIAR_DISK" bs=4096 seek="$4" oflag=seek_bytes conv=notrunc status=none ;;
flush) ;;
*) exit 2 ;;
esac
PLUGIN
    chmod +x liar
    noise a 1M
    export LIAR_DISK=$tmp/liar.disk LIAR_TIMES
    for LIAR_TIMES in 3 1000; do
        rm -f liar.disk
        truncate -s 1M liar.disk
        echo 0 >liar.disk.n
        by_nbdkit l sh liar
        if [ "$LIAR_TIMES" = 3 ]; then
            run 0 copy --json --verify -f raw a "$(uri l)"
            [ "$(jq -r 'select(.event == "result") | .repaired' out)" -gt 0 ] ||
                fail "nothing was repaired: $(cat out)"
            same a liar.disk
        else
            trouble 4 'proof.*failed' copy --verify -f raw a "$(uri l)"
            grep -q '^0 1048576$' out || fail "no ranges: $(cat out)"
            # what was not proven is not taken for done
            LIAR_TIMES=0
            run 4 -q copy --resume --verify -f raw a "$(uri l)"
        fi
        stop l
    done
    rm -f a liar*
    ok "a target that lies"
}

for part in ${PARTS:-files formats ragged digests resume dead_server faults full \
    refused devices bad_target attacks}; do
    $part
done
ok "$checks runs"
