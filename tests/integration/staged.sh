#!/bin/bash
# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The staged move: frozen, copied, proven, iterated, switched, settled, merged;
# by guests without a system, and by one that checks its own data.
set -euo pipefail
. "$(dirname "$0")/common.bash"
. "$(dirname "$0")/mover.bash"

size=64M

# staged DOMAIN OPTION...: by blockmig, which must end with 0
staged() {
    local name=$1
    shift
    move "$name" --strategy staged --to "$LAB_DIR/ds2" "$@"
}

# result FIELD: of the newest job
result() { blockmig job show "$(newest_job)" --json | jq -r ".$1"; }

guest() {
    lab_guest_bare "$@"
    lab_hmp_write "$1" vda 0x5a 3M 64k
}

# moved NAME FORMAT: the disk stands on its new image, which is sound, and its
# bytes are those that the guest sees; nothing of ours is left.
moved() {
    local name=$1 format=$2 new=$LAB_DIR/ds2/$1-vda.$2
    check_source "$name" vda "$new"
    check_format "$name" vda "$format"
    check_clean "$name"
    lab_hmp_read "$name" vda 0x5a 3M 64k
    lab_equal proven "$(result 'disks[0].proven')" true
}

# The digest in the report is that of the new image at the moment of the
# switch; this guest has not written since.
digest_holds() {
    local name=$1 format=$2
    off "$name"
    lab_equal "digest of $name" \
        "$(blockmig hash -f "$format" "$LAB_DIR/ds2/$name-vda.$format" |
            cut -d ' ' -f 1)" "$(result 'disks[0].digest_dest')"
}

test_formats() {
    local from to name n=0
    for from in raw qcow2; do
        for to in raw qcow2; do
            n=$((n + 1)) name=s$n
            guest $name --disk format=$from,size=$size,fill=8M
            staged $name --format $to
            moved $name $to
            [ $to = raw ] || lab run qemu-img check -U -q -f qcow2 \
                "$LAB_DIR/ds2/$name-vda.qcow2"
            digest_holds $name $to
        done
    done
    ok "raw and qcow2, each to each, with their digests"
}

tests=${PARTS:-formats}
lab_begin
for one in $tests; do
    "test_$one"
done
