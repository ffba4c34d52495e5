# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# The lab's folder and its libvirtd. Sourced by `lab`, which sets $lab.
#
# DIR/.lab      what it is: mode, user, owner process (also marks it as ours)
# DIR/run ...   the XDG folders of a session daemon
# DIR/sys/...   bound over /run/libvirt, /etc/libvirt etc. of a system daemon
# DIR/ds1, ds2  the two datastores
# DIR/bin       blockmig as `lab run` finds it: the checkout may be out of the
#               lab user's reach (/root)

# domain-99-20 characters of name/monitor.sock is the longest path in a lab
lab_path_max=36
lab_binds=(run:/run/libvirt etc:/etc/libvirt lib:/var/lib/libvirt
    cache:/var/cache/libvirt log:/var/log/libvirt)

# The start time of a process makes its pid unique.
process_birth() {
    local stat
    { stat=$(cat "/proc/$1/stat"); } 2>/dev/null || return 1
    stat=${stat##*) }
    # shellcheck disable=SC2086
    set -- $stat
    [ "$1" != Z ] || return 1
    echo "${20}"
}

lab_load() {
    [ -f "$lab/.lab" ] || die "$lab is no lab"
    [ -O "$lab/.lab" ] || die "$lab is another user's lab"
    # shellcheck source=/dev/null
    . "$lab/.lab"
    if [ "$lab_mode" = system ]; then
        lab_sock=$lab/sys/run/libvirt-sock
        lab_uri="qemu+unix:///system?socket=$lab_sock"
    else
        lab_sock=$lab/run/libvirt/libvirt-sock
        lab_uri="qemu+unix:///session?socket=$lab_sock"
    fi
}

make_folder() {
    local owner=${LAB_OWNER:-$PPID} birth mode=session user dir
    [ ${#lab} -le $lab_path_max ] ||
        die "$lab: longer than $lab_path_max characters, sockets would not fit"
    birth=$(process_birth "$owner") || die "owner $owner does not run"
    user=$(id -un)
    if [ "$1" = --system ]; then
        [ "$user" = root ] || die "--system needs root"
        mode=system
    elif [ "$user" = root ]; then
        # libvirtd of root is always the system daemon, and the client wants
        # a user it can look up
        user=nobody
    fi
    mkdir -p "$lab"
    [ -z "$(ls -A "$lab")" ] || die "$lab is not empty"
    chmod 711 "$lab"
    printf '%s\n' "lab_mode=$mode" "lab_user=$user" "lab_owner=$owner" \
        "lab_birth=$birth" >"$lab/.lab"
    for dir in home run config config/libvirt data cache state ds1 ds2; do
        install -d -m 755 -o "$user" -g "$(id -gn "$user")" "$lab/$dir"
    done
    chmod 711 "$lab/run"
    mkdir "$lab/bin"
    [ $mode = session ] || for dir in run etc lib cache log; do
        install -d -m 755 "$lab/sys/$dir"
    done
    write_config $mode
}

write_config() {
    local to=$lab/config/libvirt
    [ "$1" = session ] || to=$lab/sys/etc
    # file: no virtlogd. No cgroups: labs would meet in them by domain name.
    cat >"$to/qemu.conf" <<-EOT
	security_driver = "none"
	stdio_handler = "file"
	cgroup_controllers = []
	EOT
    # libvirt cannot build a guest's own /dev around our /dev/kvm: start_holder
    [ "$1" = session ] || echo 'namespaces = []' >>"$to/qemu.conf"
    cat >"$to/libvirtd.conf" <<-EOT
	auth_unix_rw = "none"
	auth_unix_ro = "none"
	EOT
}

# Asking QEMU what it can do takes a second: once for all labs. libvirtd
# itself sees whether the answer is still true.
lab_known=$lab_root/build/lab/capabilities

seed_capabilities() {
    local to=$lab/cache/libvirt/qemu/cache
    [ "$lab_mode" = session ] || to=$lab/sys/cache/qemu
    [ -d "$lab_known.$lab_mode" ] || return 0
    mkdir -p "$to"
    cp -r "$lab_known.$lab_mode" "$to/capabilities"
    [ "$lab_mode" = system ] || chown -R "$lab_user" "$lab/cache"
}

keep_capabilities() {
    local from=$lab/cache/libvirt/qemu/cache/capabilities work
    [ "$lab_mode" = session ] || from=$lab/sys/cache/qemu/capabilities
    [ ! -d "$lab_known.$lab_mode" ] && [ -d "$from" ] || return 0
    # another user's checkout: every lab asks for itself
    mkdir -p "$lab_root/build/lab" && [ -w "$lab_root/build/lab" ] || return 0
    work=$(mktemp -d "$lab_known.XXXXXX")
    cp "$from"/*.xml "$work"
    chmod -R u=rwX,go=rX "$work"
    # if another lab was first, its answer is as good
    mv -T "$work" "$lab_known.$lab_mode" 2>/dev/null || rm -r "$work"
}

lab_start() {
    [ $# -eq 0 ] || [ "$*" = --system ] || die "start: not known: $*"
    if [ ! -f "$lab/.lab" ]; then
        make_folder "${1:-}"
        lab_load
        seed_capabilities
    fi
    lab_load
    daemon_pid >/dev/null || start_daemon
}

# Prints the pid of the lab's libvirtd; fails if there is none.
daemon_pid() {
    local pid
    pid=$(cat "$lab/run/libvirtd.pid" 2>/dev/null) || return 1
    is_daemon "$pid" || return 1
    echo "$pid"
}

is_daemon() {
    process_birth "$1" >/dev/null && [[ $(cmdline_of "$1") == *"$lab/run/"* ]]
}

# libvirtd leaves by itself after half an hour without guests and clients,
# should nobody ever reap this lab.
start_daemon() {
    local timeout=(--timeout 1800)
    if [ "$lab_mode" = system ]; then
        timeout=()
        holder_pid >/dev/null || start_holder
    fi
    # -d returns when the socket listens
    lab_run libvirtd -d "${timeout[@]}" -p "$lab/run/libvirtd.pid" ||
        die "$lab: libvirtd does not start"
    lab_run timeout 30 virsh -q uri >/dev/null ||
        die "$lab: libvirtd does not answer"
}

holder_pid() {
    local pid
    pid=$(cat "$lab/run/holder.pid" 2>/dev/null) || return 1
    process_birth "$pid" >/dev/null && [[ $(cmdline_of "$pid") == *"$lab"* ]] ||
        return 1
    echo "$pid"
}

# A process that holds the mount namespace, so that it outlives libvirtd.
# /dev/kvm is hidden: when root may open it and libvirt-qemu may not, libvirt 9
# asks QEMU for its abilities anew a dozen times for each domain.
start_holder() {
    local script bind
    script='set -e; mount --make-rprivate /; lab=$1; shift
        for bind; do mkdir -p "${bind#*:}"
            mount --bind "$lab/sys/${bind%%:*}" "${bind#*:}"; done
        [ ! -e /dev/kvm ] || mount --bind "$lab/sys/no-kvm" /dev/kvm
        echo $$ >"$lab/run/holder.new"
        mv "$lab/run/holder.new" "$lab/run/holder.pid"
        exec -a "lab-holder $lab" sleep infinity'
    rm -f "$lab/run/holder.pid"
    install -m 0 /dev/null "$lab/sys/no-kvm"
    LAB=$lab setsid unshare -m bash -c "$script" lab-holder "$lab" \
        "${lab_binds[@]}" </dev/null >"$lab/sys/holder.log" 2>&1 &
    for _ in {1..200}; do
        [ ! -f "$lab/run/holder.pid" ] || return 0
        sleep 0.05
    done
    die "$lab: no namespace: $(cat "$lab/sys/holder.log")"
}

lab_kill_daemon() {
    lab_load
    end_daemon KILL
}

lab_restart_daemon() {
    lab_load
    end_daemon TERM
    start_daemon
}

has_threads() { [ "$(ls "/proc/$1/task" 2>/dev/null | wc -l)" -gt 1 ]; }

end_daemon() {
    local pid birth
    pid=$(daemon_pid) || return 0
    birth=$(process_birth "$pid") || return 0
    kill "-$1" "$pid"
    # until it is gone altogether: its command line goes before its locks, and
    # a zombie has them as long as it has threads
    for _ in {1..600}; do
        [ "$(process_birth "$pid")" = "$birth" ] || has_threads "$pid" ||
            return 0
        sleep 0.05
    done
    die "$lab: libvirtd $pid does not end"
}

# Fills the array $environment: the lab's, and what a test may want to pass.
lab_environment() {
    local name
    environment=(PATH="$lab/bin:$PATH" HOME="$lab/home" USER="$lab_user"
        LOGNAME="$lab_user" LANG=C.UTF-8 TMPDIR="$lab/home"
        XDG_RUNTIME_DIR="$lab/run" XDG_CONFIG_HOME="$lab/config"
        XDG_DATA_HOME="$lab/data" XDG_CACHE_HOME="$lab/cache"
        XDG_STATE_HOME="$lab/state" LAB="$lab" LAB_URI="$lab_uri"
        LAB_USER="$lab_user" LAB_MODE="$lab_mode"
        LIBVIRT_DEFAULT_URI="$lab_uri")
    [ "$lab_mode" = session ] ||
        environment+=(LIBVIRT_DEFAULT_URI=qemu:///system)
    for name in $(compgen -e); do
        case $name in
        ASAN_* | UBSAN_* | LSAN_* | TSAN_* | BLOCKMIG_* | BM_* | TERM | B | SAN | V)
            environment+=("$name=${!name}")
            ;;
        esac
    done
}

lab_env() {
    local environment pair
    lab_load
    lab_environment
    for pair in "${environment[@]}"; do
        case ${pair%%=*} in
        LAB* | XDG_* | HOME)
            printf 'export %s=%q\n' "${pair%%=*}" "${pair#*=}"
            ;;
        esac
    done
    printf 'export LIBVIRT_DEFAULT_URI=%q\n' "$lab_uri"
}

# Sets $as: the command words that turn this process into the lab's user.
lab_as() {
    local holder
    as=()
    if [ "$lab_mode" = system ]; then
        holder=$(holder_pid) || die "$lab: its namespace is gone"
        as=(nsenter "--mount=/proc/$holder/ns/mnt" "--wd=$PWD")
    elif [ "$(id -u)" = 0 ]; then
        as=(setpriv --reuid "$lab_user" --regid "$(id -g "$lab_user")"
            --clear-groups --inh-caps=-all)
    fi
}

lab_run() {
    local as environment
    [ $# -ge 1 ] || die "run: which command?"
    lab_load
    lab_as
    lab_environment
    "${as[@]}" env -i "${environment[@]}" "$@"
}
