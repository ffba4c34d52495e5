#!/usr/bin/env bash
# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The documents tell the truth: their examples run, the options they name
# exist, and the points of docs/testing.md are those of the code.
#
# A fenced block is run if its first line starts with `$ blockmig` or its fence
# says run=SCENE; of such a block the lines behind `$ ` are run. In the manual
# each example is run, .Dl or .Bd -literal; a comment before it, .\" run=SCENE,
# names the scene. exit=N is the status that the last command must end with.
# Scenes:
#   fresh        vm1 runs with its disks vda and vdb on /srv/slow
#   off          the same, shut off
#   moved        it was moved to /srv/fast, job 1a2b3c4d
#   running      job 1a2b3c4d moves it to /srv/fast, slowly
#   interrupted  blockmig was killed in the copy of job 1a2b3c4d
#   unproven     job 1a2b3c4d: blockmig and its guard were killed in the pause,
#                and someone else resumed the guest
#   held         the same, after a job resume
#   chain        vm1 has the restore points s1, s2 and s3, and runs
# fastpool is a libvirt pool at /srv/fast. Examples are commands, so what they
# print is not compared.
set -euo pipefail
. "$(dirname "$0")/common.bash"
. "$(dirname "$0")/mover.bash"
cd "$(dirname "$0")/../.."

documents=(README.md docs/*.md)
manual=docs/blockmig.1
name=vm1

# --- scenes ---

no_job() { [ "$(blockmig job list --json | jq length)" = 0 ]; }

end_running() {
    local id
    for id in $(blockmig job list --json | jq -r '.[] | select(.running) | .id'); do
        blockmig job cancel "$id" >/dev/null
        lab_wait 30 no_job || fail "job $id does not end"
    done
}

fresh() {
    end_running
    if [ -n "$(lab_virsh list --all --name)" ]; then
        [ "$(lab_virsh domstate "$name")" = "shut off" ] || off "$name"
        lab_virsh -q undefine "$name" --checkpoints-metadata \
            --snapshots-metadata
    fi
    # with what jobs that nobody ended have left
    find "$LAB_DIR"/ds1 "$LAB_DIR"/ds2 -mindepth 1 -delete
    rm -rf "$(state_dir)"
    lab_guest_bare "$name" --disk size=64M,fill=16M --disk size=16M
}

scene_fresh() { :; }

scene_off() { off "$name"; }

scene_moved() { move "$name" --to "$LAB_DIR/ds2"; }

scene_running() {
    move "$name" --to "$LAB_DIR/ds2" --bandwidth 1M --detach
}

scene_interrupted() {
    mover_start copying.started move "$name" --to "$LAB_DIR/ds2"
    mover_stands
    mover_signal KILL
    lab_wait 20 test -s "$LAB_DIR/mover.status" || fail "the mover lives"
}

scene_unproven() {
    mover_start switching.pivoted move "$name" --to "$LAB_DIR/ds2"
    mover_stands
    # shellcheck disable=SC2046
    kill -KILL $(guard_pid)
    mover_signal KILL
    lab_wait 20 test -s "$LAB_DIR/mover.status" || fail "the mover lives"
    lab_virsh -q resume "$name" >/dev/null
    lab_hmp_write "$name" vda 0x5a 1M 4k
}

scene_held() {
    scene_unproven
    expect 6 "cannot prove" blockmig job resume "$(newest_job)"
}

scene_chain() {
    local point
    for point in s1 s2 s3; do
        expect 0 '' blockmig snapshot create "$name" $point
        lab_hmp_write "$name" vda 0x5a 1M 64k
    done
}

# --- examples ---

# Each runnable block as: a line "@ FILE:LINE WORDS", then its lines.
blocks_of_markdown() {
    awk '/^ *```/ {
            if (inside) { inside = 0; next }
            inside = 1; first = 1; words = $0; marked = /run=/; next
        }
        inside {
            sub(/^ +/, "")
            if (first && (marked || /^\$ blockmig/)) {
                print "@ " FILENAME ":" FNR " " words
                wanted = 1
            } else if (first)
                wanted = 0
            first = 0
            if (!wanted) next
            if (more || /^\$ /) {
                more = /\\$/
                sub(/^\$ /, "")
                print
            }
        }' "$@"
}

blocks_of_manual() {
    awk '/^\.Sh / { examples = /EXAMPLES/ }
        !examples { next }
        /^\.\\" run=/ { words = $0; next }
        /^\.Dl / {
            print "@ " FILENAME ":" FNR " " words
            words = ""; sub(/^\.Dl /, ""); print
        }
        /^\.Bd -literal/ {
            print "@ " FILENAME ":" FNR " " words
            words = ""; inside = 1; next
        }
        /^\.Ed/ { inside = 0 }
        inside' "$1"
}

# The documents' names become the lab's.
translate() {
    sed -e "s,/srv/slow,$LAB_DIR/ds1,g" -e "s,/srv/fast,$LAB_DIR/ds2,g" \
        -e 's,1a2b3c4d,"$(newest_job)",g'
}

virsh() { lab_virsh "$@"; }

word() { sed -n "s/.* $1=\([a-z0-9]*\).*/\1/p" <<<"$2 "; }

run_block() {
    local head=$1 text=$2 place scene want status
    place=$(cut -d ' ' -f 2 <<<"$head")
    scene=$(word run "$head")
    want=$(word 'exit' "$head")
    fresh
    "scene_${scene:-fresh}"
    set +e
    (
        set -e
        eval "$(translate <<<"$text")"
    ) >"$LAB_DIR/example.out" 2>&1 </dev/null
    status=$?
    set -e
    [ "$status" = "${want:-0}" ] ||
        fail "$place: exit status $status, should be ${want:-0}: $text:" \
            "$(cat "$LAB_DIR/example.out")"
    ok "$place: ${scene:-fresh}: $(head -n 1 <<<"$text")"
}

run_blocks() {
    local line head='' text='' count=0
    while IFS= read -r line <&3; do
        if [[ $line == "@ "* ]]; then
            [ -z "$text" ] || run_block "$head" "$text"
            head=$line text='' count=$((count + 1))
        else
            text+=$line$'\n'
        fi
    done 3<"$1"
    [ -z "$text" ] || run_block "$head" "$text"
    [ "$count" -ge 15 ] || fail "only $count examples were found"
}

# --- options ---

# Every --option of the documents that is not behind another program's name.
options_of() {
    sed -e 's/`[^`]*\(virsh\|qemu-img\|nbdcopy\|tests\/\|systemd\|lab start\|lab define\) [^`]*`//g' \
        -e '/^ *\(\$ \)\{0,1\}\(virsh\|systemd-run\|tests\/\|lab_guest\)/d' \
        -e '/^ *--property=/d' "$@" |
        { grep -oE '(^|[^a-z-])--[a-z][a-z-]*' || true; } |
        sed 's/^[^-]*//' | sort -u
}

check_options() {
    local file option
    {
        "$B/blockmig" --long-options
        # hidden ones
        echo --long-options
        echo --commands
    } | sort -u >"$LAB_DIR/options"
    for file in "${documents[@]}" "$manual"; do
        for option in $(options_of "$file"); do
            grep -qx -e "$option" "$LAB_DIR/options" ||
                fail "$file names $option, which blockmig does not know"
        done
    done
    ok "all options that the documents name exist"
}

# --- points ---

points_of_code() {
    # each state is one, but for those of a job that does not begin or rests
    sed -n 's/^ *\[BM_STATE_[A-Z_]*\] = {\.name = "\([a-z-]*\)".*/\1/p' \
        blockmig/job/job-state.c |
        grep -vxE 'planned|preflight|held|needs-recovery|done|rolled-back'
    grep -rhoE --include='*.c' 'bm_failpoint\("[^"]+"\)' blockmig cli | sed 's/.*"\(.*\)".*/\1/'
}

check_points() {
    points_of_code | sort -u >"$LAB_DIR/points.code"
    sed -n 's/^| `\([a-z.-]*\)` |.*/\1/p' docs/testing.md | sort \
        >"$LAB_DIR/points.docs"
    cmp -s "$LAB_DIR/points.code" "$LAB_DIR/points.docs" ||
        fail "points of the code (<) and of docs/testing.md (>):" \
            "$(diff "$LAB_DIR/points.code" "$LAB_DIR/points.docs")"
    ok "docs/testing.md lists the $(wc -l <"$LAB_DIR/points.code") points"
}

# --- links ---

check_links() {
    local file link
    for file in "${documents[@]}"; do
        for link in $({ grep -oE '\]\([^)#:]+\)' "$file" || true; } |
            tr -d '()]'); do
            [ -e "$(dirname "$file")/$link" ] ||
                fail "$file: no such file: $link"
        done
    done
    # and the files of ours that they name
    for file in $(grep -ohE '(nbd|snapshot|blockmig|cli|tests|docs)/[a-z0-9/-]+\.[a-z1]+' \
        "${documents[@]}"); do
        [ -e "$file" ] || fail "the documents name $file, which is not there"
    done
    ok "what the documents link to and name exists"
}

# --- citations ---

# A comment cites only what is in the tree: documents that exist, and of
# docs/pitfalls.md numbers that are there. They are unique, in their order, and
# each names a test (that it exists check_links has seen).
check_citations() {
    local file number numbers sorted
    for file in $(grep -rhE --include='*.[ch]' --include='*.sh' \
        --include='*.bash' '^ *(/?\*|//|#)|/\*' nbd snapshot blockmig cli tests |
        grep -oE '\b[a-z/-]+\.md\b' | sort -u); do
        [ -e "$file" ] || [ -e "docs/$file" ] ||
            fail "a comment names $file, which is not there"
    done
    numbers=$(sed -n 's/^\*\*\(P[0-9]*\)\..*/\1/p' docs/pitfalls.md)
    sorted=$(sort -u -V <<<"$numbers")
    [ "$numbers" = "$sorted" ] ||
        fail "docs/pitfalls.md: a number stands twice, or out of order"
    for number in $(grep -rhoE --include='*.[ch]' --include='*.sh' \
        'pitfalls\.md( P[0-9]+,?)+' nbd snapshot blockmig cli tests |
        grep -oE 'P[0-9]+' | sort -u); do
        grep -qx "$number" <<<"$numbers" ||
            fail "a comment cites $number, which docs/pitfalls.md does not have"
    done
    lab_equal 'pitfalls that name no test' "$(awk -v RS= \
        '/^\*\*P[0-9]/ && !/Tests?:/ { print $1 }' docs/pitfalls.md)" ''
    ok "$(wc -l <<<"$numbers") pitfalls; the citations are true"
}

lab_begin
check_options
check_points
check_links
check_citations
lab_virsh -q pool-create-as fastpool dir --target "$LAB_DIR/ds2" >/dev/null
blocks_of_markdown "${documents[@]}" >"$LAB_DIR/blocks"
blocks_of_manual "$manual" >>"$LAB_DIR/blocks"
run_blocks "$LAB_DIR/blocks"
