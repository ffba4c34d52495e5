#!/bin/bash
# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Bad input, and domains that cannot be moved: each a clear line, the right
# exit status, and nothing changed.
set -euo pipefail
. "$(dirname "$0")/common.bash"
. "$(dirname "$0")/mover.bash"

# All that must not change: images and domains, saved and (in libvirtd's own
# notes) live. Cheaper than to ask for them: this is done a hundred times.
world() {
    find "$LAB_DIR"/ds[123] -printf '%p %s %i %m\n' | sort
    cat "$LAB_DIR"/config/libvirt/qemu/*.xml \
        "$LAB_DIR"/run/libvirt/qemu/run/*.xml
}

all_jobs() { blockmig job list --all --json; }
jobs='[]'

# refused STATUS TEXT ARGS...: on one line of standard error, which is all
# there is but for the hint to --help with 2.
refused() {
    local want=$1 text=$2 before status=0 err=$LAB_DIR/refused.err lines
    shift 2
    before=$(world)
    blockmig "$@" >"$LAB_DIR/refused.out" 2>"$err" || status=$?
    [ "$status" = "$want" ] ||
        fail "exit status $status, should be $want: $*: $(cat "$err")"
    [[ "$(cat "$err")" =~ $text ]] || fail "no '$text': $*: $(cat "$err")"
    lines=$(grep -vc "^Try 'blockmig " "$err")
    [ "$lines" = 1 ] || fail "$lines lines: $*: $(cat "$err")"
    grep -q '^blockmig: ' "$err" || fail "whose line is it: $(cat "$err")"
    diff <(echo "$before") <(world) >&2 || fail "something changed: $*"
    [ "$want" = 2 ] || lab_equal "jobs after: $*" "$(all_jobs)" "$jobs"
    n=$((n + 1))
}
n=0

test_names() {
    refused 3 "no domain|not found" move nobody --to "$LAB_DIR/ds2"
    refused 3 'no disk vdx.*vda' move vm1 vdx --to "$LAB_DIR/ds2"
    refused 3 "no disk $LAB_DIR/ds1/other" move vm1 "$LAB_DIR/ds1/other" \
        --to "$LAB_DIR/ds2"
    refused 3 'nowhere' move vm1 --to nowhere
    refused 3 "$LAB_DIR/nowhere" move vm1 --to "$LAB_DIR/nowhere"
    refused 3 'neither a folder nor a block device' \
        move vm1 --to "$LAB_DIR/ds1/vm1-vda.raw"
    refused 3 'overlay folder' move vm1 --to "$LAB_DIR/ds2" \
        --overlay-dir "$LAB_DIR/nowhere"
    ok "unknown domain, disk, store"
}

test_usage() {
    local rate
    for rate in 0 -1 10X 99999999999999T; do
        refused 2 "--bandwidth '$rate'" move vm1 --to "$LAB_DIR/ds2" \
            --bandwidth "$rate"
    done
    refused 2 'a proof' move vm1 --to "$LAB_DIR/ds2" --proof none \
        --source delete
    refused 2 "'vmdk'" move vm1 --to "$LAB_DIR/ds2" --format vmdk
    ok "rates and options"
}

test_store() {
    lab run chmod 555 "$LAB_DIR/ds3"
    refused 3 "cannot write to $LAB_DIR/ds3" move vm1 --to "$LAB_DIR/ds3"
    lab run chmod 755 "$LAB_DIR/ds3"
    lab_virsh -q pool-define-as idle dir --target "$LAB_DIR/ds3" >/dev/null
    refused 3 'not active.*pool-start' move vm1 --to idle
    # far more than there is room anywhere
    lab define big --disk format=qcow2,size=60T
    refused 3 'needs up to .* free' move big --to "$LAB_DIR/ds2"
    lab_virsh -q undefine big >/dev/null
    ok "a store that is read-only, not active, too small"
}

test_full_store() {
    if [ "$(id -u)" != 0 ]; then
        echo "no loop device without root: no small file system is tried"
        return
    fi
    truncate -s 24M "$LAB_DIR/small.img"
    mkfs.ext4 -q -m 0 "$LAB_DIR/small.img"
    mkdir "$LAB_DIR/small"
    if ! mount -o loop "$LAB_DIR/small.img" "$LAB_DIR/small"; then
        echo "no loop device: no small file system is tried"
        return
    fi
    lab_at_exit umount "$LAB_DIR/small"
    chmod 777 "$LAB_DIR/small"
    refused 3 'needs up to .* and has .* free' move vm1 --to "$LAB_DIR/small"
    lab_equal "what is in the small store" \
        "$(find "$LAB_DIR/small" -mindepth 1 ! -name lost+found)" ''
    mount -o remount,ro "$LAB_DIR/small"
    refused 3 "cannot write to $LAB_DIR/small" move vm1 --to "$LAB_DIR/small"
    ok "a full and a read-only file system"
}

test_target() {
    lab run sh -c 'echo foreign >"$1" && echo foreign >"$2"' sh \
        "$LAB_DIR/ds2/vm1-vda.raw" "$LAB_DIR/ds2/taken.raw"
    # the name and the name for a clash are the same here
    refused 3 'vm1-vda.raw exists' move vm1 --to "$LAB_DIR/ds2"
    refused 3 'taken.raw exists' move vm1 --to "$LAB_DIR/ds2" --name taken.raw
    refused 3 'is the source itself' move vm1 --to "$LAB_DIR/ds1"
    lab run ln -s "$LAB_DIR/ds1" "$LAB_DIR/ds2/link"
    refused 3 'is the source itself' move vm1 --to "$LAB_DIR/ds2/link"
    lab run ln "$LAB_DIR/ds1/vm1-vda.raw" "$LAB_DIR/ds2/hard.raw"
    refused 3 'is the source itself' move vm1 --to "$LAB_DIR/ds2" \
        --name hard.raw
    lab run ln -s nowhere "$LAB_DIR/ds2/dangling.raw"
    refused 3 'dangling.raw exists' move vm1 --to "$LAB_DIR/ds2" \
        --name dangling.raw
    lab run rm "$LAB_DIR"/ds2/*
    ok "target file exists, or is the source"
}

# One domain with every kind of disk that cannot be moved.
test_kinds() {
    image -f raw "$LAB_DIR/ds1/share.raw" 1M
    image -f qcow2 "$LAB_DIR/ds1/trans.qcow2" 1M
    image -f raw "$LAB_DIR/ds1/cor.raw" 1M
    image -f raw "$LAB_DIR/ds1/cd.iso" 1M
    lab_guest_bare odd --disk size=64M --devices "
        <disk type='file' device='disk'><driver name='qemu' type='raw'
        cache='none'/><source file='$LAB_DIR/ds1/share.raw'/>
        <target dev='vdb' bus='virtio'/><shareable/></disk>
        <disk type='file' device='disk'><driver name='qemu' type='qcow2'/>
        <source file='$LAB_DIR/ds1/trans.qcow2'/>
        <target dev='vdc' bus='virtio'/><transient/></disk>
        <disk type='file' device='disk'><driver name='qemu' type='raw'
        copy_on_read='on'/><source file='$LAB_DIR/ds1/cor.raw'/>
        <target dev='vdd' bus='virtio'/></disk>
        <disk type='file' device='cdrom'><driver name='qemu' type='raw'/>
        <target dev='hda' bus='ide'/></disk>
        <disk type='file' device='cdrom'><driver name='qemu' type='raw'/>
        <source file='$LAB_DIR/ds1/cd.iso'/>
        <target dev='hdb' bus='ide'/><readonly/></disk>"
    refused 3 'shareable.*vdb' move odd vdb --to "$LAB_DIR/ds2"
    refused 3 'transient.*vdc' move odd vdc --to "$LAB_DIR/ds2"
    refused 3 'copy.on.read.*vdd' move odd vdd --to "$LAB_DIR/ds2"
    refused 3 'hda: cdroms' move odd hda --to "$LAB_DIR/ds2"
    refused 3 'hdb: cdroms' move odd hdb --to "$LAB_DIR/ds2"
    # one bad disk among good ones: nothing moves
    refused 3 'shareable' move odd vda vdb --to "$LAB_DIR/ds2"
    refused 3 'vdb' move odd --to "$LAB_DIR/ds2"
    # the others are no reason against vda
    expect 0 'vda' blockmig move odd vda --to "$LAB_DIR/ds2" --dry-run
    lab_virsh -q destroy odd >/dev/null
    refused 3 'shareable.*vdb' move odd vdb --to "$LAB_DIR/ds2"

    lab define cds --devices "<disk type='file' device='cdrom'>
        <target dev='hda' bus='ide'/></disk><disk type='file' device='floppy'>
        <target dev='fda' bus='fdc'/></disk>"
    refused 3 'no disk that can be moved' move cds --to "$LAB_DIR/ds2"
    refused 3 'fda: cdroms and floppies' move cds fda --to "$LAB_DIR/ds2"
    lab_virsh -q undefine cds >/dev/null
    ok "shareable, transient, copy_on_read, cdroms, empty drives"
}

# Kinds that are never started here.
test_sources() {
    local devices="<controller type='scsi' model='virtio-scsi'/>
        <disk type='block' device='lun'><driver name='qemu' type='raw'/>
        <source dev='/dev/zero'/><target dev='sda' bus='scsi'/></disk>
        <disk type='network' device='disk'><driver name='qemu' type='raw'/>
        <source protocol='nbd' name='x'><host name='localhost'/></source>
        <target dev='vdb' bus='virtio'/></disk>
        <disk type='file' device='disk'><driver name='qemu' type='raw'/>
        <source file='$LAB_DIR/ds1/missing.raw'/>
        <target dev='vdc' bus='virtio'/></disk>"
    lab define kinds --devices "$devices"
    refused 3 "lun.*sda" move kinds sda --to "$LAB_DIR/ds2"
    refused 3 'vdb.*network|network.*vdb' move kinds vdb --to "$LAB_DIR/ds2"
    refused 3 'missing.raw' move kinds vdc --to "$LAB_DIR/ds2"
    lab_virsh -q undefine kinds >/dev/null
    ok "a lun, a network disk, an image that is not there"
}

# qemu-img measures its own speed, and gives up when the clock was too coarse.
encrypted() {
    local _
    for _ in {1..20}; do
        ! image --object secret,id=s,data=secret "$@" 2>"$LAB_DIR/luks.err" ||
            return 0
    done
    fail "qemu-img cannot encrypt: $(cat "$LAB_DIR/luks.err")"
}

test_images() {
    local uuid=6f0b4a0e-52b5-4a40-9c3c-6b1e2f0c6d01
    lab define snap --disk format=qcow2,size=64M
    lab run qemu-img snapshot -c inside "$LAB_DIR/ds1/snap-vda.qcow2"
    refused 3 'internal.snapshots.*vda' move snap --to "$LAB_DIR/ds2"
    lab_virsh -q start snap >/dev/null
    refused 3 'internal.snapshots.*vda' move snap --to "$LAB_DIR/ds2"

    echo "<secret ephemeral='no' private='no'><uuid>$uuid</uuid></secret>" \
        >"$LAB_DIR/secret.xml"
    lab_virsh -q secret-define "$LAB_DIR/secret.xml" >/dev/null
    lab_virsh -q secret-set-value $uuid "$(base64 <<<secret)" >/dev/null 2>&1
    encrypted -f luks -o key-secret=s,iter-time=10 "$LAB_DIR/ds1/luks.img" 1M
    lab define crypt --devices "<disk type='file' device='disk'>
        <driver name='qemu' type='raw'/><source file='$LAB_DIR/ds1/luks.img'>
        <encryption format='luks'><secret type='passphrase' uuid='$uuid'/>
        </encryption></source><target dev='vda' bus='virtio'/></disk>"
    refused 3 'encrypt.*vda' move crypt --to "$LAB_DIR/ds2"
    encrypted -f qcow2 -o \
        encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 \
        "$LAB_DIR/ds1/crypt2.qcow2" 1M
    lab define crypt2 --disk "format=qcow2,path=$LAB_DIR/ds1/crypt2.qcow2"
    refused 3 'encrypt.*vda' move crypt2 --to "$LAB_DIR/ds2"
    lab_virsh -q undefine crypt >/dev/null
    lab_virsh -q undefine crypt2 >/dev/null
    ok "internal snapshots, LUKS"
}

test_domain() {
    local stamp="<job id='0badcafe' host='elsewhere' store='/nowhere'/>"
    lab_virsh -q suspend vm1 >/dev/null
    refused 3 'paused' move vm1 --to "$LAB_DIR/ds2"
    lab_virsh -q resume vm1 >/dev/null

    lab_virsh metadata vm1 --uri https://blockmig.org/job/1 --key blockmig \
        --set "$stamp" --live --config >/dev/null
    refused 3 'stamp.*0badcafe.*elsewhere' move vm1 --to "$LAB_DIR/ds2"
    lab_virsh metadata vm1 --uri https://blockmig.org/job/1 --remove --live \
        --config >/dev/null

    lab_virsh -q blockcopy vm1 vda "$LAB_DIR/ds2/foreign.raw" --transient-job \
        --format raw --bytes 65536 >/dev/null
    refused 3 'block.job.*vda' move vm1 --to "$LAB_DIR/ds2"
    lab_virsh -q blockjob vm1 vda --abort >/dev/null
    rm "$LAB_DIR/ds2/foreign.raw"

    lab define q1 --disk format=qcow2,size=64M
    lab_virsh -q snapshot-create-as q1 s1 >/dev/null
    refused 3 'snapshots' move q1 --to "$LAB_DIR/ds2"
    lab_virsh -q snapshot-delete q1 s1 >/dev/null
    lab_virsh -q start q1 >/dev/null
    lab_virsh -q snapshot-create-as q1 s2 --disk-only >/dev/null
    refused 3 'libvirt knows 1 snapshot' move q1 --chain flatten \
        --to "$LAB_DIR/ds2"
    lab_virsh -q snapshot-delete q1 s2 --metadata >/dev/null
    lab_virsh -q managedsave q1 >/dev/null
    refused 3 'managed.save' move q1 --to "$LAB_DIR/ds2"
    lab_virsh -q managedsave-remove q1 >/dev/null

    # a change for the next start that would be lost
    lab define s1 --disk size=64M
    lab_virsh -q start s1 >/dev/null
    image -f raw "$LAB_DIR/ds1/next.raw" 64M
    lab_virsh dumpxml s1 --inactive |
        sed "s|$LAB_DIR/ds1/s1-vda.raw|$LAB_DIR/ds1/next.raw|" \
            >"$LAB_DIR/s1.next.xml"
    lab_virsh -q define "$LAB_DIR/s1.next.xml" >/dev/null
    refused 3 's1-vda.raw.*next.raw' move s1 --to "$LAB_DIR/ds2"
    ok "paused, stamped, block job, snapshots, managed save, two images"
}

test_checkpoint() {
    lab_guest_bare cp --disk format=qcow2,size=64M
    lab_virsh -q checkpoint-create-as cp c1 >/dev/null
    refused 3 'checkpoint' move cp --to "$LAB_DIR/ds2" --format raw
    pull_backup cp
    refused 3 'check domain-job: a backup' move cp --to "$LAB_DIR/ds2"
    lab_virsh domjobabort cp >/dev/null
    ok "a checkpoint on the way to raw, a backup under way"
}

test_broken_store() {
    local state=$LAB_DIR/home/broken sum
    lab run mkdir -m 700 "$state"
    lab run sh -c 'head -c 8192 /dev/urandom >"$1"' sh "$state/jobs.sqlite"
    sum=$(md5sum <"$state/jobs.sqlite")
    refused 1 'damaged' --state "$state" move vm1 --to "$LAB_DIR/ds2"
    refused 1 'damaged' --state "$state" job list
    lab_equal "the broken store" "$(md5sum <"$state/jobs.sqlite")" "$sum"
    lab_equal "what is beside it" "$(ls "$state")" jobs.sqlite
    lab run chmod 555 "$LAB_DIR/ds3"
    refused 1 "$LAB_DIR/ds3/state" --state "$LAB_DIR/ds3/state" \
        move vm1 --to "$LAB_DIR/ds2"
    ok "a broken job store"
}

test_no_libvirt() {
    refused 1 "$LAB_DIR/none" -c "qemu+unix:///session?socket=$LAB_DIR/none" \
        move vm1 --to "$LAB_DIR/ds2"
    refused 1 'cannot connect' -c 'nonsense:///x' move vm1 --to "$LAB_DIR/ds2"
    ok "libvirt not reachable"
}

# Two jobs never touch one disk: not of one store, nor of two.
test_second() {
    local job
    mover_start copying.started move vm1 --to "$LAB_DIR/ds2"
    mover_stands
    job=$(newest_job)
    jobs=$(all_jobs)
    refused 3 "cannot claim.*$job" move vm1 --to "$LAB_DIR/ds2" \
        --name second.raw
    refused 3 "stamp.*$job" --state "$LAB_DIR/home/other" move vm1 \
        --to "$LAB_DIR/ds2" --name second.raw
    refused 3 "$job|run" job resume "$job"
    mover_signal CONT
    mover_ends 30 0
    check_source vm1 vda "$LAB_DIR/ds2/vm1-vda.raw"
    check_clean vm1
    ok "a second move of the same disk"
}

lab_begin
mkdir "$LAB_DIR/ds3"
chown "$(lab run id -u)" "$LAB_DIR/ds3"
lab_guest_bare vm1 --disk size=64M,fill=4M
for one in ${TESTS:-names usage store full_store target kinds sources images \
    domain checkpoint broken_store no_libvirt second}; do
    test_$one
done
ok "$n refusals, nothing changed"
