#!/bin/bash
# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A staged move from a failing source: --on-read-error stop and rescue. A raw
# image with bad sectors is a file that nbdfuse makes of nbdkit's ddrescue
# filter, with writes going elsewhere; a qcow2 image has a compressed cluster
# that cannot be unpacked. The guest, QEMU and blockmig all get EIO there.
set -euo pipefail
. "$(dirname "$0")/common.bash"
. "$(dirname "$0")/mover.bash"

M=$((1 << 20))
mapfile=''

# bad_file FILE SIZE OFFSET...: a file of SIZE bytes, random, with 4 KiB that
# cannot be read at each OFFSET (ascending). $FILE.truth is what it should hold.
# BM_FILTERS: more of nbdkit's filters, BM_PARAMETERS: their parameters.
bad_file() {
    local file=$1 size=$2 at=0 bad other=()
    truth=$LAB_DIR/home/$(basename "$file").truth
    shift 2
    lab run sh -ec 'head -c "$2" /dev/urandom >"$1"; : >"$3"' - "$truth" "$size" "$file"
    {
        echo '0 ? 1'
        for bad; do
            echo "$at $((bad - at)) +"
            echo "$bad 4096 -"
            at=$((bad + 4096))
        done
        echo "$at $((size - at)) +"
    } >"$LAB_DIR/bad.map"
    # the lab's user is another one than root
    [ "$(id -u)" != 0 ] || other=(-o allow_other)
    # shellcheck disable=SC2086
    nbdfuse "${other[@]}" "$file" [ nbdkit ${BM_FILTERS:-} --filter=cow \
        --filter=ddrescue file "$truth" ddrescue-mapfile="$LAB_DIR/bad.map" \
        cow-block-size=4096 ${BM_PARAMETERS:-} ] >"$LAB_DIR/fuse.log" 2>&1 &
    disown
    lab_at_exit unmount "$file"
    lab_wait 20 test -s "$file" || fail "no $file: $(cat "$LAB_DIR/fuse.log")"
}

unmount() { fusermount3 -u -z "$1"; }

# ranges FIELD: "offset length" of each, in the report of the newest job
ranges() { result "disks[0].$1 | map(\"\(.offset) \(.length)\") | join(\", \")"; }

# What must be on the new image: the truth, but zeroes at each offset.
expect_content() {
    local truth=$1 new=$2 at
    shift 2
    for at; do
        dd if=/dev/zero of="$truth" bs=4096 seek=$((at / 4096)) count=1 \
            conv=notrunc status=none
    done
    cmp "$truth" "$new" || fail "$new is not what could be read"
}

unreadable() {
    lab_equal "failed read" "$(lab_hmp_read "$1" vda 0 "$2" 4k 2>&1 |
        grep -c 'Input/output error')" 1
}

# A guest that checks its own data, and has bad sectors where it does not look.
test_guest() {
    local file=$LAB_DIR/ds1/g-vda.raw
    bad_file "$file" $((96 * M)) $((70 * M)) $((80 * M + 4096))
    lab_guest_os g --disk size=96M --args 'g.rate=100 g.span=64M'
    # stop: all is as it was
    expect 1 "disk vda at guest offset $((70 * M)): $file: .*--on-read-error rescue" \
        blockmig move g --to "$LAB_DIR/ds2"
    check_source g vda "$file"
    check_clean g
    gone "$LAB_DIR/ds2/g-vda.raw"
    # rescue: all that can be read
    mover_start copying.started move g --to "$LAB_DIR/ds2" --on-read-error rescue
    mover_stands
    unreadable g $((70 * M))
    lab_equal "state while it is read" "$(lab_virsh domstate g | head -n 1)" running
    mover_signal CONT
    mover_ends 60 5 "g was moved but for 8192 bytes"
    check_source g vda "$LAB_DIR/ds2/g-vda.raw"
    check_clean g
    lab_verify g
    lab_hmp_read g vda 0 $((70 * M)) 4k # zeroes now
    lab_equal unreadable "$(ranges unreadable)" \
        "$((70 * M)) 4096, $((80 * M + 4096)) 4096"
    lab_equal "not proven" "$(result 'disks[0].unproven_bytes')" 131072
    [[ "$(mover_said)" =~ "proven: all but 128 KiB" ]] || fail "$(mover_said)"
    [[ "$(mover_said)" =~ "$((70 * M)) 4096" ]] || fail "$(mover_said)"
    mapfile=$(result 'disks[0].map')
    [[ "$(ddrescuelog -t "$mapfile")" =~ bad-sector:\ +8192\ B ]] ||
        fail "ddrescuelog: $(ddrescuelog -t "$mapfile")"
    expect 3 'not all of it could be read' blockmig job release "$(newest_job)"
    off g
    cmp -i $((64 * M)) -n $((6 * M)) "$truth" "$LAB_DIR/ds2/g-vda.raw"
    cmp -i $((81 * M)) "$truth" "$LAB_DIR/ds2/g-vda.raw"
    ok "a guest whose disk has bad sectors: stop, rescue, 0 wrong"
}

# What the guest writes anew meanwhile is not bad any more; its digest is that
# of the new image.
test_heal() {
    local file=$LAB_DIR/ds1/h-vda.raw new=$LAB_DIR/ds2/h-vda.raw
    bad_file "$file" $((32 * M)) $((4 * M)) $((8 * M)) $((16 * M))
    lab_guest_bare h --disk size=32M
    mover_start iterating move h --to "$LAB_DIR/ds2" --on-read-error rescue \
        --source delete
    mover_stands
    lab_hmp_write h vda 0x61 8M 64k
    mover_signal CONT
    mover_ends 60 5 "source of disk vda is kept"
    lab_equal unreadable "$(ranges unreadable)" "$((4 * M)) 4096, $((16 * M)) 4096"
    check_clean h
    there "$file"
    off h
    head -c 65536 /dev/zero | tr '\0' a | dd of="$truth" bs=64K seek=128 \
        conv=notrunc status=none
    expect_content "$truth" "$new" $((4 * M)) $((16 * M))
    lab_equal "digest of the new image" "$(result 'disks[0].digest_dest')" \
        "$(blockmig hash -f raw "$new" | cut -d ' ' -f 1)"
    lab_equal "digest of the old one" "$(result 'disks[0].digest_source')" ''
    ok "what the guest writes is healed"
}

# touched STATUS NAME CHANGE...: somebody changes the new image after the switch,
# so all of it is compared, but for what nobody could read.
touched() {
    local status=$1 file=$LAB_DIR/ds1/$2-vda.raw name=$2
    shift 2
    bad_file "$file" $((16 * M)) $((4 * M))
    lab_guest_bare "$name" --disk size=16M
    mover_start proving-rest move "$name" --to "$LAB_DIR/ds2" \
        --on-read-error rescue
    mover_stands
    "$@"
    mover_signal CONT
    mover_ends 60 "$status" 'all of it is compared'
    check_clean "$name"
}

flip() { printf 'bad!' | dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }

test_touched() {
    touched 5 u touch "$LAB_DIR/ds2/u-vda.raw"
    check_source u vda "$LAB_DIR/ds2/u-vda.raw"
    touched 4 w flip "$LAB_DIR/ds2/w-vda.raw" $((8 * M))
    check_source w vda "$LAB_DIR/ds1/w-vda.raw"
    gone "$LAB_DIR/ds2/w-vda.raw"
    ok "touched after the switch: compared but for what is unreadable"
}

# The guest goes off on the way, and whoever held its images is killed: they are
# compared again, but for what is unreadable.
test_off() {
    local file=$LAB_DIR/ds1/o-vda.raw id
    bad_file "$file" $((16 * M)) $((4 * M))
    lab_guest_bare o --disk size=16M
    mover_start iterating move o --to "$LAB_DIR/ds2" --on-read-error rescue
    mover_stands
    lab_hmp_write o vda 0x61 8M 64k
    off o
    mover_signal KILL
    id=$(newest_job)
    mover_start switching job resume "$id"
    mover_stands
    mover_signal KILL
    expect 5 'o was moved but for 4096 bytes' blockmig job resume "$id"
    lab_equal "saved XML" "$(disk_source o vda --inactive)" "$LAB_DIR/ds2/o-vda.raw"
    check_clean o
    lab_virsh -q start o >/dev/null
    lab_hmp_read o vda 0x61 8M 64k
    ok "a guest that goes off"
}

# An older copy has what cannot be read; of two, only what it can read itself.
test_fill() {
    local file=$LAB_DIR/ds1/f-vda.raw new=$LAB_DIR/ds2/f-vda.raw
    local map=$LAB_DIR/home/map
    bad_file "$file" $((32 * M)) $((4 * M)) $((16 * M))
    lab_guest_bare f --disk size=32M
    expect 0 '' blockmig move f --to "$LAB_DIR/ds2" --on-read-error rescue \
        --fill-from "$truth" --mapfile "$map"
    lab_equal filled "$(ranges filled)" "$((4 * M)) 4096, $((16 * M)) 4096"
    lab_equal unreadable "$(ranges unreadable)" ''
    lab_equal "not proven" "$(result 'disks[0].unproven_bytes')" 131072
    grep -q "^# blockmig filled .*: $truth" "$map" || fail "$(cat "$map")"
    check_clean f
    off f
    cmp "$truth" "$new"
    ok "filled from an older copy"
}

# A map that was made after the disk.
has_map() {
    [ -n "$(find "$(state_dir)" -name '*-vda.map' -newer "$LAB_DIR/bad.map")" ]
}

# kill -9 while it rescues: `job resume` reads on by the map.
test_resume() {
    local file=$LAB_DIR/ds1/k-vda.raw id log=$LAB_DIR/home/log reads
    BM_FILTERS='--filter=log --filter=rate' \
        BM_PARAMETERS="logfile=$log rate=160M" \
        bad_file "$file" $((48 * M)) $((24 * M)) $((40 * M))
    lab_guest_bare k --disk size=48M
    mover_start none move k --to "$LAB_DIR/ds2" --on-read-error rescue
    lab_wait 60 has_map || fail "no map: $(mover_said)"
    mover_signal KILL
    lab_wait 20 test -s "$LAB_DIR/mover.status" || fail "it is not dead"
    # 6 hex digits: 1 to 16 MiB
    reads=' Read .*offset=0x[0-9a-f]{6} '
    grep -qaE "$reads" "$log" || fail "the log tells no reads"
    : >"$log"
    id=$(newest_job)
    expect 5 '' blockmig job resume "$id"
    lab_equal unreadable "$(ranges unreadable)" "$((24 * M)) 4096, $((40 * M)) 4096"
    check_clean k
    # what was copied before is not read again
    ! grep -aE "$reads" "$log" || fail "read again"
    off k
    expect_content "$truth" "$LAB_DIR/ds2/k-vda.raw" $((24 * M)) $((40 * M))
    ok "goes on after a kill -9"
}

# bad_qcow2 FILE: 8 MiB in compressed clusters, of which some cannot be unpacked;
# "offset length" of each of them, as qemu-io finds, in $bad.
bad=''
bad_qcow2() {
    local file=$1 at reads=()
    lab run sh -ec 'yes "$(seq 1000)" | head -c 8M >"$1.raw"
        qemu-img convert -q -c -f raw -O qcow2 "$1.raw" "$1"; rm "$1.raw"
        head -c 512 /dev/zero | tr "\\0" "\\377" |
            dd of="$1" bs=1 conv=notrunc status=none \
            seek=$(($(stat -c %s "$1") / 2))' - "$file"
    for ((at = 0; at < 8 * M; at += 65536)); do
        reads+=(-c "read $at 65536")
    done
    bad=$(qemu-io -r -f qcow2 "${reads[@]}" "$file" 2>&1 |
        awk '/^read failed/ { print n * 65536, 65536 } /^read/ { n++ }') || true
    [ -n "$bad" ] || fail "all of $file can be read"
}

# A chain: the error names the layer that failed.
test_chain() {
    local base=$LAB_DIR/ds1/c-base.qcow2 top=$LAB_DIR/ds1/c-vda.qcow2
    bad_qcow2 "$base"
    image -f qcow2 -b "$base" -F qcow2 "$top"
    lab_guest_bare c --disk format=qcow2
    lab_hmp_write c vda 0x61 1M 64k
    expect 1 "disk vda at guest offset ${bad%% *}: $base: Input/output error" \
        blockmig move c --to "$LAB_DIR/ds2"
    check_source c vda "$top"
    expect 3 'give --chain flatten' blockmig move c --to "$LAB_DIR/ds2" \
        --on-read-error rescue
    expect 5 '' blockmig move c --to "$LAB_DIR/ds2" --on-read-error rescue \
        --chain flatten
    lab_equal unreadable "$(ranges unreadable)" "${bad//$'\n'/, }"
    lab_hmp_read c vda 0x61 1M 64k
    lab_hmp_read c vda 0 "${bad%% *}" 64k
    check_clean c
    lab run qemu-img check -U -q -f qcow2 "$LAB_DIR/ds2/c-vda.qcow2"
    ok "a chain with a damaged layer"
}

refused() {
    local text=$1
    shift
    expect 3 "$text" blockmig move r --to "$LAB_DIR/ds2" --on-read-error rescue "$@"
}

test_refused() {
    local store=$LAB_DIR/ds1
    lab_guest_bare r --disk size=8M --disk size=8M
    image -f raw "$store/short" 4M
    image -f qcow2 -b "$store/short" -F raw "$store/overlay" 8M
    : >"$LAB_DIR/home/there"
    refused 'cannot give --mapfile to 2 disks' --mapfile "$LAB_DIR/home/new"
    refused 'cannot give --fill-from to 2 disks' --fill-from "$store/short"
    refused 'there exists' vda --mapfile "$LAB_DIR/home/there"
    refused 'has 4194304 bytes, the disk 8388608' vda --fill-from "$store/short"
    refused 'backing' vda --fill-from "$store/overlay"
    refused 'only --strategy staged' --strategy blockcopy
    refused 'leave --proof none out' --proof none
    expect 2 'are of use with' blockmig move r vda --to "$LAB_DIR/ds2" \
        --mapfile "$LAB_DIR/home/new"
    off r
    refused 'it is shut off'
    rm "$store/short" "$store/overlay"
    check_clean r
    ok "what is refused"
}

tests='guest heal fill refused'
[ "${BM_LONG:-0}" = 0 ] || tests+=' resume chain touched off'
tests=${PARTS:-$tests}
lab_begin
for one in $tests; do
    "test_$one"
done
