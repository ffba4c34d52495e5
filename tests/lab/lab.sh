# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# The lab for test scripts: `. tests/lab/lab.sh`, then lab_begin.
#
#   lab_begin [--system]      a new lab in $LAB_DIR, ended with the script;
#                             returns 77 (skip) if --system is not possible
#   lab CMD...                tests/lab/lab CMD $LAB_DIR ...: lab kill-daemon
#   lab_guest_bare NAME [DEFINE-OPTION...]   defined and started
#   lab_guest_os NAME [DEFINE-OPTION...]     also: waits until it writes
#   lab_virsh ...             virsh of the lab
#   lab_tell NAME COMMAND     prints the guest's answer
#   lab_wait_line NAME REGEX SECONDS   a line of the guest's, printed after
#                             the last lab_mark NAME; prints the first one
#   lab_mark NAME             only what the guest prints from now on counts
#   lab_wait SECONDS CMD...   until CMD succeeds
#   lab_wait_state NAME "shut off" SECONDS
#   lab_verify NAME           the guest reads all back: wrong=0, records>0
#   lab_hmp_write NAME DISK PATTERN OFF LEN   a guest's write without a guest;
#                             DISK is vda or virtio-disk0; not with iothread
#   lab_hmp_read NAME DISK PATTERN OFF LEN    fails unless all is PATTERN
#   lab_watch NAME            records in $LAB_DIR/home/NAME.watch until the end
#   lab_now                   its clock
#   lab_measure NAME FROM TO  see measure.c
#   lab_value KEY             of lab_measure's output, from stdin
#   blockmig ...              $B/blockmig in the lab
#   ok TEXT, fail TEXT, skip TEXT, lab_equal WHAT GOT WANT
#   lab_at_exit CMD...        cleanup, last come first served
#
# All waiting has a deadline. A failing test shows the guests' last lines.

LAB_HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
B=${B:-$(cd "$LAB_HERE/../.." && pwd)/build}
LAB_DIR=''
lab_cleanups=()
lab_state=() # root's would be the machine's, /var/lib/blockmig
declare -A lab_marks=()

ok() { echo "ok: $*"; }

fail() {
    echo "FAIL: $*" >&2
    exit 1
}

skip() {
    echo "skip: $*"
    exit 77
}

lab_equal() {
    [ "$2" = "$3" ] || fail "$1: is '$2', should be '$3'"
}

lab() {
    local command=$1
    shift
    LAB_OWNER=${LAB_OWNER:-$$} "$LAB_HERE/lab" "$command" "$LAB_DIR" "$@"
}

lab_at_exit() { lab_cleanups=("$(printf '%q ' "$@")" "${lab_cleanups[@]}"); }

lab_end() {
    local status=$? cleanup
    trap - EXIT
    trap '' INT TERM
    [ $status = 0 ] || [ $status = 77 ] || lab_show
    for cleanup in "${lab_cleanups[@]}"; do
        eval "$cleanup" || status=1
    done
    exit $status
}

lab_show() {
    local file
    [ -n "$LAB_DIR" ] && [ -d "$LAB_DIR" ] || return 0
    for file in "$LAB_DIR"/*.serial; do
        [ -s "$file" ] || continue
        echo "--- the end of $(basename "$file")"
        grep -av '^T ' "$file" | cut -c 1-160 | tail -n 15
    done >&2
    [ -z "${LAB_KEEP:-}" ] || {
        echo "--- LAB_KEEP: $LAB_DIR stays; end it with tests/lab/lab stop" >&2
        exit 1
    }
}

# O_DIRECT needs a real file system; sockets need a short name.
lab_parent() {
    local parent
    for parent in "${TMPDIR:-/tmp}" /tmp /var/tmp; do
        [ ${#parent} -le 24 ] && [ -w "$parent" ] &&
            [ "$(stat -f -c %T "$parent")" != tmpfs ] || continue
        echo "$parent"
        return
    done
    fail "no folder for a lab: all are tmpfs"
}

lab_begin() {
    [ $# = 0 ] || [ "$(id -u)" = 0 ] || skip "a system daemon needs root"
    LAB_DIR=$(mktemp -d "$(lab_parent)/bm.XXXXXX")
    trap lab_end EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    lab_at_exit lab_stop "$LAB_DIR"
    [ $# = 0 ] || lab_state=(--state "$LAB_DIR/state/blockmig")
    lab start "$@"
}

# Before `lab start` is through there may be nothing but the folder.
lab_stop() {
    if [ -f "$1/.lab" ]; then
        "$LAB_HERE/lab" stop "$1"
    elif [ -d "$1" ]; then
        rmdir "$1"
    fi
}

lab_wait() {
    local seconds=$1 deadline
    shift
    deadline=$((SECONDS + seconds + 1))
    until "$@"; do
        [ $SECONDS -lt $deadline ] || return 1
        sleep 0.05
    done
}

lab_guest_bare() {
    lab define "$@"
    lab_virsh -q start "$1" >/dev/null
}

lab_guest_os() {
    local name=$1
    shift
    lab define "$name" --os "$@"
    lab_mark "$name"
    lab_virsh -q start "$name" >/dev/null
    lab_wait_line "$name" '^S ' 60 >/dev/null
}

lab_virsh() { lab run virsh "$@"; }

lab_tell() { lab tell "$@"; }

lab_mark() {
    lab_marks[$1]=$(stat -c %s "$LAB_DIR/$1.serial")
}

# Whole ones only: what the guest has not ended yet goes with the marker.
lab_lines() {
    {
        tail -c "+$((${lab_marks[$1]:-0} + 1))" "$LAB_DIR/$1.serial"
        echo end
    } | sed '$d; s/\r//g'
}

lab_line() { lab_lines "$1" | grep -aE -m 1 -- "$2"; }

lab_wait_line() {
    lab_wait "$3" lab_line "$1" "$2" || fail "$1 did not print $2 in $3 s"
}

lab_is_state() { [ "$(lab_virsh domstate "$1" | head -n 1)" = "$2" ]; }

lab_wait_state() {
    lab_wait "$3" lab_is_state "$1" "$2" || fail "$1 is not $2 after $3 s"
}

lab_verify() {
    local answer
    answer=$(lab_tell "$1" verify) || fail "$1 does not verify"
    [[ $answer =~ ^V\ records=([0-9]+)\ wrong=([0-9]+)$ ]] ||
        fail "$1 answers: $answer"
    [ "${BASH_REMATCH[2]}" = 0 ] && [ "${BASH_REMATCH[1]}" -gt 0 ] ||
        fail "$1: $answer"
    echo "$1: $answer"
}

# The qdev of a disk, as libvirt calls it: virtio-disk0 for vda.
lab_qdev() {
    local letter=${1#vd} letters=abcdefgh
    [ "$letter" != "$1" ] || { echo "$1" && return; }
    letters=${letters%%"$letter"*}
    echo "virtio-disk${#letters}"
}

# qemu-io says how it went to QEMU's own log, not to the monitor.
lab_hmp_io() {
    local name=$1 log said qdev before
    qdev=$(lab_qdev "$2")
    log=$LAB_DIR/cache/libvirt/qemu/log/$name.log
    [ -f "$log" ] || log=$LAB_DIR/sys/log/qemu/$name.log
    before=$(stat -c %s "$log")
    said=$(lab_virsh qemu-monitor-command "$name" --hmp \
        "qemu-io -d /machine/peripheral/$qdev/virtio-backend \"$3\"")
    [ -z "${said//[[:space:]]/}" ] || fail "$name: $3: $said"
    lab_wait 5 lab_hmp_said "$log" "$before" || fail "$name: $3: no answer"
    ! grep -q failed <<<"$lab_hmp_answer" || {
        echo "$name: $3: $lab_hmp_answer" >&2
        return 1
    }
}

lab_hmp_said() {
    lab_hmp_answer=$(tail -c "+$(($2 + 1))" "$1")
    grep -qE 'ops/sec|failed' <<<"$lab_hmp_answer"
}

lab_hmp_write() { lab_hmp_io "$1" "$2" "write -P $3 $4 $5"; }

lab_hmp_read() { lab_hmp_io "$1" "$2" "read -P $3 $4 $5"; }

# As root before the guests in the queue: its times are those of the host.
lab_watch() {
    local first=() name=$1 out=$LAB_DIR/home/$1.watch
    [ "$(id -u)" != 0 ] || first=(nice -n -15)
    lab_tool watch
    LAB_OWNER=$$ "${first[@]}" "$LAB_HERE/lab" run "$LAB_DIR" \
        "$LAB_DIR/bin/watch" "$(lab_uri)" "$name" "$LAB_DIR/$name.serial" \
        "$out" </dev/null &
    # the lab ends it; bash shall not report that
    disown
    lab_wait 20 grep -qs 'E state' "$out" ||
        fail "watch of $name does not start"
}

lab_uri() { lab run sh -c 'echo "$LIBVIRT_DEFAULT_URI"'; }

lab_now() { "$B/lab/measure" --now; }

lab_measure() { "$B/lab/measure" "$LAB_DIR/home/$1.watch" "$2" "$3"; }

lab_value() { sed -n "s/^$1=//p"; }

# Copies a program to where the lab's user can reach it.
lab_program() {
    local to=$LAB_DIR/bin/${1##*/}
    [ -x "$1" ] || fail "$1 is missing: run make"
    if [ "$1" -nt "$to" ]; then
        cp "$1" "$to.$BASHPID"
        chmod 755 "$to.$BASHPID"
        mv "$to.$BASHPID" "$to"
    fi
}

lab_tool() { lab_program "$B/lab/$1"; }

blockmig() {
    lab_program "$B/blockmig"
    lab run "$LAB_DIR/bin/blockmig" "${lab_state[@]}" "$@"
}
