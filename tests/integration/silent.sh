#!/bin/bash
# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A store whose server is gone, named in a command: refused when the time for
# an answer is over, in one line, and nothing was changed.
set -euo pipefail
. "$(dirname "$0")/common.bash"
. "$(dirname "$0")/mover.bash"
. "$(dirname "$0")/bad-store.bash"

# silent ARGS...
silent() {
    local status=0 start=$SECONDS
    timeout 30 "$LAB_HERE/lab" run "$LAB_DIR" env BLOCKMIG_CALL_MS=1000 \
        "$LAB_DIR/bin/blockmig" "$@" 2>"$LAB_DIR/err" >/dev/null || status=$?
    lab_equal "exit status of $*: $(cat "$LAB_DIR/err")" $status 3
    lab_equal "lines of error" "$(grep -c . "$LAB_DIR/err")" 1
    grep -q 'bad.* does not answer' "$LAB_DIR/err" ||
        fail "what hangs is not named: $(cat "$LAB_DIR/err")"
    [ $((SECONDS - start)) -le 10 ] || fail "$* took $((SECONDS - start)) s"
    lab_equal jobs "$(blockmig job list --all --json)" '[]'
}

lab_begin
bad_store
lab_guest_bare vm1 --disk size=8M
lab define vm2 --disk "path=$LAB_DIR/bad/vm2-vda.raw,size=8M"
blockmig job list >/dev/null
fault hang
silent move vm1 --to "$LAB_DIR/bad"
ok "as the target"
silent move vm1 --to "$LAB_DIR/ds2" --overlay-dir "$LAB_DIR/bad"
ok "as the folder of overlays"
silent move vm2 --to "$LAB_DIR/ds2"
ok "as the source"
silent store show "$LAB_DIR/bad"
ok "to look at"
fault ok
move vm1 --to "$LAB_DIR/bad"
check_source vm1 vda "$LAB_DIR/bad/vm1-vda.raw"
ok "and when it answers again"
