#!/bin/bash
# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Jobs that an older blockmig left behind are ended by this one. A guest is
# brought to the point where the old job stood; then the store that the older
# blockmig wrote there (tests/stores) takes the place of our own, and `job
# resume` upgrades it and ends the job. After each the disk and its restore
# points hold what they held, and nothing of ours is left.
#
# In `make check` some by the seed, in `make check-long` all. ROWS="FORMAT/ROW
# ..." runs just those.
set -euo pipefail
BM_LONG=${BM_LONG:-0}
. "$(dirname "$0")/common.bash"
. "$(dirname "$0")/mover.bash"
. "$(dirname "$0")/snapshot.bash"
. "$(dirname "$0")/old-store.bash"

stores=$(cd "$(dirname "$0")/../stores" && pwd)

choose_rows() {
    # shellcheck disable=SC2046 # a list
    echo "${ROWS:-$(some 8 $(cd "$stores" && ls -d [0-9]*/*))}"
}

field() {
    lab run sqlite3 "$(state_dir)/jobs.sqlite" "SELECT $1 FROM job"
}

# Who only looks finds the job, and changes nothing.
looks() {
    local sum
    sum=$(sha256sum <"$(state_dir)/jobs.sqlite")
    lab_equal "$row: the state" "$(blockmig job list --json | jq -r '.[].state')" \
        "$(field state)"
    lab_equal "$row: the store" "$(sha256sum <"$(state_dir)/jobs.sqlite")" "$sum"
    lab_equal "$row: the format" "$(lab run sqlite3 \
        "$(state_dir)/jobs.sqlite" 'PRAGMA user_version')" "$format"
}

# Where it went, the images that are to be there, and no others.
check_row() {
    local state=$1 left
    case $kind:$state in
    create:done) model_keep new ;;
    revert*:done)
        model_keep before-s1
        model_back s1
        ;;
    esac
    check_model
    case $kind:$state in
    merge*:* | create:* | view:* | revert*:* | flatten:*) ;;
    *:done) [[ "$(active)" = "$LAB_DIR"/ds2/* ]] || fail "$row: it did not move" ;;
    *) lab_equal "$row: left on the target" "$(ls -A "$LAB_DIR/ds2")" '' ;;
    esac
    # the log of what ran detached stays, as that of every job
    left=$(find "$(state_dir)" -name "$job*" ! -name "$job.log")
    [ -z "$left" ] || fail "$row: left in the state directory: $left"
}

run_row() {
    local format=${2%%/*} status=0 state kind
    row=${2#*/} kind=${row%%.*}
    old_job "$row"
    put_store "$stores/$2"
    looks
    person
    blockmig job resume "$job" >"$LAB_DIR/resume.out" 2>&1 || status=$?
    state=$(field state)
    case $state:$status in
    done:0 | rolled-back:1) ;;
    *) fail "$row: job resume ended with $status: $(cat "$LAB_DIR/resume.out")" ;;
    esac
    check_row "$state"
    end_guest
    rm -rf "$(state_dir)" "$LAB_DIR"/ds?/old*
    echo "    $2: $state"
    row=''
}

begin_shard() {
    lab_begin
    model_begin
    lab_at_exit show
}

# Of a row that did not come to its end.
show() { [ -z "$row" ] || echo "row $row: $(mover_said)" >&2; }

row=''
rows=$(choose_rows)
# shellcheck disable=SC2086 # a list
in_shards $rows
ok "$(wc -w <<<"$rows") jobs of an older blockmig are ended (BM_SEED=${BM_SEED:-1})"
