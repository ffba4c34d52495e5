#!/bin/bash
# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# libvirt's checkpoints: a full backup before a move and an incremental one
# after it are together the guest's disk, and the incremental one holds what
# was written since and nothing else. PARTS="rows ..." runs just those.
set -euo pipefail
BM_LONG=${BM_LONG:-0}
. "$(dirname "$0")/common.bash"
. "$(dirname "$0")/mover.bash"

size=64M
backups=''

# --- backups, by virsh ---

no_job() { lab_virsh domjobinfo "$1" | grep 'Job type: *None' >/dev/null; }

# backup NAME FROM FORMAT FILE [CHECKPOINT]: FROM '' is a full one
backup() {
    local name=$1 from=$2 format=$3 file=$4 new=()
    {
        echo "<domainbackup mode='push'>"
        [ -z "$from" ] || echo "<incremental>$from</incremental>"
        echo "<disks><disk name='vda' backup='yes' type='file'>"
        echo "<driver type='$format'/><target file='$file'/></disk></disks>"
        echo "</domainbackup>"
    } >"$LAB_DIR/backup.xml"
    [ -z "${5:-}" ] || {
        echo "<domaincheckpoint><name>$5</name><disks><disk name='vda'
            checkpoint='bitmap'/></disks></domaincheckpoint>" >"$LAB_DIR/cp.xml"
        new=("$LAB_DIR/cp.xml")
    }
    lab_virsh -q backup-begin "$name" --reuse-external "$LAB_DIR/backup.xml" \
        ${new:+--checkpointxml "${new[@]}"} >/dev/null
    lab_wait 30 no_job "$name" || fail "the backup of $name does not end"
}

# full NAME: all of the disk, and checkpoint c1 at that instant
full() {
    backups=$LAB_DIR/home/backup
    lab run mkdir -p "$backups"
    image -f raw "$backups/$1.raw" $size
    backup "$1" '' raw "$backups/$1.raw" c1
}

# holds NAME CHECKPOINT BLOCKS: the incremental backup since CHECKPOINT has so
# many blocks of 64 KiB, and on the full one of c1 it is the guest's disk.
holds() {
    local name=$1 from=$2 blocks=$3 file=$backups/$1.$2 got
    rm -f "$file"
    image -f qcow2 -b "$backups/$name.raw" -F raw "$file"
    backup "$name" "$from" qcow2 "$file"
    got=$(lab run qemu-img map --output=json "$file" |
        jq '[.[] | select(.depth == 0) | .length] | add // 0')
    lab_equal "blocks of $name since $from" $((got / 65536)) "$blocks"
    [ "$from" = c1 ] || return 0
    lab_virsh -q suspend "$name" >/dev/null # QEMU flushes what it has
    lab run qemu-img compare -q -U -f qcow2 "$file" \
        -F "$(disk_xpath "$name" vda driver/@type)" \
        "$(disk_source "$name" vda)" ||
        fail "$name: full and incremental backup are not the disk"
    lab_virsh -q resume "$name" >/dev/null
}

checkpoint() { lab_virsh -q checkpoint-create-as "$1" "$2" >/dev/null; }

# Their names in one line.
checkpoints() { lab_virsh checkpoint-list "$1" --name | xargs; }

# guest NAME: with 1 block written since c1, and c2 after that
guest() {
    lab_guest_bare "$1" --disk format=qcow2,size=$size,fill=8M
    full "$1"
    lab_hmp_write "$1" vda 0x11 1M 64k
    checkpoint "$1" c2
}

said() {
    expect 0 "$2" blockmig job events "$(newest_job)"
}

# --- the rows ---

# Killed when the bitmaps are merged and nobody has noted that; a guest that
# writes, and a checkpoint that is made, meanwhile.
test_staged() {
    guest s1
    mover_start converging.carried move s1 --to "$LAB_DIR/ds2" --strategy staged
    mover_stands
    lab_hmp_write s1 vda 0x12 10M 64k
    checkpoint s1 c3
    lab_hmp_write s1 vda 0x13 20M 64k
    mover_signal KILL
    move_on s1 s1-vda.qcow2
    lab_hmp_write s1 vda 0x14 30M 64k
    holds s1 c1 4
    holds s1 c2 3
    holds s1 c3 2
    lab_equal checkpoints "$(checkpoints s1)" "c1 c2 c3"
    said s1 'bitmaps carried over to .*: .*c1'
    ok "staged, killed after the merge of the bitmaps"
}

# move_on NAME IMAGE: the newest job is resumed, and ends on that image
move_on() {
    expect 0 '' blockmig job resume "$(newest_job)"
    check_source "$1" vda "$LAB_DIR/ds2/$2"
    check_clean "$1"
}

# Back before the switch, and after it; and killed before the bitmaps, cold.
test_back() {
    guest b1
    mover_start converging.carried move b1 --to "$LAB_DIR/ds2" --strategy staged
    mover_stands
    lab_hmp_write b1 vda 0x12 10M 64k
    mover_signal INT
    mover_signal CONT
    mover_ends 40 1
    check_source b1 vda "$LAB_DIR/ds1/b1-vda.qcow2"
    check_clean b1
    holds b1 c1 2
    mover_start settled move b1 --to "$LAB_DIR/ds2" --strategy staged --settle 1h
    mover_stands
    lab_hmp_write b1 vda 0x13 20M 64k
    mover_signal CONT
    expect 0 '' blockmig job undo "$(newest_job)"
    mover_ends 40 1 'undone'
    check_source b1 vda "$LAB_DIR/ds1/b1-vda.qcow2"
    check_clean b1
    holds b1 c1 3
    holds b1 c2 2
    ok "rolled back, undone"
}

# A raw image has no bitmaps: refused, or forgotten when all is done.
test_drop() {
    guest d1
    expect 3 'checkpoint c1 needs a bitmap' blockmig move d1 \
        --to "$LAB_DIR/ds2" --format raw
    expect 0 'checkpoint c2 is forgotten when' blockmig move d1 \
        --to "$LAB_DIR/ds2" --format raw --drop-checkpoints --dry-run
    lab_equal "after a dry run" "$(checkpoints d1)" "c1 c2"
    mover_start settled move d1 --to "$LAB_DIR/ds2" --format raw --settle 1h \
        --drop-checkpoints
    mover_stands
    lab_equal "while settled" "$(checkpoints d1)" "c1 c2"
    mover_signal CONT
    expect 0 '' blockmig job undo "$(newest_job)"
    mover_ends 40 1 'undone'
    lab_equal "after an undo" "$(checkpoints d1)" "c1 c2"
    holds d1 c1 1
    mover_start releasing.forgotten move d1 --to "$LAB_DIR/ds2" --format raw \
        --drop-checkpoints
    mover_stands
    mover_signal KILL
    move_on d1 d1-vda.raw
    lab_equal "after the move" "$(checkpoints d1)" ""
    said d1 'checkpoint c1 is forgotten'
    ok "raw: refused, or the checkpoints are forgotten at the end"
}

# QEMU was killed: its bitmaps were never written down.
test_broken() {
    lab_guest_bare k1 --disk format=qcow2,size=$size,fill=8M
    checkpoint k1 c1
    kill -9 "$(lab qemu-pid k1)"
    lab_wait_state k1 'shut off' 10
    expect 3 'checkpoint c1 is missing or broken' blockmig move k1 \
        --to "$LAB_DIR/ds2"
    lab_virsh -q start k1 >/dev/null
    expect 3 'checkpoint c1 is missing or broken.*checkpoint-delete' \
        blockmig move k1 --to "$LAB_DIR/ds2"
    lab_virsh -q checkpoint-delete --metadata k1 c1 >/dev/null
    move k1 --to "$LAB_DIR/ds2"
    ok "a bitmap that was not closed"
}

# Shut off from the start.
test_cold() {
    guest o1
    lab_hmp_write o1 vda 0x12 10M 64k
    off o1
    lab restart-daemon >/dev/null
    move o1 --to "$LAB_DIR/ds2"
    lab_virsh -q start o1 >/dev/null
    lab_hmp_write o1 vda 0x13 20M 64k
    holds o1 c1 3
    holds o1 c2 2
    ok "cold"
}

# Off on the way, before the switch and after it: what qemu-img merges.
test_off() {
    local point
    guest f1
    for point in ready settled; do
        mover_start $point move f1 --to "$LAB_DIR/ds2" --strategy staged
        mover_stands
        lab_hmp_write f1 vda 0x12 10M 64k
        checkpoint f1 c3
        lab_hmp_write f1 vda 0x13 20M 64k
        off f1
        mover_signal CONT
        mover_ends 60 0
        lab_virsh -q start f1 >/dev/null
        lab_hmp_write f1 vda 0x14 30M 64k
        holds f1 c1 4
        holds f1 c3 2
        lab_virsh -q checkpoint-delete f1 c3 >/dev/null
        ds_back f1
    done
    mover_start ready move f1 --to "$LAB_DIR/ds2" --strategy staged
    mover_stands
    checkpoint f1 c3
    lab_hmp_write f1 vda 0x15 40M 64k
    mover_signal KILL
    off f1
    expect 1 '' blockmig job resume --back "$(newest_job)"
    lab_virsh -q start f1 >/dev/null
    holds f1 c1 5
    holds f1 c3 1
    ok "off on the way, forth and back"
}

# To where it came from, by blockcopy.
ds_back() {
    rm -f "$LAB_DIR/ds1/$1"-vda.*
    move "$1" --to "$LAB_DIR/ds1" --strategy blockcopy
    rm -f "$LAB_DIR/ds2/$1"-vda.*
}

# By blockcopy libvirt carries them.
test_blockcopy() {
    guest c1
    mover_start ready move c1 --to "$LAB_DIR/ds2" --strategy blockcopy
    mover_stands
    lab_hmp_write c1 vda 0x12 10M 64k
    mover_signal CONT
    mover_ends 40 0
    lab_hmp_write c1 vda 0x13 20M 64k
    holds c1 c1 3
    holds c1 c2 2
    ok "blockcopy"
}

# Layers that have other checkpoints: what is above has more of them. A chain
# that is kept has a bitmap in each image, one that becomes one image has all.
test_chain() {
    local how layers name
    for how in keep:2 flatten:1; do
        layers=${how#*:} how=${how%:*} name=h-${how%:*}
        guest "$name"
        lab_virsh -q snapshot-create-as "$name" up --disk-only --no-metadata \
            --diskspec "vda,file=$LAB_DIR/ds1/$name-up.qcow2" >/dev/null
        checkpoint "$name" c3
        lab_hmp_write "$name" vda 0x12 10M 64k
        move "$name" --to "$LAB_DIR/ds2" --strategy staged --chain "$how"
        lab_equal "layers of $name" "$(lab_virsh dumpxml "$name" |
            grep -c "<source file='$LAB_DIR/ds2/")" \
            "$layers"
        lab_hmp_write "$name" vda 0x13 20M 64k
        holds "$name" c1 3
        holds "$name" c2 2
        holds "$name" c3 2
    done
    ok "a chain, kept and as one image"
}

# A backup that is begun while the move runs: it is not waited for, and the
# move goes back when it has ended.
test_backup() {
    lab_guest_bare p1 --disk format=qcow2,size=$size,fill=8M
    mover_start iterating move p1 --to "$LAB_DIR/ds2" --strategy staged \
        --switch-max 64K
    mover_stands
    lab_hmp_write p1 vda 0x12 10M 1M
    pull_backup p1
    mover_signal CONT
    mover_ends 10 6 'a backup, .* is under way; wait for its end'
    lab_virsh domjobabort p1
    lab_wait 10 no_job p1 || fail "the backup does not end"
    expect 1 'rolled back' blockmig job resume "$(newest_job)"
    check_source p1 vda "$LAB_DIR/ds1/p1-vda.qcow2"
    check_clean p1
    lab_hmp_read p1 vda 0x12 10M 1M
    ok "a backup that begins meanwhile"
}

# A guest that writes all the time, and knows what is right.
test_writing() {
    lab_guest_os w1 --args 'g.rate=200 g.mode=mixed' \
        --disk format=qcow2,size=$size
    full w1
    move w1 --to "$LAB_DIR/ds2" --strategy staged --switch-max 256K
    lab_verify w1
    lab_virsh -q suspend w1 >/dev/null
    rm -f "$backups/w1.c1"
    image -f qcow2 -b "$backups/w1.raw" -F raw "$backups/w1.c1"
    backup w1 c1 qcow2 "$backups/w1.c1"
    off w1
    same_content qcow2 "$backups/w1.c1" qcow2 "$LAB_DIR/ds2/w1-vda.qcow2"
    ok "a guest that writes"
}

tests='staged back drop'
[ "$BM_LONG" = 0 ] || tests+=' broken cold off blockcopy chain backup writing'
lab_begin
for one in ${PARTS:-$tests}; do
    "test_$one"
done
