# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# Commands to the guest, by its second serial port. Sourced by `lab`.
#
# A command is `#TAG words`, its answer `#TAG words`: so an answer that comes
# after we gave up is not taken for that of the next command. LAB_TELL_SECONDS
# (default 60) is the deadline.

lab_tell() {
    local name=$1 socket=$lab/run/$1.ctl deadline tag=$$.$RANDOM line left
    shift
    lab_load
    deadline=$((SECONDS + ${LAB_TELL_SECONDS:-60}))
    [ -S "$socket" ] || die "$name: no control port, does it run?"
    coproc port { exec socat - "UNIX-CONNECT:$socket"; }
    # shellcheck disable=SC2154
    local pid=$port_PID in=${port[0]} out=${port[1]}
    echo "#$tag $*" >&"$out"
    while left=$((deadline - SECONDS)) && [ $left -gt 0 ]; do
        IFS= read -r -t $left -u "$in" line || break
        [[ $line != *"#$tag "* ]] || {
            line=${line##*"#$tag "}
            echo "${line%$'\r'}"
            kill "$pid"
            return 0
        }
    done
    kill "$pid" 2>/dev/null || true
    die "$name: no answer to '$*'"
}
