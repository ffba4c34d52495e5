#!/bin/bash
# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# blockmig copy --on-read-error rescue: the same bytes and the same bad areas
# as ddrescue finds on the same disk; each goes on by the other's map.
set -euo pipefail
# shellcheck source=tests/integration/bytes.bash
. "$(dirname "$0")/bytes.bash"

# bad_map SIZE: bad sectors here and there, of which some are long
bad_map() {
    awk -v size="$1" -v seed="$RANDOM" 'BEGIN {
        srand(seed)
        print "0x0 ? 1"
        for (at = 0; at < size;) {
            good = int(rand() * size / 10 / 512 + 1) * 512
            bad = int(rand() * rand() * 60 + 1) * 512
            if (at + good + bad > size) { good = size - at; bad = 0 }
            printf "0x%x 0x%x +\n", at, good
            if (bad) printf "0x%x 0x%x -\n", at + good, bad
            at += good + bad
        } }' >"$2"
}

# The bad areas of a map, as "offset length" in bytes.
bad_areas() {
    local offset length status
    while read -r offset length status; do
        [ "$status" != - ] || echo $((offset)) $((length))
    done <"$1"
}

serve_bad() {
    noise disk $((8 << 20))
    bad_map $((8 << 20)) truth
    by_nbdkit bad --filter=ddrescue file disk ddrescue-mapfile=truth
}

like_ddrescue() {
    serve_bad
    run 5 -q copy --on-read-error rescue --mapfile map "$(uri bad)" out.img
    bad_areas truth >want
    cmp out want || fail "listed: $(cat out); bad: $(cat want)"
    [ "$(wc -l <err)" = 1 ] || fail "$(cat err)"
    ddrescuelog -t map >/dev/null || fail "ddrescuelog does not read the map"
    bad_areas map >found
    cmp found want
    # what is good is there, what is bad is as it was made: zero
    cp disk expect
    while read -r offset length; do
        dd if=/dev/zero of=expect bs=512 seek=$((offset / 512)) \
            count=$((length / 512)) conv=notrunc status=none
    done <want
    same out.img expect
    ok "the same bytes and areas"
}

# From another copy: the map says which bytes are whose.
fill() {
    rm -f out.img map
    run 0 copy --on-read-error rescue --mapfile map --fill-from disk \
        --manifest m "$(uri bad)" out.img
    grep -q 'could not be read and come from disk; map says which' out ||
        fail "$(cat out)"
    same out.img disk
    grep -q '^# blockmig filled .*: disk' map || fail "the map does not say who filled"
    run 0 hash --check m -f raw out.img
    rm -f out.img map m
    run 5 copy --on-read-error rescue --mapfile map --manifest m \
        "$(uri bad)" out.img
    # unknown is never equal
    trouble 4 'differ or are unknown' hash --check m -f raw out.img
    trouble 3 'map map exists' copy --on-read-error rescue \
        --mapfile map --force "$(uri bad)" out.img
    rm -f out.img map m
    ok "filled, and unknown"
}

# ddrescue begins, by the file that nbdfuse makes of the same server, and we
# go on; and the other way round.
go_on() {
    mkdir -p fuse.mount
    : >disk.fuse
    nbdfuse fuse.mount/disk --unix "$tmp/bad.sock" 2>fuse.log &
    echo $! >fuse.pid
    until_true 10 test -s fuse.mount/disk
    ddrescue -q -d -n --size=4M fuse.mount/disk out.img map
    run 5 copy --resume --on-read-error rescue --mapfile map "$(uri bad)" out.img
    bad_areas map >found
    cmp found want
    same out.img expect
    ddrescue -q -d fuse.mount/disk theirs their.map
    bad_areas their.map >found
    cmp found want
    rm -f out.img map
    ok "by ddrescue's map"
    fusermount3 -u fuse.mount
}

# A lost connection is not a bad sector.
lost() {
    stop bad
    by_nbdkit bad --filter=rate file disk rate=20M
    "$blockmig" -q copy --on-read-error rescue --mapfile map "$(uri bad)" \
        out.img 2>err &
    local pid=$!
    sleep 1
    stop bad
    wait "$pid" && fail "it ended well" || true
    [ ! -e out.img ] || fail "a half copy bears its name"
    [ -z "$(bad_areas map)" ] || fail "bad sectors: $(bad_areas map)"
    by_nbdkit bad file disk
    run 0 copy --resume --on-read-error rescue --mapfile map "$(uri bad)" out.img
    same out.img disk
    stop bad
    # maps that are none
    cp disk before
    echo 'no map' >map
    trouble 1 'map' copy --resume --on-read-error rescue --mapfile map -f raw \
        disk out.img
    same out.img before
    ok "a lost server, a damaged map"
}

for part in ${PARTS:-like_ddrescue fill go_on lost}; do
    $part
done
ok "$checks runs"
