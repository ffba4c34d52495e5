# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# What the benches of moves share: a guest's disk that goes to and fro between
# two datastores, by one way after the other; what the host and the guest saw
# of each run in $LAB_DIR/WAY.runs, a key=value a line; medians, and bounds.
# Sourced after common.bash. The ways:
#   virsh   virsh blockcopy --wait --pivot: the yardstick
#   none    blockmig move --strategy blockcopy --proof none
#   full    the same with --proof full: what the proof adds
#   staged  blockmig move as it is: staged, proven, yielding to the guest
#   hasty   the same with --guest-latency off
#   pull    blockmig move --strategy pull, into a qcow2; the others make raw

name=vm1

# Each prints a line "freezing" at the freeze, if it has one.
way_virsh() {
    lab_virsh -q blockcopy "$name" vda "$1" --format raw --transient-job \
        --wait --pivot >"$LAB_DIR/move.out"
}

way_blockmig() {
    local dest=$1
    shift
    blockmig move "$name" --to "${dest%/*}" "$@" --json |
        tee "$LAB_DIR/move.out" | grep --line-buffered -o '"phase":"freezing"' ||
        [ "${PIPESTATUS[*]}" = '0 0 1' ]
}

way_raw() { way_blockmig "$@" --format raw; }

way_none() { way_raw "$1" --strategy blockcopy --proof none; }

way_full() { way_raw "$1" --strategy blockcopy --proof full; }

way_staged() { way_raw "$1" --strategy staged; }

way_hasty() { way_raw "$1" --strategy staged --guest-latency off; }

way_pull() { way_blockmig "$1" --strategy pull --name "${1##*/}"; }

# other PATH: the same disk in the other datastore
other() {
    case $1 in
    */ds1/*) echo "${1/\/ds1\///ds2/}" ;;
    *) echo "${1/\/ds2\///ds1/}" ;;
    esac
}

seconds() { awk "BEGIN { print ($2 - $1) / 1000 }"; }

# Moves once by $1.
one_run() {
    local way=$1 from dest begin end frozen line
    from=$(disk_source "$name" vda)
    dest=$(other "$from")
    begin=$(lab_now)
    frozen=$begin
    while read -r line; do
        [ -z "$line" ] || frozen=$(lab_now)
    done < <("way_$way" "$dest" && echo ended >"$LAB_DIR/way.ended")
    end=$(lab_now)
    rm "$LAB_DIR/way.ended" || fail "$way: $(tail -n 3 "$LAB_DIR/move.out")"
    # the guest's second in which the move ended is of it
    sleep 2
    check_source "$name" vda "$dest"
    rm "$from"
    sync -f "$dest"
    {
        echo "move_s=$(seconds "$begin" "$end")"
        [ "$way" = virsh ] || jq -r 'select(.event == "result") |
            "copy=\(.timings.copy_ms / 1000)", "prove=\(.timings.prove_ms / 1000)"' \
            "$LAB_DIR/move.out"
        [ ! -e "$LAB_DIR/home/$name.watch" ] ||
            lab_measure "$name" "$frozen" "$(awk "BEGIN { print $end + 1000 }")"
    } >>"$LAB_DIR/$way.runs"
}

# alone SECONDS: the guest left to itself, as a way of its own
alone() {
    local begin
    begin=$(lab_now)
    sleep "$1"
    lab_measure "$name" "$begin" "$(lab_now)" >>"$LAB_DIR/alone.runs"
}

# rounds N WAYS BEFORE...: each way N times, first, second and last as often;
# the command BEFORE at the beginning of each round
rounds() {
    local n=$1 order=$2 run way
    shift 2
    for ((run = 1; run <= n; run++)); do
        "$@"
        for way in $order; do
            one_run "$way"
            echo "  run $run $way: $(lab_value move_s <"$LAB_DIR/$way.runs" |
                tail -n 1) s" >&2
        done
        [[ $order != *' '* ]] || order="${order#* } ${order%% *}"
    done
}

# --- the table ---

# median WAY KEY: over the runs
median() {
    lab_value "$2" <"$LAB_DIR/$1.runs" | sort -g | awk '{ v[NR] = $1 }
        END { if (!NR) print "-"
              else print (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'
}

# range WAY KEY
range() {
    lab_value "$2" <"$LAB_DIR/$1.runs" | sort -g |
        awk 'NR == 1 { low = $1 } END { if (NR) printf "%.2f-%.2f", low, $1
                                        else print "-" }'
}

# scaled VALUE DIVISOR DECIMALS
scaled() {
    [ "$1" != - ] || { echo - && return; }
    awk -v value="$1" -v by="$2" -v n="$3" 'BEGIN { printf "%.*f\n", n, value / by }'
}

columns() {
    printf '%-31s' "$1"
    shift
    printf ' %10s' "$@"
    echo
}

# row WAYS LABEL KEY DIVISOR DECIMALS
row() {
    local way cells=()
    for way in $1; do
        cells+=("$(scaled "$(median "$way" "$3")" "$4" "$5")")
    done
    columns "$2" "${cells[@]}"
}

# times WAYS
times() {
    local way ranges=()
    for way in $1; do
        ranges+=("$(range "$way" move_s)")
    done
    # shellcheck disable=SC2086
    columns "median of $runs runs" $1
    row "$1" "move, s" move_s 1 2
    columns "  shortest-longest, s" "${ranges[@]}"
    row "$1" "  of it the copy, s" copy 1 2
    row "$1" "  of it the proof, s" prove 1 2
}

# table WAYS
table() {
    times "$1"
    row "$1" "guest p50, ms" p50_us 1000 1
    row "$1" "guest p99, ms" p99_us 1000 1
    row "$1" "  in the worst second, ms" worst_second_p99_us 1000 1
    row "$1" "guest worst operation, ms" max_us 1000 0
    row "$1" "worst stall, host clock, ms" worst_stall_ms 1 0
    row "$1" "all pauses, host clock, ms" pause_total_ms 1 0
}

# --- bounds ---

missed=0

# within LABEL VALUE BOUND: at most
within() {
    local verdict=held
    awk "BEGIN { exit !($2 <= $3) }" || { verdict=MISSED && missed=1; }
    printf '  %-46s %8.2f  at most %7.2f  %s\n' "$1" "$2" "$3" "$verdict"
}

quotient() { awk "BEGIN { print $1 / $2 }"; }

wrong() { cat "$LAB_DIR"/*.runs | lab_value "$1" | awk '{ n += $1 } END { print n + 0 }'; }

# No run harmed the guest, and no bound was missed.
bench_end() {
    lab_equal "records wrong in all runs" "$(wrong wrong)" 0
    lab_equal "I/O errors in all runs" "$(wrong ioerrors)" 0
    lab_verify "$name"
    [ "$missed" = 0 ] || fail "a bound was missed"
}

load() { echo "load $(cut -d ' ' -f 1-3 /proc/loadavg)"; }
