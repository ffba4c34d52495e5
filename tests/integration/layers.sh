#!/usr/bin/env bash
# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# tests/check-layers finds what breaks the order of the folders: each fault is
# put into a small tree of its own.
set -euo pipefail
check=$(realpath "$(dirname "$0")/../check-layers")
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT

fail() {
    echo "FAIL: $*"
    exit 1
}

# Two folders: blockmig/high may use nbd/low.
fresh() {
    rm -rf "${tree:?}"/*
    mkdir -p "$tree"/tests "$tree"/{nbd/{base,low},snapshot,blockmig/high,cli}
    printf '%s\n' 'nbd/base:' 'nbd/low:' 'blockmig/high: nbd/low' 'cli:' \
        >"$tree/tests/layers"
    echo 'int base(void);' >"$tree/nbd/base/base.h"
    echo 'int low(void);' >"$tree/nbd/low/low.h"
    printf '%s\n' '#include "nbd/low/low.h"' 'int low(void) { return 1; }' \
        >"$tree/nbd/low/low.c"
    printf '%s\n' '#include "nbd/base/base.h"' '#include "nbd/low/low.h"' \
        'int high(void); int high(void) { return low(); }' \
        >"$tree/blockmig/high/high.c"
    echo 'int main(void) { return 0; }' >"$tree/cli/main.c"
}

# The check must fail, and that line must be among what it says.
finds() {
    local want=$1 out status=0
    shift
    out=$("$check" "$@" "$tree" 2>&1) || status=$?
    [ "$status" = 1 ] || fail "status $status, should be 1, for: $want"
    grep -qxF -e "$want" <<<"$out" || fail "no '$want' in: $out"
    echo "ok: $want"
}

compile() {
    local source
    (
        cd "$tree"
        for source in $(find nbd blockmig cli -name '*.c'); do
            mkdir -p "objects/$(dirname "$source")"
            cc -I. -c -o "objects/${source%.c}.o" "$source"
        done
    )
}

fresh
"$check" "$tree" || fail "a good tree is refused"
compile
"$check" --objects "$tree/objects" "$tree" || fail "good objects are refused"
echo "ok: a good tree passes"

fresh
echo '#include "blockmig/high/high.h"' >>"$tree/nbd/low/low.c"
finds 'nbd/low/low.c:3: nbd/low may not use blockmig/high (blockmig/high/high.h)'

# the same in angle brackets, and one of no folder
fresh
echo '#include <blockmig/high/high.h>' >>"$tree/nbd/low/low.c"
finds 'nbd/low/low.c:3: nbd/low may not use blockmig/high (blockmig/high/high.h)'

fresh
echo '#include "low.h"' >>"$tree/nbd/low/low.c"
finds 'nbd/low/low.c:3: "low.h" names no folder'

fresh
mkdir "$tree/nbd/new"
echo 'int new(void);' >"$tree/nbd/new/new.h"
finds 'tests/layers:1: the folder nbd/new has no line'

fresh
sed -i 's,^nbd/low:,nbd/low: blockmig/high,' "$tree/tests/layers"
finds 'tests/layers:1: the list is no order: nbd/low uses itself'

fresh
sed -i 's,^nbd/low:,nbd/low: nbd/gone,' "$tree/tests/layers"
finds 'tests/layers:2: nbd/low may use nbd/gone, which is no folder'

fresh
printf '%s\n' 'nbd/low:' 'nbd/none:' >>"$tree/tests/layers"
finds 'tests/layers:5: nbd/low stands twice in the list'
finds 'tests/layers:6: there is no folder nbd/none'

fresh
echo 'int secret(void);' >"$tree/nbd/low/low-private.h"
echo '#include "nbd/low/low-private.h"' >>"$tree/blockmig/high/high.c"
finds 'blockmig/high/high.c:4: nbd/low/low-private.h is private to nbd/low'

fresh
echo 'int flat(void);' >"$tree/blockmig/flat.c"
finds 'blockmig/flat.c:1: a source lies in a room, a folder below this one'

# what no include shows: a symbol, and a table
fresh
echo 'int high(void); int up(void); int up(void) { return high(); }' \
    >"$tree/nbd/low/up.c"
compile
finds 'nbd/low/up.c:1: nbd/low may not use blockmig/high (high of blockmig/high/high.c)' \
    --objects "$tree/objects"

fresh
echo 'int b(void); int a(void); int a(void) { return b(); }' >"$tree/nbd/low/a.c"
printf '%s\n' 'int a(void); int b(void);' 'int b(void) { return 0; }' \
    'extern int (*const table[])(void); int (*const table[])(void) = {a};' \
    >"$tree/nbd/low/b.c"
compile
finds 'nbd/low/a.c:1: this file is in a circle of files' \
    --objects "$tree/objects"
