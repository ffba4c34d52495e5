# shellcheck shell=bash
# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# A store that goes wrong when a test says so (tests/lab/faultfs.c): what is in
# $LAB_DIR/under is seen at $LAB_DIR/bad.

bad_store() {
    local options=default_permissions,max_threads=64
    [ "$(id -u)" != 0 ] || options+=,allow_other
    mkdir "$LAB_DIR/under" "$LAB_DIR/bad"
    chmod 777 "$LAB_DIR/under"
    fault ok
    lab_program "$B/lab/faultfs"
    "$LAB_DIR/bin/faultfs" "$LAB_DIR/under" "$LAB_DIR/word" "$LAB_DIR/bad" \
        -o $options || fail "a store that goes wrong needs /dev/fuse"
    # whoever waits there could not be ended
    lab_at_exit fault dead
}

fault() {
    echo "$1" >"$LAB_DIR/word.new"
    mv "$LAB_DIR/word.new" "$LAB_DIR/word"
}
