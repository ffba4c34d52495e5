#!/bin/bash
# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Merges, and somebody who does something behind their back: who makes a clone,
# starts the guest, makes a snapshot, writes to an image, cancels. In `make
# check` a sample by the seed.
set -euo pipefail
BM_LONG=${BM_LONG:-0}
. "$(dirname "$0")/common.bash"
. "$(dirname "$0")/mover.bash"
. "$(dirname "$0")/snapshot.bash"

# A clone that no domain names, made after the plan: what it stands on is not
# written.
test_clone() {
    local base
    layers c1 2
    base=$(ds1 c1-vda.s1.qcow2)
    off c1
    mover_start allocating snapshot delete c1 s2
    mover_stands
    image -f qcow2 -b "$base" -F qcow2 "$(ds1 clone.qcow2)"
    mover_signal CONT
    mover_ends 60 1 "clone.qcow2 stands on $base"
    same "$(ds1 clone.qcow2)" "$(model p.s2)"
    check_model
    rm "$(ds1 clone.qcow2)"
    snap delete c1 s2
    check_model
    end_guest
    ok "a clone that is made after the plan is not written under"
}

# What cannot be read may stand on anything.
test_unread() {
    layers u1 2
    image -f qcow2 -F qcow2 \
        -b "json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\",\"filename\":\"$(ds1 u1-vda.s1.qcow2)\"}}" \
        "$(ds1 clone.qcow2)"
    expect 0 'no image is changed' blockmig snapshot delete u1 s2 --dry-run
    rm "$(ds1 clone.qcow2)"
    printf 'QFI\373 is all that is left of it' >"$(ds1 torn.qcow2)"
    expect 3 'nobody knows .*torn.qcow2' blockmig snapshot delete u1 s1
    expect 1 'unread .*torn.qcow2' blockmig snapshot doctor u1
    check_model
    rm "$(ds1 torn.qcow2)"
    snap delete u1 s1
    check_model
    end_guest
    ok "an image that cannot be read is in the way of a merge"
}

# started POINT SNAPSHOT STATUS: the job dies there, and the guest is started on
# layers that were merged, and writes; STATUS is what `job resume` ends with then
started() {
    local id
    layers s1 2
    off s1
    mover_start "$1" snapshot delete s1 "$2"
    mover_stands
    mover_signal KILL
    id=$(newest_job)
    lab_virsh -q start s1 >/dev/null
    put 0x44 1M 64k
    flush
    expect "$3" '' blockmig job resume "$id"
    off s1
    [ "$3" = 0 ] || expect 0 "${4:-}" blockmig job resume "$id"
    check_model
    depth_is s1 2
    end_guest
}

test_started() {
    local one
    for one in $(some 1 copying.merged:s2:0 copying.proven:s2:6:again \
        copying.rebased:s2:6:again copying.proven:s1:6 copying.rebased:s1:6); do
        started ${one//:/ }
    done
    ok "what a guest wrote to layers that were merged already is merged too"
}

# virsh makes a snapshot while we merge: we stop, and go on when it is undone.
test_virsh() {
    local verb
    layers v1 2
    mover_start copying.begun snapshot delete v1 s2
    mover_stands
    lab_virsh -q snapshot-create-as v1 meddled --disk-only --no-metadata \
        --diskspec "vda,file=$(ds1 v1-meddled.qcow2)"
    mover_signal CONT
    mover_ends 60 6 'on a chain that is not'
    put 0x45 1M 64k
    lab_virsh -q blockcommit v1 vda --active --pivot --shallow --wait \
        >/dev/null
    rm "$(ds1 v1-meddled.qcow2)"
    expect 0 '' blockmig job resume "$(newest_job)"
    check_model
    # before we have done anything it is no reason to be held
    for verb in 'create v1 new' 'revert v1 s1 --force'; do
        mover_start allocating snapshot $verb
        mover_stands
        lab_virsh -q snapshot-create-as v1 "by-${verb%% *}" --disk-only
        model_keep "by-${verb%% *}"
        mover_signal CONT
        mover_ends 60 1 'try again'
        check_model
    done
    end_guest
    ok "a snapshot that virsh makes while we work"
}

# libvirt changes no snapshot of a domain that is off and has checkpoints.
test_checkpoint() {
    layers k1 2
    lab_virsh -q checkpoint-create-as k1 cp >/dev/null
    mover_start copying.merged snapshot delete k1 s1
    mover_stands
    mover_signal KILL
    off k1
    expect 6 'start the domain' blockmig job resume "$(newest_job)"
    lab_virsh -q start k1
    expect 1 'rolled back' blockmig job resume "$(newest_job)"
    check_model
    lab_virsh -q checkpoint-delete k1 cp >/dev/null
    end_guest
    ok "a merge of a guest with checkpoints that was shut off meanwhile"
}

qemu_img_is() {
    local pid
    pid=$(pgrep -f "^qemu-img commit .*$LAB_DIR/") &&
        grep -q "^State:.$1" "/proc/$pid/status"
}
below() {
    lab run qemu-img info -U --output=json "$(active)" | jq -r '."backing-filename"'
}
base_sum() { sha256sum <"$(below)"; }
base_stands() {
    stood=$(base_sum)
    sleep 2
    [ "$stood" = "$(base_sum)" ]
}
base_goes_on() { [ "$stood" != "$(base_sum)" ]; }
qemu_img_stands() { qemu_img_is T; }
qemu_img_goes_on() { qemu_img_is '[SRD]'; }

# Two commands of ours: the plan of one is old when it comes to its turn.
test_two() {
    local verb
    layers y1 2
    for verb in 'create y1 new' 'delete y1 s2' 'revert y1 s1 --force' \
        'flatten y1'; do
        mover_start planned snapshot $verb
        mover_stands
        snap create y1 "before-${verb%% *}"
        model_keep "before-${verb%% *}"
        mover_signal CONT
        mover_ends 60 3 'has changed since this was planned'
        check_model
    done
    end_guest
    ok "of two commands one says that its plan is old"
}

merges() { in_phase copying && [ -n "$(newest_job)" ]; }

# cancel_off STANDS GOES-ON COMMAND...: the merge is paused, goes on, and is
# cancelled
cancel_off() {
    mover_start none snapshot "${@:3}" --bandwidth 1M
    lab_wait 20 merges || fail "it does not merge: $(mover_said)"
    expect 0 '' blockmig job pause "$(newest_job)"
    lab_wait 5 "$1" || fail "the merge goes on"
    sleep 4
    [ ! -s "$LAB_DIR/mover.status" ] || fail "the merge did not stand still"
    expect 0 '' blockmig job resume "$(newest_job)"
    lab_wait 10 "$2" || fail "the merge does not go on"
    expect 0 'asked to cancel' blockmig job cancel "$(newest_job)"
    mover_ends 3 1 'the merge of w1 stops'
    check_model
    depth_is w1 2
}

# Off, and killed in the middle: no guest is started on layers that go down, but
# one may be when half of them has.
test_half() {
    local size=32M
    layers h1 1
    put 0x4a 1M 12M
    off h1
    mover_start none snapshot delete h1 s1 --bandwidth 1M
    lab_wait 20 merges || fail "it does not merge: $(mover_said)"
    stood=$(base_sum)
    lab_wait 20 base_goes_on || fail "nothing is written"
    lab_virsh -q start h1 2>"$LAB_DIR/start" && fail "h1 was started" || true
    grep -q 'lock' "$LAB_DIR/start" || fail "$(cat "$LAB_DIR/start")"
    mover_signal KILL
    mover_ends 10 137
    lab_virsh -q start h1
    lab_hmp_read h1 vda 0x4a 1M 12M
    put 0x4b 5M 64k
    off h1
    expect 0 '' blockmig job resume "$(newest_job)"
    check_model
    depth_is h1 1
    end_guest
    ok "layers of which half went down"
}

# A slow merge is watched, and cancelled: of one layer nothing is left to do; of
# several `job resume` merges the rest.
test_cancel() {
    local id watch
    local size=32M
    layers w1 3
    put 0x46 8M 3M
    mover_start none snapshot delete w1 s3 --bandwidth 1M
    lab_wait 20 merges || fail "it does not merge: $(mover_said)"
    id=$(newest_job)
    blockmig job watch "$id" >"$LAB_DIR/watch" &
    watch=$!
    expect 0 'asked to cancel' blockmig job cancel "$id"
    mover_ends 20 1 'the merge of w1 stops'
    wait $watch && fail "job watch ended with 0"
    grep -q 'rolled-back' "$LAB_DIR/watch" || fail "$(cat "$LAB_DIR/watch")"
    check_model
    depth_is w1 4
    mover_start none snapshot consolidate w1 --keep 0 --bandwidth 1M
    lab_wait 20 merges || fail "it does not merge: $(mover_said)"
    id=$(newest_job)
    sleep 1
    expect 0 'asked to cancel' blockmig job cancel "$id"
    mover_ends 20 6 'job resume'
    same "$(active)" "$(model now)"
    expect 0 '' blockmig job resume "$id"
    check_model
    depth_is w1 1
    # off
    snap create w1 s4
    model_keep s4
    put 0x48 1M 12M
    off w1
    cancel_off base_stands base_goes_on delete w1 s4
    # by qemu-img, as parts smaller than 4 KiB are
    lab run qemu-img convert -f qcow2 -O qcow2 -o cluster_size=1k \
        -B "$(below)" -F qcow2 "$(active)" "$(ds1 small)"
    mv "$(ds1 small)" "$(active)"
    put 0x49 20M 1k
    cancel_off qemu_img_stands qemu_img_goes_on consolidate w1 --depth 1 \
        --force
    snap consolidate w1 --depth 1 --force
    check_model
    depth_is w1 1
    end_guest
    ok "a merge that is watched and cancelled"
}

# A guest with much written to its first front: the job stops at the points
# that are named, after the first merge.
begin_rounds() {
    new_raw "$1"
    lab_virsh -q start "$1" >/dev/null
    put 0x30 0 16M
    snap create "$1" s1
    put 0x31 200k 96k
    mover_start "copying.merged,$2" snapshot delete "$1" s1
    mover_stands
    put 0x32 8M 8M
    mover_signal CONT
    mover_stands
}

new_raw() {
    name=$1
    lab define "$1" --disk "format=raw,size=$size"
    image -f raw "$(model now)" "$size"
}

raw_is_model() {
    lab run qemu-img compare -q -U -f raw -F raw "$(ds1 "$name-vda.raw")" \
        "$(model now)" || fail "the disk is not as it should be"
}

# What the merge wrote is damaged: the guest is to be on its layers again.
damage() {
    printf 'bad!' | dd of="$(ds1 "$name-vda.raw")" bs=1 seek=10M conv=notrunc \
        status=none
    mover_signal CONT
}

# The first front is a layer now; then it goes down, and nothing is left.
undone() {
    local front
    front=$(active)
    [[ "$front" =~ /\.blockmig- ]] || fail "on $front"
    grep -q "$front holds what the guest wrote meanwhile" "$LAB_DIR/mover.out" \
        "$LAB_DIR/resume.out" || fail "nothing is said of $front"
    lab_hmp_read "$name" vda 0x30 0 200k
    lab_hmp_read "$name" vda 0x31 200k 96k
    lab_hmp_read "$name" vda 0x32 8M 8M
    put 0x47 20M 64k
    flush
    same "$front" "$(model now)"
    snap doctor "$name"
    snap commit "$name" --force
    raw_is_model
    check_clean "$name"
    end_guest
}

test_rounds() {
    local point
    local size=32M
    for point in $(some 1 freezing.sent freezing.frozen copying.begun \
        copying.proven); do
        begin_rounds r1 $point
        mover_signal KILL
        expect 0 '' blockmig job resume "$(newest_job)"
        lab_hmp_read r1 vda 0x32 8M 8M
        raw_is_model
        end_guest
    done
    ok "killed in the second round of a merge"
    begin_rounds r2 copying.merged
    damage
    mover_ends 60 4 'proof of the merge'
    : >"$LAB_DIR/resume.out"
    undone
    for point in $(some 1 rolling-back.ready consolidating.pivot-sent); do
        begin_rounds r3 "copying.merged,$point"
        damage
        mover_stands
        mover_signal KILL
        expect 4 'proof of the merge' blockmig job resume "$(newest_job)"
        echo "$output" >"$LAB_DIR/resume.out"
        undone
    done
    ok "a failed proof of the second round is undone, also when it was killed"
}

# stands_on NAME: an image that stands on s1 of o1 under that name is in the way
stands_on() {
    local before
    image -f qcow2 -F qcow2 -b "$1" "$2"
    before=$(sha256sum <"$(ds1 o1-vda.s1.qcow2)")
    expect 0 'no image is changed' blockmig snapshot delete o1 s2 --dry-run
    lab_equal "s1 of o1" "$(sha256sum <"$(ds1 o1-vda.s1.qcow2)")" "$before"
}

# Whoever stands on an image is found, whatever the headers call it.
test_names() {
    local s1 mid
    layers o1 2
    off o1
    s1=$(ds1 o1-vda.s1.qcow2)
    mid=$LAB_DIR/ds2/mid.qcow2
    stands_on "json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\",\"filename\":\"${s1/qcow2/qcow\\u0032}\"}}" \
        "$(ds1 clone.qcow2)"
    stands_on "file:$s1" "$(ds1 clone.qcow2)"
    rm "$(ds1 clone.qcow2)"
    # a disk of another domain, by a layer between
    image -f qcow2 -F qcow2 -b "$s1" "$mid"
    lab define o2 --disk "format=qcow2,path=$LAB_DIR/ds2/o2.qcow2"
    stands_on "json:{\"driver\":\"qcow2\",\"file.driver\":\"file\",\"file.filename\":\"$mid\"}" \
        "$LAB_DIR/ds2/o2.qcow2"
    stands_on "file:$mid" "$LAB_DIR/ds2/o2.qcow2"
    lab_virsh -q undefine o2
    rm "$LAB_DIR/ds2/o2.qcow2"
    # one that lies elsewhere, and in the folder as a link
    ln -s "$mid" "$(ds1 link.qcow2)"
    expect 0 'no image is changed' blockmig snapshot delete o1 s2 --dry-run
    rm "$(ds1 link.qcow2)" "$mid"
    expect 0 'which goes' blockmig snapshot delete o1 s2 --dry-run
    end_guest
    ok "json:, file: and links do not hide who stands on an image"
}

# The saved XML names the disk's images through a link, the restore points do
# not.
test_link() {
    layers l1 3
    off l1
    ln -s ds1 "$LAB_DIR/other"
    lab_virsh dumpxml l1 --inactive | sed 's|/ds1/|/other/|' >"$LAB_DIR/l1.xml"
    lab_virsh -q define "$LAB_DIR/l1.xml"
    snap delete l1 s2
    gone "$(ds1 l1-vda.s2.qcow2)"
    grep -q 'l1-vda.s2.qcow2' <<<"$(lab_virsh snapshot-dumpxml l1 s3)" &&
        fail "s3 names what is gone"
    check_model
    snap delete l1 s3
    check_model
    depth_is l1 2
    end_guest
    rm "$LAB_DIR/other"
    ok "an image that has two names is one"
}

# A layer is put on another image, and the base is taken away.
test_base() {
    local sum
    layers q1 2
    off q1
    image -f qcow2 "$(ds1 foreign.qcow2)" $size
    sum=$(sha256sum <"$(ds1 foreign.qcow2)")
    mover_start allocating snapshot delete q1 s2
    mover_stands
    lab run qemu-img rebase -u -F qcow2 -b "$(ds1 foreign.qcow2)" \
        "$(ds1 q1-vda.s2.qcow2)"
    mover_signal CONT
    mover_ends 60 1 'does not stand on it'
    lab_equal "the foreign image" "$(sha256sum <"$(ds1 foreign.qcow2)")" "$sum"
    lab run qemu-img rebase -u -F qcow2 -b "$(ds1 q1-vda.s1.qcow2)" \
        "$(ds1 q1-vda.s2.qcow2)"
    mover_start copying.proven snapshot delete q1 s2
    mover_stands
    mv "$(ds1 q1-vda.s1.qcow2)" "$(ds1 away)"
    mover_signal CONT
    mover_ends 60 6 'not the file any more'
    there "$(ds1 q1-vda.s2.qcow2)"
    mv "$(ds1 away)" "$(ds1 q1-vda.s1.qcow2)"
    expect 0 '' blockmig job resume "$(newest_job)"
    check_model
    gone "$(ds1 q1-vda.s2.qcow2)"
    rm "$(ds1 foreign.qcow2)"
    end_guest
    ok "no layer goes elsewhere, nor is deleted when what took it is gone"
}

# What doctor mends, and what --force replaces.
test_mended() {
    local dir=$LAB_DIR/ds2/far
    layers f1 1
    off f1
    expect 3 'domain f1 names it' blockmig snapshot save f1 s1 "$(active)" \
        --force
    ln "$(active)" "$(ds1 other-name)"
    expect 3 'domain f1 names it' blockmig snapshot save f1 s1 \
        "$(ds1 other-name)" --force
    rm "$(ds1 other-name)"
    check_model
    # the XML and the header name two images
    image -f qcow2 "$(ds1 strange.qcow2)" $size
    lab run qemu-img rebase -u -b "$(ds1 strange.qcow2)" "$(active)" 2>/dev/null ||
        lab run qemu-img rebase -u -F qcow2 -b "$(ds1 strange.qcow2)" "$(active)"
    blockmig snapshot doctor f1 --fix >/dev/null || true
    lab_equal "what the header names" "$(lab run qemu-img info --output=json \
        "$(active)" | jq -r '."backing-filename"')" "$(ds1 strange.qcow2)"
    lab run qemu-img rebase -u -F qcow2 -b "$(ds1 f1-vda.qcow2)" "$(active)"
    rm "$(ds1 strange.qcow2)"
    end_guest
    # a store that is not there is no reason to forget what is on it
    lab run mkdir "$dir"
    image -f qcow2 "$dir/far.qcow2" $size
    name=f2
    lab define f2 --disk "format=qcow2,path=$dir/far.qcow2"
    snap create f2 s1 --overlay-dir "$LAB_DIR/ds1"
    mv "$dir" "$dir.away"
    blockmig snapshot doctor f2 --fix >/dev/null && fail "nothing was found"
    mv "$dir.away" "$dir"
    lab_equal "restore points of f2" "$(lab_virsh snapshot-list f2 --name)" s1
    lab_virsh -q undefine f2 --snapshots-metadata >/dev/null
    rm -r "$dir" "$(ds1 far.s1.qcow2)"
    ok "doctor and save harm nothing"
}

tests=${PARTS:-$(some 8 clone unread started virsh checkpoint two half cancel rounds names link \
    base mended)}
lab_begin
model_begin
for one in $tests; do
    "test_$one"
done
