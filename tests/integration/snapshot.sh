#!/bin/bash
# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The snapshot commands, one by one, on guests without a system and on one that
# checks its own data; what virsh makes of it, and what is refused.
set -euo pipefail
BM_LONG=${BM_LONG:-0}
. "$(dirname "$0")/common.bash"
. "$(dirname "$0")/mover.bash"
. "$(dirname "$0")/snapshot.bash"

points_are() {
    local who=$1
    shift
    lab_equal "restore points of $who" \
        "$(lab_virsh snapshot-list "$who" --name | sort | xargs)" "$*"
}

test_interop() {
    layers i1 5
    # ours, deleted by ours; what is left virsh deletes
    snap delete i1 s3 --dry-run
    [[ "$output" =~ 's3 goes'.*'which goes'.*'to copy at most'.*proof ]] ||
        fail "the plan does not say it: $output"
    points_are i1 s1 s2 s3 s4 s5
    snap delete i1 s3
    [[ "$output" =~ proven ]] || fail "not proven: $output"
    check_model
    lab_virsh -q snapshot-delete i1 s4 >/dev/null
    check_model
    points_are i1 s1 s2 s5
    # virsh's, deleted by ours
    lab_virsh -q snapshot-create-as i1 v1 --disk-only \
        --diskspec "vda,file=$(ds1 i1-v1.qcow2)" >/dev/null
    model_keep v1
    put 0x78 1M 8k
    snap delete i1 s5
    snap delete i1 v1
    check_model
    # what virsh forgets is a layer without a name
    lab_virsh -q snapshot-delete i1 s2 --metadata >/dev/null
    snap consolidate i1
    points_are i1 s1
    depth_is i1 2
    check_model
    snap delete i1 s1
    depth_is i1 1
    check_model
    end_guest
    ok "ours and virsh's restore points, made and deleted by either"
}

test_revert() {
    new_guest v1
    lab_virsh -q start v1 >/dev/null
    put 0x11 1M 64k
    snap create v1 s1 --description 'the first'
    model_keep s1
    put 0x12 1M 64k
    snap create v1 s2 --memory
    model_keep s2
    put 0x13 1M 64k
    expect 3 'the guest runs' blockmig snapshot revert v1 s1
    snap revert v1 s1 --force
    model_keep before-s1
    model_back s1
    check_model
    put 0x14 2M 64k
    # the guest goes on from its memory
    snap revert v1 s2 --force
    lab_is_state v1 running || fail "v1 does not run"
    model_keep before-s2
    model_back s2
    check_model
    # off, and onto a branch that was left behind; the empty overlay goes
    off v1
    snap revert v1 before-s1
    [[ "$output" =~ 'held nothing' ]] || fail "the overlay is kept: $output"
    model_back before-s1
    check_model
    lab_is_state v1 'shut off' || fail "v1 runs"
    points_are v1 before-s1 before-s2 s1 s2
    there "$(ds1 v1.s2.mem)"
    snap delete v1 s1 --children
    gone "$(ds1 v1.s2.mem)"
    points_are v1 ''
    same "$(active)" "$(model now)"
    depth_is v1 1
    rm -f "$LAB_DIR/ds1/model/v1.p."*
    end_guest
    # a branch goes, though the restore point that stays has put it there
    layers v1 1
    snap revert v1 s1 --force
    model_keep before-s1
    model_back s1
    snap delete v1 before-s1
    rm "$(model p.before-s1)"
    gone "$(ds1 v1-vda.s1.qcow2)"
    check_model
    end_guest
    ok "reverted, with memory, to branches, and branches deleted"
}

# Disks that are not in the restore point are as they are now.
test_disks() {
    local template xml
    template=$(ds1 template.qcow2)
    image -f qcow2 "$template" $size
    lab run qemu-io -f qcow2 -c 'write -P 0xaa 0 1M' "$template" >/dev/null
    image -f qcow2 -b "$template" -F qcow2 "$(ds1 t1-b.qcow2)"
    name=t1
    lab define t1 --disk "format=qcow2,size=$size" \
        --disk "format=qcow2,path=$(ds1 t1-b.qcow2)"
    snap create t1 s1 --disk vda
    image -f raw "$(ds1 t1-c.raw)" 1M
    lab_virsh -q attach-disk t1 "$(ds1 t1-c.raw)" vdc --config
    snap revert t1 s1
    lab_equal "disk vdc" "$(disk_source t1 vdc --inactive)" "$(ds1 t1-c.raw)"
    lab_virsh -q start t1 >/dev/null
    lab_hmp_read t1 vdb 0xaa 0 1M
    off t1
    lab_virsh -q detach-disk t1 vdc --config
    snap create t1 s2
    snap revert t1 s2
    xml=$(lab_virsh dumpxml t1 --inactive)
    [[ ! "$xml" =~ vdc ]] || fail "vdc is back"
    lab_virsh -q start t1 >/dev/null
    lab_hmp_read t1 vdb 0xaa 0 1M
    expect 3 'no disk vdz' blockmig snapshot consolidate t1 --disk vdz --keep 0
    off t1
    lab_virsh -q undefine t1 --snapshots-metadata >/dev/null
    rm "$LAB_DIR"/ds1/t1* "$template"
    # two disks whose images have one name but for its ending
    image -f raw "$(ds1 t2.raw)" 1M
    image -f qcow2 "$(ds1 t2.qcow2)" 1M
    lab define t2 --disk "format=raw,path=$(ds1 t2.raw)" \
        --disk "format=qcow2,path=$(ds1 t2.qcow2)"
    snap create t2 s1
    snap delete t2 s1
    lab_virsh -q undefine t2 >/dev/null
    rm "$LAB_DIR"/ds1/t2*
    ok "a revert leaves other disks alone"
}

# The guest has worked on the new overlay when somebody wants to go back.
test_worked() {
    local job
    layers v2 1
    mover_start switching.started snapshot revert v2 s1 --force
    mover_stands
    job=$(newest_job)
    mover_signal KILL
    lab_wait_state v2 running 20
    lab_hmp_write v2 vda 0x42 2M 64k
    lab_virsh -q destroy v2 >/dev/null
    expect 6 'a guest has written to' blockmig job resume "$job" --back
    expect 0 '' blockmig job resume "$job"
    lab_is_state v2 running || lab_virsh -q start v2 >/dev/null
    lab_hmp_read v2 vda 0x42 2M 64k
    check_clean v2
    end_guest
    ok "what was written after a revert stays, whoever wants to go back"
}

test_up() {
    local at
    layers u1 4
    expect 2 'base' blockmig snapshot pull u1
    # by the number that libvirt's XML has
    at=$(lab_virsh dumpxml u1 | grep -B 2 "'$(ds1 u1-vda.s1.qcow2)'" |
        grep -o "index='[0-9]*'" | tr -dc 0-9)
    snap tree u1
    [[ "$output" =~ u1-vda.s1.qcow2[^$'\n']*"vda[$at]" ]] || fail "$output"
    snap commit u1 --top "vda[$((at + 1))]" --base "vda[$at]" --force --dry-run
    [[ "$output" =~ $(ds1 u1-vda.s2.qcow2) ]] || fail "$output"
    snap pull u1 --base "vda[$at]"
    check_model
    gone "$(ds1 u1-vda.s4.qcow2)"
    points_are u1 s1 s2 s3 s4
    snap flatten u1
    check_model
    lab_equal "backing file" "$(lab run qemu-img info -U --output=json \
        "$(active)" | jq -r '."backing-filename"')" null
    expect 3 'one image already' blockmig snapshot flatten u1
    off u1
    snap revert u1 s4
    model_keep before-s4
    model_back s4
    snap pull u1 --base "$(ds1 u1-vda.s2.qcow2)"
    check_model
    snap flatten u1
    check_model
    end_guest
    ok "pulled and flattened, running and off, and every restore point stays"
}

test_verify() {
    local s3
    layers y1 4
    s3=$(ds1 y1-vda.s3.qcow2)
    put 0x55 3500k 64k
    flush
    snap create y1 s5 --manifest now
    model_keep s5
    [[ "$output" =~ noted ]] || fail "no manifest was made: $output"
    snap verify y1
    snap verify y1
    [[ ! "$output" =~ (noted|CHANGED) ]] || fail "not as it was: $output"
    # a commit hands the manifest on
    snap delete y1 s2
    grep -q ' delete s2 .* y1 ' <<<"$(blockmig job list --all)" ||
        fail "$(blockmig job list --all)"
    snap verify y1
    [[ ! "$output" =~ (noted|CHANGED) ]] || fail "not handed on: $output"
    check_model
    off y1
    lab run qemu-io -f qcow2 -c 'write -P 0x99 1M 4k' "$s3" >/dev/null
    expect 4 'was written to' blockmig snapshot delete y1 s4
    points_are y1 s1 s3 s4 s5
    expect 1 'was replaced, or written to' blockmig snapshot doctor y1
    expect 4 '1048576 65536' blockmig snapshot verify y1
    expect 4 'is not what it was' blockmig snapshot delete y1 s4
    lab run qemu-io -f qcow2 -c 'write -P 0 1M 4k' "$s3" >/dev/null
    snap verify y1
    check_model
    snap delete y1 s4
    check_model
    # taken for right
    lab run qemu-io -f qcow2 -c 'write -P 0x98 1M 4k' "$s3" >/dev/null
    snap verify y1 --force
    [[ "$output" =~ accepted ]] || fail "not accepted: $output"
    snap verify y1
    [[ ! "$output" =~ (noted|CHANGED) ]] || fail "not as it was: $output"
    # nothing is said of what was not read
    expect 3 'no disk vdz' blockmig snapshot verify y1 --disk vdz
    mv "$s3" "$s3.away"
    expect 1 'cannot verify' blockmig snapshot verify y1
    mv "$s3.away" "$s3"
    end_guest
    ok "a layer that somebody wrote to is found, and not merged"
}

# The base is corrupted between merge and proof: the guest goes back to the old
# layers while it runs.
test_proof() {
    local at=$((200 * 1024))
    name=p1
    lab define p1 --disk "format=raw,size=$size"
    image -f raw "$(model now)" "$size"
    lab_virsh -q start p1 >/dev/null
    snap create p1 s1
    put 0x31 200k 96k
    snap create p1 s2
    put 0x32 3M 64k
    mover_start copying.merged snapshot delete p1 s1
    mover_stands
    printf 'bad!' | dd of="$(ds1 p1-vda.raw)" bs=1 seek=$at conv=notrunc \
        status=none
    mover_signal CONT
    mover_ends 60 4 'proof of the merge'
    lab_hmp_read p1 vda 0x31 200k 96k
    lab_hmp_read p1 vda 0x32 3M 64k
    flush
    check_clean p1
    there "$(ds1 p1-vda.s1.qcow2)"
    off p1
    lab_virsh -q undefine p1 --snapshots-metadata >/dev/null
    ok "a failed proof is undone under the running guest"
}

# Two domains on one base, one runs, one is off: no verb of the one changes the
# other.
test_shared() {
    local base sum other
    base=$(ds1 shared.qcow2)
    image -f qcow2 "$base" $size
    lab run qemu-io -f qcow2 -c 'write -P 0x5a 0 2M' "$base" >/dev/null
    for other in on off; do
        image -f qcow2 -b "$base" -F qcow2 "$(ds1 "d$other.qcow2")"
        lab define "d$other" --disk "format=qcow2,path=$(ds1 "d$other.qcow2")"
    done
    lab_virsh -q start don >/dev/null
    lab_hmp_write don vda 0x61 1M 64k
    lab run qemu-io -f qcow2 -c 'write -P 0x62 1M 64k' "$(ds1 doff.qcow2)" \
        >/dev/null
    sum=$(sha256sum <"$base")
    for other in on off; do
        snap create "d$other" a
        snap create "d$other" b
        snap delete "d$other" a
        expect 3 'domain d' blockmig snapshot commit "d$other" --force
        expect 3 'domain d' blockmig snapshot commit "d$other" --force \
            --base "$base"
        snap consolidate "d$other" --keep 0 --force
        expect 3 'must: domain d' blockmig snapshot consolidate "d$other" \
            --depth 1 --force
        snap create "d$other" c
        snap revert "d$other" c --force
        snap pull "d$other" --base "$base"
        snap verify "d$other"
        [ "$(sha256sum <"$base")" = "$sum" ] || fail "the base has changed"
    done
    snap flatten don
    snap delete don c --children
    lab_hmp_read don vda 0x61 1M 64k
    lab_hmp_read don vda 0x5a 0 1M
    lab run qemu-io -r -f qcow2 -c 'read -P 0x62 1M 64k' -c 'read -P 0x5a 0 1M' \
        "$(disk_source doff vda --inactive)" | grep -q 'verification failed' &&
        fail "doff has changed"
    [ "$(sha256sum <"$base")" = "$sum" ] || fail "the base has changed"
    off don
    for other in on off; do
        lab_virsh -q undefine "d$other" --snapshots-metadata >/dev/null
    done
    ok "two domains on one base do not feel each other"
}

# What libvirt, or the file system, would refuse half-way.
test_limits() {
    local long
    layers c1 2
    lab_virsh -q checkpoint-create-as c1 cp
    expect 3 'checkpoints' blockmig snapshot revert c1 s1 --force
    off c1
    expect 3 'checkpoints' blockmig snapshot delete c1 s2
    expect 3 'checkpoints' blockmig snapshot create c1 x
    lab_virsh -q start c1
    snap delete c1 s2
    lab_virsh -q checkpoint-delete c1 cp
    check_model
    end_guest
    long=$(ds1 "$(printf 'y%.0s' {1..130}).qcow2")
    image -f qcow2 "$long" $size
    lab define c2 --disk "format=qcow2,path=$long"
    expect 3 'so long a name' blockmig snapshot create c2 \
        "$(printf 'x%.0s' {1..128})"
    lab_virsh -q undefine c2
    rm "$long"
    ok "checkpoints of a guest that is off, and names that are too long"
}

test_refused() {
    local before
    layers b1 2
    before=$(picture b1)
    expect 3 'has a snapshot s1 already' blockmig snapshot create b1 s1
    expect 2 'no slash' blockmig snapshot create b1 a/b
    expect 3 'no disk vdx' blockmig snapshot create b1 x --disk vda,vdx
    expect 3 'no snapshot nope' blockmig snapshot delete b1 nope
    expect 3 'no snapshot nope' blockmig snapshot revert b1 nope
    expect 3 'no snapshot nope' blockmig snapshot show b1 nope
    expect 3 'nobody' blockmig snapshot list nobody
    expect 3 'allowed' blockmig snapshot create b1 deep --max-depth 3
    expect 3 'no layer' blockmig snapshot commit b1 --top /nowhere
    expect 3 'is restore point s' blockmig snapshot commit b1
    expect 2 'now' blockmig snapshot create b1 x --manifest later
    lab_equal "what is there" "$(picture b1)" "$before"
    pull_backup b1
    expect 3 'backup' blockmig snapshot create b1 x
    expect 3 'backup' blockmig snapshot delete b1 s1
    lab_virsh -q domjobabort b1
    rm -f "$(ds1 b1.scratch)"
    # a layer is missing, then replaced by one of another size
    off b1
    mv "$(ds1 b1-vda.s1.qcow2)" "$(ds1 away)"
    expect 3 'not there' blockmig snapshot delete b1 s2
    expect 3 'missing' blockmig snapshot revert b1 s2
    expect 3 '' blockmig snapshot create b1 x
    expect 1 'missing' blockmig snapshot doctor b1
    mv "$(ds1 away)" "$(ds1 b1-vda.s1.qcow2)"
    lab run qemu-img resize -q "$(ds1 b1-vda.qcow2)" 8M
    expect 3 'is larger than what stands on it' blockmig snapshot delete b1 s1
    expect 1 'is smaller than' blockmig snapshot doctor b1
    lab run qemu-img resize -q --shrink "$(ds1 b1-vda.qcow2)" $size
    check_model
    end_guest
    ok "what is refused, and nothing is touched"
}

# What the stores do not allow, said before anything is touched.
test_stores() {
    local before
    layers k1 1
    off k1
    before=$(picture k1)
    chmod 0444 "$(ds1 k1-vda.qcow2)"
    expect 3 'takes no writes' blockmig snapshot delete k1 s1
    chmod 0644 "$(ds1 k1-vda.qcow2)"
    lab_equal "what is there" "$(picture k1)" "$before"
    expect 0 '' blockmig snapshot delete k1 s1
    check_model
    end_guest
    # an overlay of it would be plain
    lab run qemu-img create -q -f qcow2 --object secret,id=key,data=secret \
        -o encrypt.format=luks,encrypt.key-secret=key "$(ds1 k2.qcow2)" 16M
    lab define k2 --disk "path=$(ds1 k2.qcow2),format=qcow2"
    expect 3 'is encrypted' blockmig snapshot create k2 s1
    lab_equal "restore points of k2" "$(lab_virsh snapshot-list k2 --name)" ''
    mount_small || {
        echo "no loop device: a merge without room is not tried"
        return 0
    }
    lab run qemu-img create -q -f raw "$small/k3.raw" 64M
    lab_guest_bare k3 --disk "path=$small/k3.raw,format=raw"
    expect 0 '' blockmig snapshot create k3 s1 --overlay-dir "$LAB_DIR/ds1"
    lab_hmp_write k3 vda 0x5a 0 40M
    leave 20M
    expect 3 'needs up to .* free' blockmig snapshot delete k3 s1
    lab_equal "restore points of k3" "$(lab_virsh snapshot-list k3 --name)" s1
    rm "$small/foreign"
    expect 0 '' blockmig snapshot delete k3 s1
    lab_hmp_read k3 vda 0x5a 0 40M
    off k3
    ok "no write, no room, no overlay of an encrypted disk"
}

# A guest that checks its own data and writes all the time.
test_guest() {
    local i
    lab_guest_os g1 --disk "format=qcow2,size=256M" --args 'g.rate=100'
    for i in 1 2 3 4; do
        snap create g1 "s$i"
        sleep 0.3
    done
    snap delete g1 s2
    lab_verify g1
    snap consolidate g1 --keep 1
    lab_verify g1
    snap delete g1 s4
    depth_is g1 1
    lab_verify g1
    check_clean g1
    off g1
    lab run qemu-img check -q "$(disk_source g1 vda --inactive)"
    ok "a guest that checks its data: 0 wrong"
}

test_depth() {
    local i
    lab_guest_os h1 --disk "format=qcow2,size=256M" --args 'g.rate=50'
    for i in $(seq 31); do
        snap create h1 "s$i"
    done
    [[ "$output" =~ 'of 32 allowed' ]] || fail "no warning: $output"
    expect 3 '33 images, and 32 are allowed' blockmig snapshot create h1 more
    snap consolidate h1 --depth 1
    depth_is h1 1
    lab_verify h1
    off h1
    ok "from depth 32 to 1: 0 wrong"
}

default='interop revert disks worked up verify proof shared refused limits stores
    guest'
long="$default depth"
tests=${PARTS:-$([ "$BM_LONG" = 1 ] && echo "$long" || echo "$default")}
lab_begin
model_begin
for one in $tests; do
    "test_$one"
done
