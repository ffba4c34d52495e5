#!/bin/bash
# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Snapshot jobs that stood still, or were dead, while somebody changed the world
# under them: nothing of what they find then is written or deleted.
set -euo pipefail
BM_LONG=${BM_LONG:-0}
. "$(dirname "$0")/common.bash"
. "$(dirname "$0")/mover.bash"
. "$(dirname "$0")/snapshot.bash"

# killed_at POINT COMMAND...: and its job's ID is $job
killed_at() {
    mover_start "$1" snapshot "${@:2}"
    mover_stands
    job=$(newest_job)
    mover_signal KILL
    mover_ends 10 137
}

sum() { sha256sum <"$1"; }

# The layer was put on another image, when the job was dead already.
test_header() {
    local before
    layers h1 2
    off h1
    image -f qcow2 "$(ds1 foreign.qcow2)" $size
    before=$(sum "$(ds1 foreign.qcow2)")
    killed_at copying.begun delete h1 s2
    lab run qemu-img rebase -u -F qcow2 -b "$(ds1 foreign.qcow2)" \
        "$(ds1 h1-vda.s2.qcow2)"
    expect 6 'does not stand on it' blockmig job resume "$job"
    lab_equal "the foreign image" "$(sum "$(ds1 foreign.qcow2)")" "$before"
    lab run qemu-img rebase -u -F qcow2 -b "$(ds1 h1-vda.s1.qcow2)" \
        "$(ds1 h1-vda.s2.qcow2)"
    expect 0 '' blockmig job resume "$job"
    check_model
    rm "$(ds1 foreign.qcow2)"
    end_guest
    ok "a layer that stands on another image now"
}

# Somebody stands on the base, when the job was dead already.
test_clone() {
    local state
    for state in running off; do
        layers c1 2
        [ $state = running ] || off c1
        killed_at copying.begun delete c1 s2
        image -f qcow2 -F qcow2 -b "$(ds1 c1-vda.s1.qcow2)" "$(ds1 clone.qcow2)"
        expect 6 "clone.qcow2 stands on" blockmig job resume "$job"
        same "$(ds1 clone.qcow2)" "$(model p.s2)"
        rm "$(ds1 clone.qcow2)"
        expect 0 '' blockmig job resume "$job"
        check_model
        end_guest
    done
    ok "a base that somebody stands on now"
}

# away POINT STATUS COMMAND...: the guest gets a managed save image there
away() {
    mover_start "$1" snapshot "${@:3}"
    mover_stands
    running || lab_virsh -q start "$name" >/dev/null
    lab_virsh -q managedsave "$name" >/dev/null
    mover_signal CONT
    mover_ends 60 "$2" 'managed save image'
    # one whose revert goes back is started by that
    running || lab_virsh -q start "$name" >/dev/null
}

# A guest that will go on with the images as they are.
test_away() {
    layers a1 3
    away allocating 1 create a1 new
    away freezing.sent 1 create a1 new
    # it was saved with the stamp of that job
    expect 0 'taken off' blockmig snapshot doctor a1 --fix
    away allocating 1 delete a1 s3
    away allocating 1 revert a1 s1 --force
    off a1
    away allocating 1 delete a1 s1
    off a1
    away copying.merged 6 delete a1 s2
    lab_hmp_read a1 vda 0x77 3M 64k
    put 0x51 700k 64k
    off a1
    expect 0 '' blockmig job resume "$(newest_job)"
    check_model
    end_guest
    ok "a guest that is off, and will go on where it was"
}

# A disk is taken away before libvirt is asked.
test_detached() {
    new_guest d1
    image -f qcow2 "$(ds1 d1-vdb.qcow2)" $size
    lab_virsh -q attach-disk d1 "$(ds1 d1-vdb.qcow2)" vdb --config \
        --subdriver qcow2
    mover_start freezing.sent snapshot create d1 new
    mover_stands
    lab_virsh -q detach-disk d1 vdb --config
    mover_signal CONT
    mover_ends 60 1 'disk vdb is gone'
    check_model
    end_guest
    ok "a disk that is gone"
}

# A transient guest has ended during a merge, and with it the domain.
test_gone() {
    local point front
    layers g1 2
    for point in s1 s2; do
        lab_virsh snapshot-dumpxml g1 $point >"$LAB_DIR/$point.xml"
    done
    lab_virsh -q undefine g1 --snapshots-metadata
    for point in s1 s2; do
        lab_virsh -q snapshot-create g1 "$LAB_DIR/$point.xml" --redefine
    done
    killed_at copying.begun delete g1 s2
    put 0x52 1M 64k
    lab_virsh -q destroy g1
    front=$(ls "$LAB_DIR"/ds1/.blockmig-"$job"-vda-*.qcow2)
    expect 6 'holds what its guest wrote last' blockmig job resume "$job"
    same "$front" "$(model now)"
    # by itself nothing of ours deletes it
    lab define g2 --disk "format=qcow2,size=$size"
    blockmig snapshot doctor g2 --fix >/dev/null && fail "nothing was found"
    there "$front"
    rm "$front"
    expect 1 '' blockmig job resume "$job"
    [ -z "$(find "$LAB_DIR/ds1" -name '.blockmig-*')" ] || fail "files are left"
    lab_virsh -q undefine g2
    rm "$LAB_DIR"/ds1/g[12]*
    ok "a domain that is gone, and what its guest wrote last"
}

# A revert has only to end, and its domain is gone.
test_undefined() {
    layers u1 2
    off u1
    killed_at releasing revert u1 s1
    lab_virsh -q undefine u1 --snapshots-metadata >/dev/null
    expect 0 'gone meanwhile' blockmig job resume "$job"
    expect 0 '' blockmig job list
    [[ ! "$output" =~ $job ]] || fail "it has not ended"
    rm "$LAB_DIR"/ds1/u1*
    ok "a domain that is gone when a revert is done"
}

# The state directory is an older copy: its job has ended long ago.
test_restored() {
    local point
    for point in allocating copying.begun copying.merged; do
        layers r1 2
        off r1
        killed_at $point delete r1 s2
        cp -a "$(state_dir)" "$LAB_DIR/older"
        expect 0 '' blockmig job resume "$job"
        snap create r1 s2
        model_keep s2
        put 0x53 200k 64k
        rm -r "$(state_dir)"
        mv "$LAB_DIR/older" "$(state_dir)"
        blockmig job resume "$job" >"$LAB_DIR/again" 2>&1 &&
            fail "$point: done again"
        grep -q 'not the file any more' "$LAB_DIR/again" ||
            fail "$(cat "$LAB_DIR/again")"
        same "$(active)" "$(model now)"
        lab_virsh snapshot-info r1 s2 >/dev/null
        rm -r "$(state_dir)"
        end_guest
    done
    ok "a job that an older state directory knows"
}

# Files of a guest that are no images.
test_memory() {
    local before
    layers m1 1
    snap create m1 s2 --memory
    before=$(sum "$(ds1 m1.s2.mem)")
    expect 3 'in use: domain m1' blockmig snapshot save m1 s1 "$(ds1 m1.s2.mem)" --force
    lab_equal "the memory" "$(sum "$(ds1 m1.s2.mem)")" "$before"
    # one that cannot be deleted is in nobody's way
    mkdir "$LAB_DIR/away"
    mv "$(ds1 m1.s2.mem)" "$LAB_DIR/away"
    mkdir -p "$(ds1 m1.s2.mem)/not-empty"
    expect 0 'is kept' blockmig snapshot delete m1 s2
    rm -r "$(ds1 m1.s2.mem)" "$LAB_DIR/away"
    end_guest
    ok "the memory of a restore point"
}

tests=${PARTS:-$(some 4 header clone away detached gone undefined restored \
    memory)}
lab_begin
model_begin
for one in $tests; do
    "test_$one"
done
