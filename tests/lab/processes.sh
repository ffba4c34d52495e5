# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# A lab's processes, and their end. Sourced by `lab`.
#
# A process is the lab's when the folder is in its command line (libvirtd,
# QEMU) or in the environment it started with (what `lab run` starts, and all
# its children), or when libvirtd keeps a pid file of it. Our own ancestors
# are not: a test that names the folder may stop its lab.

cmdline_of() {
    { tr '\0' ' ' <"/proc/$1/cmdline"; } 2>/dev/null || true
}

parent_of() {
    local stat
    { stat=$(cat "/proc/$1/stat"); } 2>/dev/null || return 1
    stat=${stat##*) }
    # shellcheck disable=SC2086
    set -- $stat
    echo "$2"
}

# Is the process $1 a child, grandchild, ... of $2, or $2 itself?
descends() {
    local pid=$1
    while [ "$pid" -gt 1 ]; do
        [ "$pid" != "$2" ] || return 0
        pid=$(parent_of "$pid") || return 1
    done
    return 1
}

lab_pids() {
    local pattern pid file self=$$
    pattern=$(printf '%s' "$lab" | sed 's/[^A-Za-z0-9/_-]/\\&/g')
    for pid in $( (grep -lazE "$pattern([^A-Za-z0-9._-]|\$)" \
        /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null || true) |
        cut -d / -f 3 | sort -nu) $(pid_files); do
        process_birth "$pid" >/dev/null || continue
        ! descends "$pid" $self || continue
        ! descends $self "$pid" || continue
        echo "$pid"
    done
}

# A system daemon's guest names no folder of the lab if it has no disk there.
pid_files() {
    local file pid
    for file in "$lab"/sys/run/qemu/*.pid; do
        pid=$(cat "$file" 2>/dev/null) || continue
        [[ $(cmdline_of "$pid") != *qemu* ]] || echo "$pid"
    done
}

# Stops everything first, so that nothing starts anew behind our back.
lab_kill_all() {
    local pids
    for _ in {1..100}; do
        pids=$(lab_pids)
        [ -n "$pids" ] || return 0
        # a pid may be gone by now; the next round looks again
        # shellcheck disable=SC2086
        kill -KILL $pids 2>/dev/null || true
        sleep 0.02
    done
    die "$lab: do not end: $(echo "$pids" | tr '\n' ' ')"
}

# A small datastore that a killed test left mounted, the innermost first.
lab_unmount() {
    local place
    for place in $(awk -v lab="$lab/" 'index($2, lab) == 1 { print $2 }' \
        /proc/mounts | sort -r); do
        umount "$place" 2>/dev/null || fusermount3 -u -z "$place"
    done
}

lab_stop() {
    [ -e "$lab" ] || return 0
    lab_load
    lab_kill_all
    lab_unmount
    # the mark goes last: an interrupted stop can be repeated
    find "$lab" -mindepth 1 -maxdepth 1 ! -name .lab -exec rm -rf {} +
    rm -f "$lab/.lab"
    rmdir "$lab"
}

# Of two that reap one lab the first stops it, and the other finds nothing. The
# mark is read by the open file, as an owner may be stopping its lab just now.
lab_reap_one() {
    local lock
    exec {lock}<"$1" || return 0
    flock "$lock"
    lab_owner='' lab_birth=''
    # shellcheck source=/dev/null
    . "/dev/fd/$lock"
    if [ -n "$lab_owner" ] && [ -f "$1" ] &&
        [ "$(process_birth "$lab_owner" || true)" != "$lab_birth" ]; then
        lab=$(dirname "$(realpath "$1")")
        lab_load
        echo "lab: reaping $lab, its owner $lab_owner is gone"
        lab_stop
    fi
    exec {lock}<&-
}

lab_reap() {
    local parent mark parents=("$@")
    [ $# -ge 1 ] || parents=("${TMPDIR:-/tmp}" /tmp /var/tmp)
    for parent in "${parents[@]}"; do
        for mark in "$parent"/*/.lab; do
            [ ! -f "$mark" ] || [ ! -O "$mark" ] || lab_reap_one "$mark"
        done
    done
}

lab_qemu_pid() {
    local name=$1 pid
    lab_load
    for pid in $(lab_pids); do
        [[ $(cmdline_of "$pid") != *" -name guest=$name,"* ]] || {
            echo "$pid"
            return
        }
    done
    die "$name does not run"
}
