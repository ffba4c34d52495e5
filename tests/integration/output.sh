#!/bin/bash
# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What blockmig says: the JSON of a move and its last object, a dry run that
# changes nothing, a job in the background, and the commands that look at jobs.
set -euo pipefail
. "$(dirname "$0")/common.bash"
. "$(dirname "$0")/mover.bash"

# The digest of docs/pitfalls.md P80, by other means: SHA-256 over the SHA-256
# of each block of 64 KiB, then the length as LE64.
digest_of() {
    local file=$1 bytes
    bytes=$(stat -c %s "$file")
    {
        split -b 65536 --filter='sha256sum | cut -c 1-64' "$file" | xxd -r -p
        printf '%016x' "$bytes" | fold -w 2 | tac | tr -d '\n' | xxd -r -p
    } | sha256sum | cut -c 1-64
}

# The reference agrees with the known answer of docs/pitfalls.md P80.
test_reference() {
    printf hello >"$LAB_DIR/hello"
    lab_equal "digest of hello" "$(digest_of "$LAB_DIR/hello")" \
        337355feb53a5309d5aba92796223c2c84ffab930e706c01fef573a2722545e6
}

field() { jq -r "$1" <<<"$result"; }

test_json() {
    local result job old=$LAB_DIR/ds1/j1-vda.raw
    lab_guest_bare j1 --disk size=8M,fill=5M
    lab_hmp_write j1 vda 0x5a 6M 3k
    expect 0 '' blockmig move j1 --to "$LAB_DIR/ds2" --json
    jq -e . <<<"$output" >/dev/null || fail "not JSON: $output"
    jq -es 'all(.[]; has("event") and has("job") and has("time"))' \
        <<<"$output" >/dev/null || fail "an object lacks a member: $output"
    jq -es '[.[] | select(.event == "progress")] | length > 0 and
        all(.[]; has("phase") and has("bytes_done") and has("bytes_total")
            and has("rate"))' <<<"$output" >/dev/null ||
        fail "progress: $output"
    lab_equal "result objects" \
        "$(jq -s '[.[] | select(.event == "result")] | length' <<<"$output")" 1
    result=$(tail -n 1 <<<"$output")
    job=$(field .job)
    lab_equal "the last object" "$(field .event)" result
    lab_equal exit_status "$(field .exit_status)" 0
    lab_equal state "$(field .state)" 'done'
    lab_equal error "$(field .error)" null
    lab_equal "digest of the source" "$(field '.disks[0].digest_source')" \
        "$(digest_of "$old")"
    lab_equal "digest of the target" "$(field '.disks[0].digest_dest')" \
        "$(digest_of "$old")"
    lab_equal proven "$(field '.disks[0].proven')" true
    lab_equal proof_bytes "$(field '.disks[0].proof_bytes')" 8388608
    lab_equal different "$(field '.disks[0].proof_different')" 0
    lab_equal pauses "$(field .pauses.count)" 1
    jq -e '.pauses.longest_ms > 0 and .pauses.longest_ms <= .pauses.total_ms
        and .timings.total_ms > 0' <<<"$result" >/dev/null ||
        fail "measures: $result"
    lab_equal kept "$(field '.kept | join(" ")')" "$old"

    # what the store tells later is the same
    job_is "$job" state 'done'
    lab_equal "events of $job" "$(blockmig job events "$job" --json |
        jq -r 'map(.phase) | unique | contains(["switching", "done"])')" true
    blockmig job events "$job" | grep -q 'Z  switching ' || fail "job events"
    blockmig job show "$job" | grep -q "^ *kept $old;" || fail "job show"
    ok "--json"
}

# A move that is refused or fails has a result object too.
test_json_refused() {
    expect 3 '"event":"result".*"exit_status":3.*no disk vdx' \
        blockmig move j1 vdx --to "$LAB_DIR/ds2" --json
    ok "--json of a refusal"
}

test_dry_run() {
    local before store
    lab_guest_bare y1 --disk format=qcow2,size=64M,fill=32M
    store=$LAB_DIR/state2
    before=$(picture y1)
    expect 0 'refused|ok' blockmig --state "$store" move y1 \
        --to "$LAB_DIR/ds2" --dry-run
    [[ "$output" == *"y1-vda.qcow2"* && "$output" =~ 'ok '.*' state ' ]] ||
        fail "checks or plan: $output"
    expect 0 '' blockmig --state "$store" move y1 --to "$LAB_DIR/ds2" \
        --dry-run --json
    jq -e '.event == "result" and .exit_status == 0 and .dry_run and
        (.refused | not) and (.checks | length > 5) and (.plan | length > 1)' \
        <<<"$output" >/dev/null || fail "--dry-run --json: $output"
    expect 3 'is the source itself' blockmig --state "$store" move y1 \
        --to "$LAB_DIR/ds1" --dry-run --name y1-vda.qcow2
    lab_equal "what a dry run left" "$(picture y1)" "$before"
    [ ! -e "$store" ] || fail "a dry run made a state directory"
    check_clean y1
    ok "--dry-run changes nothing"
}

test_detach() {
    local job
    expect 0 '' blockmig move y1 --to "$LAB_DIR/ds2" --detach
    job=$output
    [[ "$job" =~ ^[0-9a-f]{8}$ ]] || fail "not an ID alone: $job"
    expect 0 "$job: done" blockmig job watch "$job"
    check_source y1 vda "$LAB_DIR/ds2/y1-vda.qcow2"
    check_clean y1
    grep -q "$job: done" "$(state_dir)/$job.log" || fail "no log of $job"
    # the end is told again to whoever asks later
    expect 0 "$job: done" blockmig job watch "$job"
    # a refusal is told by the command, not in a log
    expect 3 'is the source itself' blockmig move y1 --to "$LAB_DIR/ds2" \
        --detach --name y1-vda.qcow2
    # and stdout has an ID or nothing
    lab_equal "stdout of a refusal" "$(blockmig move y1 --to "$LAB_DIR/ds2" \
        --detach --name y1-vda.qcow2 2>/dev/null)" ''
    ok "--detach and job watch"
}

test_watch_running() {
    local job
    expect 0 '' blockmig move y1 --to "$LAB_DIR/ds1" --name y1-again.qcow2 \
        --detach --bandwidth 1M --json
    job=$(jq -r .job <<<"$output")
    blockmig job list | grep -q "^$job .* yes  *move  *y1 .*vda" ||
        fail "not in job list: $(blockmig job list)"
    (
        sleep 0.5
        blockmig job cancel "$job"
    ) >/dev/null &
    expect 1 'cancel' blockmig job watch "$job" --json
    wait $!
    lab_equal "what the watch says last" \
        "$(grep '^{' <<<"$output" | tail -n 1 | jq -r '.event, .exit_status' |
            xargs)" "result 1"
    expect 3 'finished already' blockmig job cancel "$job"
    check_source y1 vda "$LAB_DIR/ds2/y1-vda.qcow2"
    [ ! -e "$LAB_DIR/ds1/y1-again.qcow2" ] || fail "the target is still there"
    ok "watching a job that is cancelled"
}

test_jobs() {
    local kept
    lab_equal "unfinished jobs" "$(blockmig job list --json)" '[]'
    kept=$(blockmig job list --kept --json | jq -r '.[].id')
    [ "$(wc -w <<<"$kept")" = 2 ] || fail "kept: $kept"
    expect 0 '^1 finished job forgotten' blockmig job prune
    lab_equal "jobs after the prune" "$(blockmig job list --all --json |
        jq -r '.[].id')" "$kept"
    for job in $kept; do
        blockmig job release "$job" >/dev/null
    done
    expect 0 '"pruned":2' blockmig job prune --json
    lab_equal "logs left" "$(find "$(state_dir)" -name '*.log')" ''
    expect 0 '^0 finished jobs forgotten' blockmig job prune
    lab_equal "jobs at the end" "$(blockmig job list --all --json)" '[]'
    ok "job list, release, prune"
}

test_quiet() {
    expect 0 '^$' blockmig -q move j1 --to "$LAB_DIR/ds1" --source delete
    [ -z "$output" ] || fail "-q says: $output"
    check_source j1 vda "$LAB_DIR/ds1/j1-vda.raw"
    expect 3 '^blockmig: ' blockmig -q move nobody --to "$LAB_DIR/ds1"
    lab_equal "lines of error" "$(wc -l <<<"$output")" 1
    ok "-q"
}

lab_begin
test_reference
test_json
test_json_refused
test_dry_run
test_detach
test_watch_running
test_jobs
test_quiet
