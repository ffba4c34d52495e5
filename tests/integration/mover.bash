# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# A blockmig in the background that stops itself at a point (blockmig/job/failpoint.h)
# and what a guest without a system is good for: its disk is written and read
# through QEMU's monitor. Sourced after common.bash.

# mover_start POINT ARGS...: its output in $LAB_DIR/mover.out, .err
mover_start() {
    local point=$1
    shift
    rm -f "$LAB_DIR/mover.status"
    # what the last one said must not be taken for this one's words
    : >"$LAB_DIR/mover.out"
    : >"$LAB_DIR/mover.err"
    lab_program "$B/blockmig"
    (
        status=0
        lab run env BLOCKMIG_STOP_AT="$point" \
            BLOCKMIG_CALL_MS="${CALL_MS:-4000}" "$LAB_DIR/bin/blockmig" \
            "${lab_state[@]}" "$@" >"$LAB_DIR/mover.out" \
            2>"$LAB_DIR/mover.err" || status=$?
        echo "$status" >"$LAB_DIR/mover.status"
    ) &
    disown
}

# The process that moves; its guard has another name.
mover_pid() {
    local pid
    for pid in $(pgrep -f "^$LAB_DIR/bin/blockmig .*(move|resume|snapshot) ?"); do
        if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = blockmig ]; then
            echo "$pid"
            return
        fi
    done
    return 1
}

guard_pid() {
    local pid
    for pid in $(pgrep -f "^$LAB_DIR/bin/blockmig .*(move|resume|snapshot) ?"); do
        [ "$(cat "/proc/$pid/comm" 2>/dev/null)" != blockmig-guard ] || echo "$pid"
    done
}

mover_is_stopped() {
    local pid
    pid=$(mover_pid) && grep -q '^State:.T' "/proc/$pid/status" 2>/dev/null
}

# Until it stands at its point.
mover_stands() {
    lab_wait 300 mover_is_stopped ||
        fail "the mover never came there: $(mover_said)"
}

mover_said() { cat "$LAB_DIR/mover.out" "$LAB_DIR/mover.err"; }

mover_signal() {
    local pid
    pid=$(mover_pid) || fail "no mover: $(mover_said)"
    kill "-$1" "$pid"
}

# From its point; where it has ended meanwhile, good.
mover_goes_on() {
    local pid
    pid=$(mover_pid) || return 0
    kill -CONT "$pid" 2>/dev/null || ! kill -0 "$pid" 2>/dev/null ||
        fail "the mover cannot be let go on: $(mover_said)"
}

# mover_ends SECONDS STATUS [TEXT]: it ends so, and says TEXT.
mover_ends() {
    local text=${3:-} status
    lab_wait "$1" test -s "$LAB_DIR/mover.status" ||
        fail "the mover did not end within $1 s: $(mover_said)"
    status=$(cat "$LAB_DIR/mover.status")
    [ "$status" = "$2" ] ||
        fail "the mover ended with $status, not $2: $(mover_said)"
    [ -z "$text" ] || [[ "$(mover_said)" =~ $text ]] ||
        fail "the mover did not say '$text': $(mover_said)"
}

# The newest job's ID.
newest_job() {
    blockmig job list --all --json |
        jq -r 'sort_by(.created_ms) | last | .id // empty'
}

# result FIELD: of the newest job
result() { blockmig job show "$(newest_job)" --json | jq -rc ".$1"; }

is_settled() { [ -n "$(newest_job)" ] && [ "$(result state)" = settled ]; }

# job_is ID FIELD VALUE
job_is() {
    lab_equal "$2 of job $1" \
        "$(blockmig job show "$1" --json | jq -r ".$2")" "$3"
}

in_phase() { grep -q "^[0-9a-f]*: $1" "$LAB_DIR/mover.out"; }

# move DOMAIN ...: by blockmig, which must end with 0; what it says is $output
move() { expect 0 '' blockmig move "$@"; }

# An attribute or text of a disk in the XML: disk_xpath NAME TARGET XPATH
# [--inactive]
disk_xpath() {
    local name=$1 target=$2 xpath=$3
    shift 3
    lab_virsh dumpxml "$name" "$@" | xmllint --xpath \
        "string(//disk[target/@dev='$target']/$xpath)" -
}

# check_format NAME TARGET FORMAT: live and saved
check_format() {
    lab_equal "live format of $1 $2" "$(disk_xpath "$1" "$2" driver/@type)" "$3"
    lab_equal "saved format of $1 $2" \
        "$(disk_xpath "$1" "$2" driver/@type --inactive)" "$3"
}

off() { lab_virsh -q destroy "$1" >/dev/null; }

# same_content FORMAT OLD FORMAT NEW: and the new one is sound
same_content() {
    lab run qemu-img compare -f "$1" -F "$3" "$2" "$4" >"$LAB_DIR/compare.out" \
        2>&1 || fail "$2 and $4: $(cat "$LAB_DIR/compare.out")"
    [ "$3" = raw ] || lab run qemu-img check -q -f "$3" "$4" ||
        fail "qemu-img check of $4"
}

# To end a guest takes over a second, whatever it is: all at once, and what
# wants them shut off after that. later CMD...
afterwards=()
later() { afterwards+=("$(printf '%q ' "$@")"); }

all_off() {
    local name one pids=()
    for name in $(lab_virsh list --name); do
        off "$name" &
        pids+=($!)
    done
    [ ${#pids[@]} = 0 ] || wait "${pids[@]}"
    for one in "${afterwards[@]}"; do
        eval "$one"
    done
    afterwards=()
}

# A small file system, $small; fails where there is no loop device.
mount_small() {
    [ "$(id -u)" = 0 ] || return 1
    small=$LAB_DIR/ds3
    truncate -s 768M "$LAB_DIR/small.img"
    mkfs.ext4 -q -m 0 "$LAB_DIR/small.img"
    mkdir "$small"
    mount -o loop "$LAB_DIR/small.img" "$small" || return 1
    lab_at_exit umount "$small"
    # the guests first, whose images are there
    lab_at_exit all_off
    chown "$(lab run id -u)" "$small"
}

free() { stat -f -c '%a %S' "$small" | awk '{ print $1 * $2 }'; }

# leave BYTES: somebody else takes the room
leave() {
    fallocate -l $(($(free) - $(numfmt --from=iec "$1"))) "$small/foreign"
}

ds1() { echo "$LAB_DIR/ds1/$1"; }
ds2() { echo "$LAB_DIR/ds2/$1"; }

# keeps_write NAME TARGET: what was written as 0x99 at 12M, 64k of it
keeps_write() {
    lab_is_state "$1" running || lab_virsh -q start "$1" >/dev/null
    lab_hmp_read "$1" "$2" 0x99 12M 64k || fail "$1: a write is lost"
}

gone() { [ ! -e "$1" ] || fail "$1 is still there"; }
there() { [ -e "$1" ] || fail "$1 is gone"; }

image() { lab run qemu-img create -q "$@"; }

# --- many rows ---

# shard K N ROW...: every Nth of them, in a lab of its own (begin_shard).
shard() {
    local k=$1 of=$2 number=0 one
    shift 2
    begin_shard
    for one; do
        number=$((number + 1))
        [ $((number % of)) != "$k" ] || run_row $number "$one"
    done
}

# in_shards ROW...: `run_row NUMBER ROW` for each; in `make check-long` by three
# labs, as a row mostly waits for its guest.
in_shards() {
    local pids=() pid k
    if [ "$BM_LONG" = 0 ]; then
        shard 0 1 "$@"
        return
    fi
    for k in 0 1 2; do
        (shard $k 3 "$@") &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do
        wait "$pid"
    done
}
