#!/bin/bash
# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# blockmig hash: known digests, whatever the format and the holes; manifests
# that find what differs, that are brought up to date, and that are refused
# when they are damaged.
set -euo pipefail
# shellcheck source=tests/integration/bytes.bash
. "$(dirname "$0")/bytes.bash"

# is DIGEST ARGUMENT...: hash says so
is() {
    local want=$1
    shift
    run 0 hash "$@"
    [ "$(cut -d ' ' -f 1 out)" = "$want" ] || fail "hash $*: $(cat out), not $want"
}

# By the construction itself, with openssl: blocks of 64 KiB, then the root.
root_of() {
    local size i algorithm=${2:-sha256}
    size=$(stat -c %s "$1")
    {
        for ((i = 0; i * 65536 < size; i++)); do
            dd if="$1" bs=64K skip=$i count=1 status=none |
                openssl dgst -binary "-$algorithm"
        done
        printf '%016x' "$size" | fold -w 2 | tac | tr -d '\n' | xxd -r -p
    } | openssl dgst -r "-$algorithm" | cut -d ' ' -f 1
}

known() {
    : >a
    is af5570f5a1810b7af78caf4bc70a660f0df51e42baf91d4de5b2328de0e83dfc -f raw a
    printf hello >a
    is 337355feb53a5309d5aba92796223c2c84ffab930e706c01fef573a2722545e6 -f raw a
    printf goodbye | dd of=a bs=1 seek=1048576 conv=notrunc status=none
    is 61b8f3a8cea76e16eeff7ce27f1b7711c1f1e437f5038cec17773772a4bded28 -f raw a
    run 0 hash --json -f raw a
    [ "$(jq -r .size out)" = 1048583 ] || fail "$(cat out)"
    sparse_noise a 5000001
    is "$(root_of a)" -f raw a
    is "$(root_of a)" --cache none -f raw a
    is "$(root_of a sha512)" --digest sha512 -f raw a
    is "$(root_of a md5)" --digest MD5 -f raw a
    sparse_noise b 5M
    qemu-img convert -f raw -O qcow2 b b.qcow2
    is "$(root_of b)" b.qcow2
    by_nbdkit n --filter=noextents file b
    is "$(root_of b)" "$(uri n)"
    stop n
    run 0 hash -f raw a b
    [ "$(cut -d ' ' -f 3 out | tr '\n' ' ')" = 'a b ' ] || fail "$(cat out)"
    rm -f a b b.qcow2
    ok "known digests"
}

# The hole of 1 TiB is arithmetic.
holes() {
    truncate -s 1T a
    is e3918f867fb182a40237a7b7e30ba90dbd78defcf6ac1c502bff489670e79f85 -f raw a
    run 0 hash --manifest m -f raw a
    [ "$(stat -c %b m)" -lt 100 ] || fail "the manifest of a hole is not a hole"
    rm a m
    ok "holes"
}

check() {
    sparse_noise a 5000001
    run 0 hash --manifest m -f raw a
    run 0 hash --check m -f raw a
    cp a b
    printf xyz | dd of=b bs=1 seek=200000 conv=notrunc status=none
    printf xyz | dd of=b bs=1 seek=4999990 conv=notrunc status=none
    trouble 4 'is not as m says' hash --check m -f raw b
    [ "$(tr '\n' ' ' <out)" = '196608 65536 4980736 19265 ' ] || fail "$(cat out)"
    truncate -s 5000000 b
    trouble 4 'has 5000000 bytes' hash --check m -f raw b
    run 4 --json hash --check m -f raw b
    # damaged, cut off, none at all
    cp m n
    printf x | dd of=n bs=1 seek=5000 conv=notrunc status=none
    trouble 1 'damaged' hash --check n -f raw a
    cp m n
    truncate -s -1 n
    trouble 1 '' hash --check n -f raw a
    trouble 1 'no manifest' hash --check a -f raw a
    trouble 1 'No such file' hash --check none -f raw a
    rm -f a b m n
    ok "check"
}

update() {
    qemu-img create -q -f qcow2 base 16M
    qemu-io -c 'write -P 1 1M 8M' base >/dev/null
    run 0 hash --manifest m base
    cp m n
    # an overlay, and one more on it
    qemu-img create -q -f qcow2 -b base -F qcow2 mid
    qemu-io -c 'write -P 2 3M 1M' -c 'write -z 5M 64k' mid >/dev/null
    qemu-img create -q -f qcow2 -b mid -F qcow2 top
    qemu-io -c 'write -P 3 12M 100k' top >/dev/null
    qemu-img convert -O raw top flat
    run 0 hash -f qcow2 --update m --changed-since base top
    [ "$(cut -d ' ' -f 1 out)" = "$(root_of flat)" ] || fail "since base: $(cat out)"
    run 0 hash --check m -f raw flat
    trouble 2 'does not stand on it' hash -f qcow2 --update m --changed-since flat top
    # a header may say it in another way
    qemu-img rebase -q -u -f qcow2 -F qcow2 top -b \
        "json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\",\"filename\":\"$PWD/mid\"}}"
    run 0 hash --manifest o base
    run 0 hash -f qcow2 --update o --changed-since base top
    run 0 hash --check o -f raw flat
    # a dirty bitmap
    qemu-img bitmap --add --enable base dirty
    qemu-io -c 'write -P 9 2M 300k' -c 'write -P 9 16000k 4k' base >/dev/null
    qemu-img convert -O raw base flat
    run 0 hash --update n --dirty dirty base
    [ "$(cut -d ' ' -f 1 out)" = "$(root_of flat)" ] || fail "dirty: $(cat out)"
    trouble 1 "Bitmap 'none' is not found" hash --update n --dirty none base
    trouble 1 'raw file has no bitmaps' hash -f raw --update n --dirty d flat
    trouble 2 'goes with one of' hash --update n base
    trouble 2 'goes with one of' hash --dirty d base
    rm -f base mid top flat m n o
    ok "update"
}

faults() {
    noise a 1M
    trouble 1 'No such file' hash none
    trouble 2 'take one image only' hash --manifest m a a
    by_nbdkit e --filter=error pattern 64M error-pread-rate=0.3
    trouble 1 'Input/output error' hash --manifest m "$(uri e)"
    [ ! -e m ] || fail "a manifest of what could not be read"
    stop e
    by_nbdkit e --filter=rate pattern 64M rate=80M
    "$blockmig" hash "$(uri e)" >out 2>err &
    local pid=$!
    sleep 0.5
    stop e
    wait "$pid" && fail "a server that died" || true
    [ ! -s out ] && [ "$(wc -l <err)" = 1 ] || fail "$(cat out err)"
    qemu-nbd -t --fork -k "$tmp/u.sock" --pid-file="$tmp/u.pid" -f raw a
    trouble 1 'open' hash -f raw a
    run 0 hash -U -f raw a
    stop u
    rm a
    ok "faults"
}

for part in ${PARTS:-known holes check update faults}; do
    $part
done
ok "$checks runs"
