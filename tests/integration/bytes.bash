# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# What the tests of the commands on bytes share: a folder of their own, real
# NBD servers in it, and runs that must end with one status and say one thing.
# No hypervisor is needed. Sourced; the test then stands in $tmp.

top=$(cd "$(dirname "$0")/../.." && pwd)
blockmig=${B:-$top/build}/blockmig
tmp=$(mktemp -d)
RANDOM=${BM_SEED:-1}
checks=0

tidy() {
    local file
    for file in "$tmp"/*.pid; do
        [ ! -s "$file" ] || kill -KILL "$(cat "$file")" 2>/dev/null || true
    done
    for file in "$tmp"/*.mount; do
        [ ! -d "$file" ] || umount -l "$file" 2>/dev/null ||
            fusermount3 -u -z "$file" 2>/dev/null || true
    done
    rm -rf "$tmp"
}
trap tidy EXIT
trap 'exit 1' INT TERM
cd "$tmp" || exit 1

fail() {
    echo "FAIL: $*" >&2
    exit 1
}

ok() { echo "ok: $*"; }

# run STATUS ARGUMENT...: the command ends so; what it prints is in out, err.
run() {
    local want=$1 is=0
    shift
    "$blockmig" --state "$tmp/state" "$@" >out 2>err </dev/null || is=$?
    [ "$is" = "$want" ] ||
        fail "$*: exit status $is, not $want: $(cat out err)"
    [ ! -s err ] || [ "$want" != 0 ] || fail "$*: says $(cat err)"
    checks=$((checks + 1))
}

# trouble STATUS TEXT ARGUMENT...: ends so, with one line of error that says
# TEXT (a usage error has a second one).
trouble() {
    local status=$1 text=$2 lines=1
    shift 2
    run "$status" "$@"
    [ "$status" != 2 ] || lines=2
    if [ "$(wc -l <err)" != $lines ] || ! grep -q -e "^blockmig: .*$text" err; then
        fail "$*: no '$text' in: $(cat err)"
    fi
}

uri() { echo "nbd+unix:///?socket=$tmp/$1.sock"; }

# by_nbdkit NAME ARGUMENT...
by_nbdkit() {
    local name=$1
    shift
    rm -f "$tmp/$name.sock"
    nbdkit -U "$tmp/$name.sock" -P "$tmp/$name.pid" "$@"
}

# by_qemu NAME ARGUMENT...
by_qemu() {
    local name=$1
    shift
    qemu-nbd -t --fork -k "$tmp/$name.sock" --pid-file="$tmp/$name.pid" "$@"
}

# stop NAME...: and it is gone
stop() {
    local name pid
    for name; do
        pid=$(cat "$tmp/$name.pid")
        kill -KILL "$pid" 2>/dev/null || true
        until_true 10 gone "$pid"
        rm -f "$tmp/$name.pid" "$tmp/$name.sock"
    done
}

gone() { [ ! -e "/proc/$1" ] || grep -q '^State:.Z' "/proc/$1/status"; }

# until_true SECONDS COMMAND...
until_true() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || fail "not in time: $*"
        sleep 0.05
    done
}

# noise FILE BYTES: random bytes
noise() { head -c "$2" /dev/urandom >"$1"; }

# sparse_noise FILE SIZE: data, holes and zeroes in turn
sparse_noise() {
    local i
    truncate -s "$2" "$1"
    for i in 0 3 4 9; do
        dd if=/dev/urandom of="$1" bs=64K count=2 seek=$((i * 5)) conv=notrunc \
            status=none
    done
    dd if=/dev/zero of="$1" bs=64K count=3 seek=31 conv=notrunc status=none
    printf x | dd of="$1" bs=1 seek=70000 conv=notrunc status=none
}

same() { cmp "$1" "$2" || fail "$1 and $2 differ"; }

# Nothing of ours beside the name that was asked for.
nothing_left() {
    [ ! -e "$1" ] || fail "$1 is there"
    [ -z "$(find . -maxdepth 1 -name ".$1.blockmig-*")" ] ||
        fail "left: $(find . -name ".$1.blockmig-*")"
}
