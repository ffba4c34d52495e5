# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
#
# Guests: their images and domains. Sourced by `lab`.
#
#   lab define DIR NAME [OPTION...]   defines the domain, does not start it
#     --os               boot the guest of guest.c; without: no system at all,
#                        its processor sleeps from the first instruction on
#     --args WORDS       its command line: g.rate=100 g.mode=mixed ...; the
#                        option g.disk is set to all disks unless given
#     --mem MB           default 128 with --os, else 64
#     --disk WORDS       by commas: target=vda (default: the next free),
#                        format=raw|qcow2, size=1G, store=ds1|ds2, path=FILE
#                        (default: DIR/STORE/NAME-TARGET.FORMAT; an existing
#                        file is taken as it is), fill=SIZE|all (random data
#                        at its start), cache=none, io=native|threads|io_uring,
#                        iothread, bus=virtio, error_policy=stop
#     --agent            a channel to the guest's agent (guest-agent.h)
#     --devices XML      further devices, word for word
#
# DIR/NAME.serial has what the guest printed, over all its starts.

lab_define() {
    local name=$1 os=0 args='' mem='' iothreads=0 disks='' targets='' devices=''
    shift
    lab_load
    # one less would not fit below libvirt's folders
    [ ${#name} -le 20 ] || die "$name: longer than 20 characters"
    while [ $# -gt 0 ]; do
        case $1 in
        --os) os=1 ;;
        --args) args=$2 && shift ;;
        --mem) mem=$2 && shift ;;
        --disk) define_disk "$name" "$2" && shift ;;
        --agent) devices+=$(agent_channel "$name") ;;
        --devices) devices+=$2 && shift ;;
        *) die "define: not known: $1" ;;
        esac
        shift
    done
    if [ $os = 1 ]; then lab_kernel; else idle_rom; fi
    [[ " $args" == *" g.disk="* ]] || args="g.disk=${targets#,} $args"
    : "${mem:=$((os ? 128 : 64))}"
    # made here, since the lab's user may not create files in DIR itself
    : >>"$lab/$name.serial"
    [ "$lab_mode" = system ] || chown "$lab_user" "$lab/$name.serial"
    domain_xml "$name" >"$lab/$name.xml"
    lab_run virsh -q define "$lab/$name.xml" >/dev/null
    keep_capabilities
}

# Firmware for who boots nothing: cli; hlt; and again, at the reset vector (the
# last 16 bytes). SeaBIOS takes seconds of CPU to find no system.
idle_rom() {
    [ ! -e "$lab/idle.rom" ] || return 0
    { head -c 65520 /dev/zero && printf '\372\364\353\375%012d' 0; } \
        >"$lab/idle.rom.new"
    mv "$lab/idle.rom.new" "$lab/idle.rom"
}

# By a path of ours: libvirt's own would be too long for a socket.
agent_channel() {
    echo "<channel type='unix'><source mode='bind' path='$lab/run/$1.qga'/>
        <target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
}

# Reads one --disk; adds to $disks and $targets, the caller's.
define_disk() {
    local name=$1 word words target='' format=raw size=1G store=ds1 path=''
    local fill='' cache=none io='' bus=virtio policy='' driver
    local letters=abcdefgh
    IFS=, read -ra words <<<"$2"
    for word in "${words[@]}"; do
        case $word in
        target=*) target=${word#*=} ;;
        format=raw | format=qcow2) format=${word#*=} ;;
        size=*) size=${word#*=} ;;
        store=*) store=${word#*=} ;;
        path=*) path=${word#*=} ;;
        fill=*) fill=${word#*=} ;;
        cache=*) cache=${word#*=} ;;
        io=*) io=${word#*=} ;;
        bus=*) bus=${word#*=} ;;
        error_policy=*) policy=${word#*=} ;;
        iothread) iothreads=$((iothreads + 1)) && driver=1 ;;
        *) die "define: disk: not known: $word" ;;
        esac
    done
    if [ -z "$target" ]; then
        word=${targets//[!,]/}
        target=vd${letters:${#word}:1}
    fi
    path=$(realpath -m --relative-base=/ -- \
        "${path:-$lab/$store/$name-$target.$format}")
    path=/${path#/}
    [ -e "$path" ] || make_image "$path" "$format" "$size" "$fill"
    disks+="<disk type='file' device='disk'><driver name='qemu' type='$format'
        cache='$cache'${io:+ io='$io'}${policy:+ error_policy='$policy'}
        ${driver:+ iothread='$iothreads'}/>
        <source file='$path'/><target dev='$target' bus='$bus'/></disk>"
    targets+=,$target
}

# All by the lab's user, so that the image is its own.
make_image() {
    local path=$1 format=$2 size=$3 fill=$4 bytes
    bytes=$(numfmt --from=iec "$size")
    if [ -z "$fill" ]; then
        lab_run qemu-img create -q -f "$format" "$path" "$bytes"
        return
    fi
    [ "$fill" = all ] || bytes=$(numfmt --from=iec "$fill")
    # as fast as the disk; /dev/urandom is not
    lab_run sh -ec 'head -c "$1" /dev/zero | openssl enc -aes-128-ctr \
        -nosalt -pass "pass:$2" -md sha256 2>/dev/null >"$2"
        truncate -s "$3" "$2"' fill "$bytes" "$path" \
        "$(numfmt --from=iec "$size")"
    [ "$format" != raw ] || return 0
    lab_run sh -ec 'qemu-img convert -f raw -O "$2" "$1" "$1.new"
        mv "$1.new" "$1"' convert "$path" "$format"
}

# The control port is a socket: one client at a time, see tell.sh.
domain_xml() {
    local boot="<loader readonly='yes' type='rom'>$lab/idle.rom</loader>"
    [ $os = 0 ] || boot="<kernel>$lab/vmlinuz</kernel>
        <initrd>$lab/initrd</initrd>
        <cmdline>console=ttyS0 quiet panic=-1 ${args//$'\n'/ }</cmdline>"
    cat <<-EOT
	<domain type='qemu'>
	<name>$1</name><memory unit='MiB'>$mem</memory><vcpu>1</vcpu>
	<iothreads>$iothreads</iothreads>
	<os><type arch='x86_64' machine='pc'>hvm</type>$boot</os>
	<features><acpi/></features>
	<clock offset='utc'/>
	<on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot>
	<on_crash>destroy</on_crash>
	<devices>$disks
	<serial type='file'><source path='$lab/$1.serial' append='on'/>
	<target port='0'/></serial>
	<serial type='unix'><source mode='bind' path='$lab/run/$1.ctl'/>
	<target port='1'/></serial>
	<controller type='usb' model='none'/><memballoon model='none'/>
	$devices</devices></domain>
	EOT
}
