# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# What the integration tests share: `. tests/integration/common.bash`.

# shellcheck source=tests/lab/lab.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lab/lab.sh"

# expect STATUS TEXT CMD...: the command ends with STATUS and says TEXT (a
# regular expression) on its one line of error; the output stays in $output.
output=''
expect() {
    local want=$1 text=$2 status=0
    shift 2
    output=$("$@" 2>&1) || status=$?
    [ "$status" = "$want" ] ||
        fail "exit status $status, should be $want: $*: $output"
    [[ "$output" =~ $text ]] || fail "no '$text' in the output of $*: $output"
}

# The image that a disk stands on, live or (--inactive) saved.
disk_source() {
    local name=$1 target=$2
    shift 2
    lab_virsh domblklist "$name" "$@" | awk -v t="$target" '$1 == t { print $2 }'
}

# Live and saved XML of a disk name the file, which exists.
check_source() {
    local name=$1 target=$2 path=$3
    lab_equal "live XML of $name $target" "$(disk_source "$name" "$target")" "$path"
    lab_equal "saved XML of $name $target" \
        "$(disk_source "$name" "$target" --inactive)" "$path"
    [ -e "$path" ] || fail "$path does not exist"
}

# Nothing of ours is left: no overlay, no stamp, no lock, no guard, no job.
check_clean() {
    local name=$1 left
    left=$(find "$LAB_DIR"/ds* -name '.blockmig-*')
    [ -z "$left" ] || fail "files left: $left"
    if lab_virsh metadata "$name" --uri https://blockmig.org/job/1 >/dev/null 2>&1; then
        fail "the stamp is still on $name"
    fi
    left=$(find "$(state_dir)" -name '*.guard' -o -name '*.unclean' -o -name '*.sock')
    [ -z "$left" ] || fail "left in the state directory: $left"
    lab_equal "jobs that are not finished" \
        "$(blockmig job list --json | jq length)" 0
    left=$(lab_virsh dumpxml "$name" | grep -c '<mirror' || true)
    lab_equal "block jobs of $name" "$left" 0
}

# After a clean end: no image but those that domains name and kept sources.
state_dir() { echo "$LAB_DIR/state/blockmig"; }

# A picture of all that a refused command must not change. libvirt leaves an
# empty <metadata/> where there was a stamp.
picture() {
    (
        cd "$LAB_DIR"
        find ds1 ds2 -printf '%p %s %i %m\n' | sort
        for name in "$@"; do
            lab_virsh dumpxml "$name" --inactive | sed '/<metadata\/>/d'
            lab_virsh domblklist "$name"
        done
    )
}

# A backup of vda that runs until `virsh domjobabort`.
pull_backup() {
    cat >"$LAB_DIR/backup.xml" <<-XML
	<domainbackup mode='pull'><server transport='unix' socket='$LAB_DIR/run/b'/>
	<disks><disk name='vda' backup='yes' type='file'>
	<scratch file='$LAB_DIR/ds1/$1.scratch'/></disk></disks></domainbackup>
	XML
    lab_virsh backup-begin "$1" "$LAB_DIR/backup.xml" >/dev/null
}
