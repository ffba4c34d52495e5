#!/bin/sh
# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The table of options, --help and the manual agree; wrong usage exits 2 with
# a line that names what is wrong, and makes no state. No hypervisor needed.
set -u
top=$(cd "$(dirname "$0")/../.." && pwd)
blockmig=${B:-$top/build}/blockmig
man=$top/docs/blockmig.1
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM
failed=0

# libvirt must not be found by chance, and no state of the user be touched
export HOME="$tmp" XDG_STATE_HOME="$tmp/xdg" XDG_RUNTIME_DIR="$tmp/run"
unset LIBVIRT_DEFAULT_URI
nowhere="qemu+unix:///session?socket=$tmp/none"

fail() {
    echo "FAIL: $*" >&2
    failed=1
}

# expect STATUS WORD ARGUMENT...: exits so, and standard error has the word.
expect() {
    status=$1 word=$2
    shift 2
    "$blockmig" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
    is=$?
    [ "$is" = "$status" ] || fail "blockmig $*: exit status $is, not $status"
    grep -qF -e "$word" "$tmp/err" ||
        fail "blockmig $*: no '$word' in: $(cat "$tmp/err")"
    head -n 1 "$tmp/err" | grep -q '^blockmig: ' ||
        fail "blockmig $*: the line does not begin with 'blockmig: '"
    case $status in
    2) grep -q "^Try 'blockmig .*--help'\.$" "$tmp/err" ||
        fail "blockmig $*: does not say where help is" ;;
    esac
}

# help ARGUMENT...: exits 0, prints on standard output only.
help() {
    "$blockmig" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null ||
        fail "blockmig $*: exit status $?"
    [ -s "$tmp/out" ] || fail "blockmig $*: prints nothing"
    [ ! -s "$tmp/err" ] || fail "blockmig $*: writes to standard error"
    awk 'length($0) > 80 { exit 1 }' "$tmp/out" ||
        fail "blockmig $*: a line is longer than 80 characters"
}

# --- one table: --long-options, --help, the manual ---
help --version
help --help
help -h
help job --help
help store -h
"$blockmig" --commands >"$tmp/commands" || fail "--commands"
while read -r words; do
    # shellcheck disable=SC2086
    help $words --help
    "$blockmig" --help | grep -qF -e "  $words " ||
        fail "'$words' is not in blockmig --help"
    sed -n 's/^ *\(-[a-zA-Z],\)\{0,1\} *\(--[a-z-]*\).*/\2/p' "$tmp/out" |
        sort >"$tmp/in-help"
    # shellcheck disable=SC2086
    "$blockmig" $words --long-options | sort >"$tmp/in-table"
    cmp -s "$tmp/in-help" "$tmp/in-table" ||
        fail "'$words': --help and --long-options differ:" \
            "$(diff "$tmp/in-help" "$tmp/in-table")"
    first=${words%% *} second=${words#"$first"}
    grep -q "^\.It Cm $first$second\( \|\$\)" "$man" ||
        fail "'$words' is not in the manual"
done <"$tmp/commands"
[ "$(wc -l <"$tmp/commands")" -ge 13 ] || fail "commands are missing"

"$blockmig" --long-options | sort -u >"$tmp/table"
sed -n 's/^\.It .*Fl Fl \([a-z-]*\).*/--\1/p' "$man" | sort -u >"$tmp/manual"
cmp -s "$tmp/table" "$tmp/manual" ||
    fail "manual and table differ: $(diff "$tmp/table" "$tmp/manual")"
for state in planned preflight allocating copying proving ready switching \
    proving-rest settled consolidating releasing undoing rolling-back held \
    needs-recovery 'done' rolled-back; do
    grep -q "^\.It .*\b$state\b" "$man" ||
        fail "state $state: not in the manual"
done
if command -v groff >/dev/null; then
    groff -ww -mandoc -Tutf8 "$man" >"$tmp/out" 2>"$tmp/err" || fail "groff"
    [ ! -s "$tmp/err" ] || fail "groff: $(cat "$tmp/err")"
fi

# --- wrong usage ---
expect 2 "no command"
expect 2 "'frobnicate'" frobnicate
expect 2 "'mov'" mov vm1
expect 2 "second word" job
expect 2 "'job frob'" job frob
expect 2 "--frob" --frob
expect 2 "--frob" move vm1 --to /x --frob
expect 2 "-x" move vm1 -x
expect 2 "unknown to 'job list'" job list --to /x
expect 2 "--json" move vm1 --to /x --json=yes
expect 2 "DOMAIN" move
expect 2 "DOMAIN" move --to /x
expect 2 "STORE" move vm1
expect 2 "needs a value" move vm1 --to
expect 2 "empty" move vm1 --to ""
expect 2 "empty" move "" --to /x
expect 2 "ID" job show
expect 2 "'b'" job show a b
expect 2 "'x'" doctor x
for rate in 0 -1 10X 99999999999999T 1.5M "" " 1M" 1M5 0x10 M; do
    expect 2 "--bandwidth '$rate'" move vm1 --to /x --bandwidth "$rate"
done
grep -q 'K, M, G, T' "$tmp/err" || fail "a rate's error names no allowed form"
for ms in 9 60001 0 -5 ten 1e3 ""; do
    expect 2 "--max-pause '$ms'" move vm1 --to /x --max-pause "$ms"
done
grep -q 'from 10 to 60000' "$tmp/err" || fail "no range for --max-pause"
expect 2 "--strategy 'warp'" move vm1 --to /x --strategy warp
expect 2 "--strategy 'auto|'" move vm1 --to /x --strategy 'auto|'
expect 2 "--format 'vmdk'" move vm1 --to /x --format vmdk
expect 2 "--proof 'half'" move vm1 --to /x --proof half
expect 2 "--source 'burn'" move vm1 --to /x --source burn
expect 2 "a proof shows" move vm1 --to /x --proof none --source delete
expect 2 "--name 'a/b'" move vm1 --to /x --name a/b
expect 2 "--name '..'" move vm1 --to /x --name ..
expect 2 "one disk" move vm1 vda vdb --to /x --name a
expect 2 "exclude" move vm1 --to /x --dry-run --detach
expect 2 "exclude" -q -v job list
expect 2 "--state" --state postgresql://host/db job list

# --- what needs a store or libvirt, and has none ---
expect 3 "no such job" job show 12345678
expect 3 "no such job" job show ../../etc/passwd
expect 3 "no such job" job watch 12345678
expect 3 "no such job" job cancel 12345678
expect 3 "no such job" job resume 12345678
expect 3 "no such job" job release 12345678
expect 3 "no such job" job events 12345678
expect 1 "$tmp/none" -c "$nowhere" store list
expect 1 "$tmp/none" -c "$nowhere" move vm1 --to /x --dry-run
expect 1 "$tmp/none" -c "$nowhere" move vm1 --to /x
expect 1 "$tmp/none" -c "$nowhere" move vm1 --to /x --detach
for words in "job list" "job list --all --kept" "job prune"; do
    # shellcheck disable=SC2086
    "$blockmig" $words >/dev/null || fail "blockmig $words: exit status $?"
done
[ "$("$blockmig" job list --json)" = "[]" ] || fail "job list --json: not []"
"$blockmig" -c "$nowhere" move vm1 --to /x --json 2>/dev/null >"$tmp/out"
[ "$(wc -l <"$tmp/out")" = 1 ] || fail "not one object"
grep -q '"event":"result".*"exit_status":1' "$tmp/out" ||
    fail "no result object"
"$blockmig" -c "$nowhere" doctor >"$tmp/out" && fail "doctor found nothing"
grep -q '^refused  *libvirt ' "$tmp/out" || fail "doctor: no row for libvirt"
[ ! -e "$tmp/xdg" ] || fail "a state directory was made"

# --- standard output that takes nothing ---
"$blockmig" --help >/dev/full 2>"$tmp/err" && fail "/dev/full: exit status 0"
grep -q '^blockmig: cannot write to standard output: ' "$tmp/err" ||
    fail "/dev/full: $(cat "$tmp/err")"
"$blockmig" --help 2>"$tmp/err" | true
[ ! -s "$tmp/err" ] || fail "a reader that went: $(cat "$tmp/err")"
"$blockmig" --help >&- 2>/dev/null && fail "no standard output: status 0"

# --- a damaged store: said, and left as it is ---
mkdir -m 700 "$tmp/state"
echo "this is not a database, it is not even long enough" \
    >"$tmp/state/jobs.sqlite"
cp "$tmp/state/jobs.sqlite" "$tmp/copy"
expect 1 "damaged" --state "$tmp/state" job list
expect 1 "damaged" --state "$tmp/state" job prune
cmp "$tmp/copy" "$tmp/state/jobs.sqlite" || fail "the damaged store changed"
"$blockmig" --state "$tmp/state" doctor >"$tmp/out"
grep -q '^refused  *jobs ' "$tmp/out" || fail "doctor: damage not seen"

exit $failed
