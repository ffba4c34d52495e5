#!/bin/bash
# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# blockmig compare: its verdict is qemu-img compare's, its ranges are those of
# cmp, in any pair of formats and servers; whatever goes wrong is a 2. No
# hypervisor needed.
set -euo pipefail
# shellcheck source=tests/integration/bytes.bash
. "$(dirname "$0")/bytes.bash"

# run STATUS ARGUMENT...: the command ends so; what it prints is in out, err.
run() {
    local want=$1 is=0
    shift
    "$blockmig" compare "$@" >out 2>err </dev/null || is=$?
    [ "$is" = "$want" ] ||
        fail "compare $*: exit status $is, not $want: $(cat out err)"
    checks=$((checks + 1))
}

# trouble TEXT ARGUMENT...: status 2, and one line of error that says TEXT.
trouble() {
    local text=$1
    shift
    run 2 "$@"
    if [ "$(wc -l <err)" != 1 ] || ! grep -q -e "^blockmig: .*$text" err; then
        fail "compare $*: no '$text' in: $(cat err)"
    fi
}

# agree STATUS A FORMAT B FORMAT [OPTION]: qemu-img says the same. An NBD
# server's image is raw for both.
agree() {
    local want=$1 a=$2 af=$3 b=$4 bf=$5 is=0
    shift 5
    qemu-img compare -q -f "$af" -F "$bf" "$@" "$a" "$b" >out 2>err || is=$?
    [ "$is" = "$want" ] || fail "qemu-img compare $* $a $b: $is: $(cat out err)"
    run "$want" -f "$af" -F "$bf" "$@" "$a" "$b"
    [ ! -s err ] || fail "compare $a $b: writes to standard error: $(cat err)"
}

# The ranges that differ, by cmp, as blocks of 64 KiB.
cmp_ranges() {
    { cmp -l "$1" "$2" || true; } | awk -v size="$(stat -c %s "$1")" '
        function put(from, to, end) {
            end = to * 65536 < size ? to * 65536 : size
            print from * 65536, end - from * 65536
        }
        { block = int(($1 - 1) / 65536) }
        NR == 1 { from = block }
        NR > 1 && block > to { put(from, to); from = block }
        { to = block + 1 }
        END { if (NR) put(from, to) }'
}

# --- random differences, in sizes that are no multiple of anything ---
scatter() {
    local size=$1 count=$2 length i
    head -c "$size" /dev/urandom >a
    cp a b
    for ((i = 0; i < count; i++)); do
        length=$((RANDOM * (RANDOM % 8) + 1))
        head -c $length /dev/urandom |
            dd of=b bs=64K seek=$(((RANDOM * 32768 + RANDOM) % size)) \
                oflag=seek_bytes conv=notrunc status=none
    done
    truncate -s "$size" b
    cmp_ranges a b >want
    run "$([ -s want ] && echo 1 || echo 0)" -q -f raw -F raw a b
    cmp -s want out || fail "ranges, $size bytes: $(diff want out)"
    [ ! -s err ] || fail "standard error: $(cat err)"
}
for size in 1 511 65535 65537 1000001 $((3 << 20)) 20000777; do
    scatter "$size" 0
    scatter "$size" 1
    scatter "$size" 12
done

# --- the same by NBD and by formats: qemu-img agrees on each pair ---
head -c $((9 << 20)) /dev/urandom >a.raw
truncate -s 40M a.raw
head -c 1M /dev/urandom | dd of=a.raw bs=1M seek=30 conv=notrunc status=none
cp --sparse=always a.raw b.raw
printf '\001' | dd of=b.raw bs=1 seek=$((31 << 20)) conv=notrunc status=none
cmp_ranges a.raw b.raw >want
for name in a b; do
    qemu-img convert -O qcow2 $name.raw $name.qcow2
    by_nbdkit $name-kit file $name.raw
    by_qemu $name-qemu -r -e 8 -f qcow2 $name.qcow2
done
for a in a.raw:raw a.qcow2:qcow2 "$(uri a-kit):raw" "$(uri a-qemu):raw"; do
    for b in b.raw:raw b.qcow2:qcow2 "$(uri b-kit):raw" "$(uri b-qemu):raw"; do
        agree 1 "${a%:*}" "${a##*:}" "${b%:*}" "${b##*:}"
        run 1 -q -f "${a##*:}" -F "${b##*:}" "${a%:*}" "${b%:*}"
        cmp -s want out || fail "ranges of $a $b: $(diff want out)"
        c=${b/b.raw/a.raw}
        c=${c/b.qcow2/a.qcow2}
        c=${c/b-/a-}
        agree 0 "${a%:*}" "${a##*:}" "${c%:*}" "${c##*:}"
        grep -q '^Images are identical\.$' out || fail "$a $c: $(cat out)"
    done
done
run 0 a.raw a.qcow2 # probed
run 0 -s "$(uri a-kit)" "$(uri a-qemu)"
stop a-kit b-kit a-qemu b-qemu

# --- different sizes ---
cp --sparse=always a.raw longer.raw
truncate -s 300M longer.raw
cp --sparse=always longer.raw written.raw
head -c 1M /dev/zero | dd of=written.raw bs=1M seek=40 conv=notrunc status=none
cp --sparse=always longer.raw tail.raw
printf x | dd of=tail.raw bs=1 seek=$((299 << 20)) conv=notrunc status=none
qemu-img convert -O qcow2 longer.raw longer.qcow2
for longer in longer.raw:raw written.raw:raw longer.qcow2:qcow2; do
    agree 0 a.raw raw "${longer%:*}" "${longer##*:}"
    grep -q '^The sizes differ' out || fail "no word about sizes: $(cat out)"
    agree 0 "${longer%:*}" "${longer##*:}" a.raw raw
    agree 1 a.raw raw "${longer%:*}" "${longer##*:}" -s
    lengths=$(grep -c '^41943040 272629760$' out || true)
    [ "$lengths" = 1 ] || fail "the tail is not a range: $(cat out)"
done
agree 1 a.raw raw tail.raw raw
agree 1 tail.raw raw a.raw raw -s
: >empty
: >void
run 0 -f raw -F raw empty void
run 0 -f raw -F raw -s empty void
agree 1 empty raw a.raw raw
truncate -s 1M zeroes
agree 0 empty raw zeroes raw
run 1 -s -f raw -F raw empty zeroes

# --- JSON, digests ---
digest_of() {
    {
        split -b 65536 --filter='sha256sum | cut -c 1-64' "$1" | xxd -r -p
        printf '%016x' "$(stat -c %s "$1")" | fold -w 2 | tac | tr -d '\n' |
            xxd -r -p
    } | sha256sum | cut -c 1-64
}
run 1 -f raw -F raw --json --digests a.raw b.raw
jq -r '.ranges[] | "\(.offset) \(.length)"' out >list
cmp -s want list || fail "ranges in JSON: $(cat out)"
jq -e --arg a "$(digest_of a.raw)" --arg b "$(digest_of b.raw)" '
    .exit_status == 1 and .equal == false and .a.sha256 == $a and
    .b.sha256 == $b and .a.image == "a.raw" and .b.size == 41943040 and
    .compared == 41943040 and .different == 65536 and .medium == "cache" and
    (.read < 12 * 1048576) and .truncated == false' out >/dev/null ||
    fail "JSON: $(cat out)"
run 0 -f raw -F raw --json a.raw a.raw
jq -e '.exit_status == 0 and .equal and .ranges == [] and .a.sha256 == null' \
    out >/dev/null || fail "JSON: $(cat out)"
run 0 -f raw -F raw --digests a.raw a.raw
grep -q "^$(digest_of a.raw)  a.raw$" out || fail "no digest: $(cat out)"
run 0 -f raw -F raw -q a.raw a.raw
[ ! -s out ] || fail "-q prints: $(cat out)"

# --- a tebibyte of nothing, in less than 256 MiB ---
truncate -s 1T hole
qemu-img create -q -f qcow2 hole.qcow2 1T
limit=$([ "${SAN:-0}" = 1 ] && echo unlimited || echo 262144)
for options in "-s" "--digests"; do
    for b in hole:raw hole.qcow2:qcow2; do
        (
            ulimit -d "$limit"
            run 0 $options -f raw -F "${b##*:}" hole "${b%:*}"
        )
    done
done

# --- trouble is a 2, never a 1 ---
trouble "No such file" -f raw -F raw a.raw nowhere
trouble "No such file" -f raw -F raw nowhere a.raw
trouble "nowhere.sock" a.raw "$(uri nowhere)"
trouble "a.raw" -f qcow2 -F raw a.raw a.raw
trouble "nonsense" -f nonsense -F raw a.raw a.raw
qemu-img create -q -f qcow2 -b a.raw -F raw overlay.qcow2
trouble "overlay.qcow2" a.raw overlay.qcow2
run 2 a.raw
grep -q "^Try 'blockmig compare --help'" err || fail "no word about help"
run 2 a.raw b.raw a.raw
run 2 -f "" a.raw b.raw
run 2 --cache unsafe a.raw b.raw
run 2 --json -f raw -F raw a.raw nowhere
jq -e '.exit_status == 2 and (.error | contains("nowhere"))' out >/dev/null ||
    fail "JSON of an error: $(cat out)"
status=0
"$blockmig" compare -f raw -F raw a.raw a.raw >/dev/full 2>err || status=$?
[ $status = 2 ] || fail "/dev/full: exit status $status"
status=0
"$blockmig" compare -f raw -F raw a.raw b.raw >/dev/full 2>err || status=$?
[ $status = 2 ] || fail "/dev/full: exit status $status, different"

# a bad sector: not equal, not different, and its place is said
head -c 8M /dev/urandom >c
printf '0 + 1\n0 0x500000 +\n0x500000 0x1000 -\n0x501000 0x2ff000 +\n' >map
by_nbdkit bad --filter=ddrescue file c ddrescue-mapfile=map
trouble "at 5242880 of" -f raw c "$(uri bad)"
trouble "at 5242880 of" -F raw "$(uri bad)" c
stop bad

# a server that dies when it is asked for the second half
by_nbdkit dying eval get_size='echo 8388608' \
    pread='[ $4 -lt 4194304 ] || kill -KILL $PPID; head -c $3 /dev/zero'
head -c 8M /dev/zero >zeroes
trouble "dying.sock" -f raw zeroes "$(uri dying)"
rm -f dying.pid

# a file that is cut off while it is read
head -c 64M /dev/zero >cut
by_nbdkit cutting eval get_size='echo 67108864' \
    pread='[ $4 -lt 4194304 ] || truncate -s 1M '"$tmp"'/cut
        head -c $3 /dev/zero'
trouble "cut" -f raw cut "$(uri cutting)"
stop cutting

# a running guest's image, but for -U
qemu-img convert -O qcow2 a.raw guest.qcow2
cp --sparse=always a.raw guest.raw
for format in raw qcow2; do
    by_qemu guest -f $format guest.$format
    trouble "force-share" -f raw -F $format a.raw guest.$format
    trouble "force-share" -f $format -F raw guest.$format a.raw
    run 0 -U -f raw -F $format a.raw guest.$format
    stop guest
    run 0 -f raw -F $format a.raw guest.$format
done

echo "ok: $checks compares"
