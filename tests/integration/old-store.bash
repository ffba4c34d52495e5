# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# Jobs that are left behind at a point: what brings a guest there, and how the
# store that blockmig then has is kept as text (tests/stores/make) and put under
# another guest at the same point (old-store.sh). Sourced after snapshot.bash.
#
# A row is KIND.POINT: what kind of job it is, and where it was left. All disks
# hold the same bytes in every lab, since a job's digests are kept with it.
#
# A kept store is a folder:
#   store.sql   the database, by the sqlite3 shell
#   JOB-...     the job's other files in the state directory
# What is different in each lab stands in store.sql as @LAB@, @UUID@, @JOB@,
# @HOST@, @MACHINE@, @EMULATOR@, and of a file @dev:PATH@, @ino:PATH@,
# @mtime:PATH@, @ctime:PATH@, @time:PATH@ and @id:PATH@.

size=8M

staged_points='allocating.created freezing.sent freezing.frozen copying proving
    iterating converging converging.started ready switching.suspended
    switching.pivot-sent switching.frozen proving-rest settled
    consolidating.merging consolidating.merged consolidating.committed releasing
    undoing.ready rolling-back.committed held needs-recovery'

# A group of restore points is one job for each guest, and rolled back.
old_rows() {
    printf 'staged.%s\n' $staged_points
    printf '%s\n' chain.copying.layer chain.settled delete.releasing.deleted \
        blockcopy.copying.started blockcopy.switching.frozen blockcopy.settled \
        pull.copying.started pull.copying.pulled pull.consolidating.flushed \
        cold.copying.started cold.proving cold.switching.redefined \
        merge.copying.begun merge.copying.merged merge.consolidating.started \
        merge-off.copying.begun merge-off.copying.merged \
        merge-off.copying.rebased create.freezing.sent create.freezing.frozen \
        revert.switching.branched revert-off.switching.defined \
        flatten.copying flatten.settled view.settled
}

# --- to the point ---

# The chain of one image on another, both written to.
chained() {
    lab_virsh -q undefine "$name"
    rm -f "$(ds1 "$name")"*
    lab define "$name" --disk "format=qcow2,size=$size,path=$(ds1 "$name-base.qcow2")"
    lab run qemu-io -f qcow2 -c 'write -P 0x15 1M 1M' "$(active)" >/dev/null
    lab run qemu-io -f raw -c 'write -P 0x15 1M 1M' "$(model now)" >/dev/null
    image -f qcow2 -F qcow2 -b "$(active)" "$(ds1 "$name-top.qcow2")"
    lab_virsh -q undefine "$name"
    lab define "$name" --disk "format=qcow2,path=$(ds1 "$name-top.qcow2")"
}

# Sets the command of the job; the guest is as it needs it.
old_guest() {
    name=old
    command=(move old --to "$LAB_DIR/ds2" --guest-latency off)
    case $kind in
    merge* | revert* | flatten) layers old 2 ;;
    *)
        new_guest old
        [ $kind != chain ] || chained
        put 0x11 0 1M
        put 0x12 3M 300k
        [ $kind = cold ] || lab_virsh -q start old >/dev/null
        ;;
    esac
    case $kind in
    staged) command+=(--strategy staged --switch-max 256K) ;;
    chain) command+=(--strategy staged --chain all --switch-max 256K) ;;
    delete) command+=(--strategy staged --source delete) ;;
    blockcopy | pull) command+=(--strategy "$kind") ;;
    merge) command=(snapshot consolidate old --keep 0 --guest-latency off) ;;
    merge-off) command=(snapshot delete old s2 --guest-latency off) ;;
    create) command=(snapshot create old new) ;;
    view) command=(snapshot create old new --mode cow) ;;
    revert*) command=(snapshot revert old s1 --force) ;;
    flatten) command=(snapshot flatten old --guest-latency off) ;;
    esac
    [[ $kind != *-off ]] || off old
    # what made the restore points is no part of this
    rm -rf "$(state_dir)"
}

no_guard() { [ -z "$(guard_pid)" ]; }

job_dies() {
    mover_signal KILL
    # the process that serves a view is not the one that was started
    [ "$kind" = view ] || mover_ends 10 137
    lab_wait 30 no_guard || fail "$row: the guard does not end"
}

# left_at POINT ARGS...: blockmig is killed there; what a move has copied by
# then is not all, so that it has something to iterate for
left_at() {
    local stop=$1
    shift
    case $1.$kind.$stop in
    move.staged.allocating* | move.staged.freezing* | move.staged.copying) ;;
    move.staged.*) stop=copying,$stop ;;
    esac
    mover_start "$stop" "$@"
    mover_stands
    if [[ $stop = copying,* ]]; then
        put 0x13 5M 1M
        mover_goes_on
        mover_stands
    fi
}

# Somebody else's snapshot.
foreign() {
    lab_virsh snapshot-create-as old foreign --disk-only --no-metadata \
        --diskspec "vda,file=$(ds1 foreign.qcow2)" >/dev/null
}

# What the person does of whom the job has asked it.
person() {
    [ "$point" = held ] || return 0
    lab_virsh blockcommit old vda --active --pivot --shallow >/dev/null
    rm "$(ds1 foreign.qcow2)"
}

# old_job ROW: the guest, and the job that was left behind there, $job
old_job() {
    local qemu kind=${1%%.*} command
    row=$1 point=${1#*.}
    old_guest
    case $point in
    undoing*)
        left_at settled "${command[@]}"
        job_dies
        left_at "$point" job resume --back "$(newest_job)"
        job_dies
        ;;
    rolling-back*)
        left_at converging.started "${command[@]}"
        job_dies
        left_at "$point" job resume --back "$(newest_job)"
        job_dies
        ;;
    held)
        left_at iterating "${command[@]}"
        foreign
        mover_goes_on
        mover_ends 60 6
        ;;
    needs-recovery)
        CALL_MS=2000 left_at converging "${command[@]}"
        qemu=$(lab qemu-pid old)
        kill -STOP "$qemu"
        mover_goes_on
        mover_ends 60 6
        kill -CONT "$qemu"
        lab_wait 30 no_guard || fail "$row: the guard does not end"
        ;;
    *)
        left_at "$point" "${command[@]}"
        job_dies
        ;;
    esac
    job=$(newest_job)
}

# --- its store, as text and back ---

guest_xml() { lab_virsh dumpxml old --inactive | xmllint --xpath "$1" -; }

# sed's script for what is one word in each lab: FROM TO, twice for the way back
words() {
    local pair
    for pair in "$LAB_DIR|@LAB@" "$(lab_virsh domuuid old | head -n 1)|@UUID@" \
        "$job|@JOB@" "$(uname -n)|@HOST@" \
        "$(guest_xml 'string(//os/type/@machine)')|@MACHINE@" \
        "$(guest_xml 'string(//emulator)')|@EMULATOR@"; do
        echo "${pair%|*} ${pair#*|}"
    done
}

# file_facts PATH: its device, inode, times in nanoseconds and in seconds, and
# bm_file_id (nbd/base/paths.c)
file_facts() {
    local path=$1 fact born
    read -r dev ino < <(stat -c '%d %i' "$path")
    # "2024-01-01 00:00:00.123456789 +0000"
    fact=$(stat -c '%y' "$path") time=$(stat -c '%Y' "$path").${fact:20:9}
    fact=$(stat -c '%z' "$path") ctime=$(stat -c '%Z' "$path")${fact:20:9}
    fact=$(stat -c '%w' "$path") born=$(stat -c '%W' "$path")${fact:20:9}
    mtime=${time/./}
    [ "$born" != 0 ] || born=0
    id=$(printf '%u' $((ino + born * 1000003)))
}

# files_to_words: a script for sed; the files as they are now
files_to_words() {
    local path name
    local dev ino mtime ctime time id
    for path in $(find "$LAB_DIR/ds1" "$LAB_DIR/ds2" -type f ! -path '*/model/*'); do
        file_facts "$path"
        name=${path/"$job"/@JOB@}
        name=${name#"$LAB_DIR/"}
        cat <<-SED
		s,\(_ino":\)$ino\>,\1@ino:$name@,g
		s,\(_dev":\)$dev\>,\1@dev:$name@,g
		s,\(changed_ns":\|source_ns":\)$ctime\>,\1@ctime:$name@,g
		s,\(_ns":\)$mtime\>,\1@mtime:$name@,g
		s,\("id":\)$id\>,\1@id:$name@,g
		s,\<file:$dev:$ino\>,file:@dev:$name@:@ino:$name@,g
		s,\<file $dev:$ino\( size [0-9]*\),file @dev:$name@:@ino:$name@\1,g
		s,\<time $time\>,time @time:$name@,g
		SED
    done
}

# words_to_files FILE: the same of what FILE names, the other way round
words_to_files() {
    local word path
    local dev ino mtime ctime time id
    for word in $(grep -oE '@(dev|ino|mtime|ctime|time|id):[^@]*(@JOB@[^@]*)?@' "$1" |
        sort -u); do
        path=${word#*:} path=$LAB_DIR/${path%@}
        path=${path/@JOB@/$job}
        [ -e "$path" ] || fail "$row: the store names $path, which is not there"
        file_facts "$path"
        fact=${word%%:*} fact=${fact#@}
        echo "s,$word,${!fact},g"
    done
}

# keep_store FOLDER: what the job has left of itself
keep_store() {
    local file from to
    rm -rf "$1"
    mkdir -p "$1" "$LAB_DIR/kept"
    cp "$(state_dir)"/jobs.sqlite* "$LAB_DIR/kept"
    files_to_words >"$LAB_DIR/kept/sed"
    while read -r from to; do
        echo "s,$from,$to,g"
    done < <(words) >>"$LAB_DIR/kept/sed"
    {
        sqlite3 "$LAB_DIR/kept/jobs.sqlite" .dump
        for word in application_id user_version; do
            echo "PRAGMA $word = $(sqlite3 "$LAB_DIR/kept/jobs.sqlite" \
                "PRAGMA $word");"
        done
    } | sed -f "$LAB_DIR/kept/sed" >"$1/store.sql"
    for file in $(cd "$(state_dir)" && find . -type f -name "$job*"); do
        file=${file#./}
        cp "$(state_dir)/$file" "$1/JOB${file#"$job"}"
    done
    rm -r "$LAB_DIR/kept"
}

# put_store FOLDER: in the place of what the job has left of itself here
put_store() {
    local file from to state
    state=$(state_dir)
    words_to_files "$1/store.sql" >"$LAB_DIR/sed"
    while read -r from to; do
        echo "s,$to,$from,g"
    done < <(words) >>"$LAB_DIR/sed"
    rm -r "$state"
    lab run mkdir -m 700 "$state"
    sed -f "$LAB_DIR/sed" "$1/store.sql" |
        lab run sh -c 'umask 077 && sqlite3 "$1"' sh "$state/jobs.sqlite"
    ! lab run sqlite3 "$state/jobs.sqlite" .dump | grep -o '@[a-z]*:[^ ]*' ||
        fail "$row: what that is here is not known"
    for file in "$1"/JOB*; do
        [ -e "$file" ] || continue
        lab run sh -c 'umask 077 && cat >"$1"' sh "$state/$job${file##*/JOB}" <"$file"
    done
}
