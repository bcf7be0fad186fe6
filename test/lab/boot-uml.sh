#!/usr/bin/env bash
#
# boot-uml.sh: runs one command on a real Linux 6.1 kernel with IPsec.
#
# The kernel is Debian's User-Mode Linux, a Linux kernel that runs as an ordinary process: no root, nothing to install. Its root is this
# machine's file system, so what is installed here exists inside too, and files that COMMAND writes are really written, with the rights
# of the caller. COMMAND is root of the guest alone: network namespaces, modules and SAs there do not touch this machine.
#
#   boot-uml.sh [options] [--] COMMAND [ARGUMENT...]
#
#   -t, --timeout SECONDS   end the guest after so long                   (default 600)
#   -m, --mem SIZE          memory of the guest                           (default 1024M)
#   -e, --env NAME[=VALUE]  give COMMAND this environment variable too    (repeatable)
#   -v, --verbose           show the kernel's console on stderr
#       --fetch             only fetch what a boot needs, print the kernel's path
#   -h, --help              this text
#
# Exit status: that of COMMAND; 124 time limit; 125 the guest did not start or died; 2 bad usage. COMMAND starts in the current directory;
# its stdout and stderr come out here, apart and unchanged; its stdin is /dev/null. Private to the guest: /proc /sys /dev /run.
# One processor, HZ=100. What is fetched goes to $XFRMSYNC_CACHE, else $XDG_CACHE_HOME/xfrmsync-lab, else ~/.cache/xfrmsync-lab.

set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/boot-common.sh"

# Loaded before COMMAND starts, because a cipher that is first asked for by a netlink request would be loaded in the middle of a measurement.
MODULES="ipv6 af_packet bridge veth dummy esp4 esp6 xfrm_user af_key xfrm4_tunnel xfrm6_tunnel udp_tunnel ip6_udp_tunnel
  crypto_null cbc ctr gcm ghash-generic seqiv echainiv authenc authencesn hmac sha256_generic sha512_generic"

timeout_s=600 mem=1024M verbose=0 fetch_only=0
declare -a pass_env=()
while [ $# -gt 0 ]; do
  case $1 in
    -t|--timeout|-m|--mem|-e|--env)
      [ $# -ge 2 ] || bad "$1 needs a value"
      case $1 in -t|--timeout) timeout_s=$2 ;; -m|--mem) mem=$2 ;; *) pass_env+=("$2") ;; esac
      shift 2 ;;
    -v|--verbose) verbose=1; shift ;;
    --fetch) fetch_only=1; shift ;;
    -h|--help) usage; exit 0 ;;
    --) shift; break ;;
    -*) bad "unknown option $1" ;;
    *) break ;;
  esac
done
[[ $timeout_s =~ ^[0-9]+$ ]] || bad "--timeout takes whole seconds"
[ $# -gt 0 ] || [ $fetch_only = 1 ] || bad "no command given"
[ "$(uname -sm)" = "Linux x86_64" ] || die "User-Mode Linux is packaged for x86-64 Linux alone"

open_cache
link_modules() { mkdir -p "$1/lib" && { [ -e "$1/lib/modules" ] || ln -s ../usr/lib/uml/modules "$1/lib/modules"; }; }
PREPARE=link_modules fetch_packages user-mode-linux user-mode-linux
tree=$cache/user-mode-linux
kernel=$tree/usr/bin/linux.uml
[ -x "$kernel" ] || die "no kernel in $tree: remove that directory and try again"
need_tool modprobe kmod
need_tool ip iproute2
[ $fetch_only = 0 ] || { echo "$kernel"; exit 0; }

# What is mounted over in the guest cannot hold the run directory.
base=${TMPDIR:-/tmp}
case $base/ in /run/*|/dev/*|/proc/*|/sys/*) base=/tmp ;; esac
run=$(mktemp -d "$base/xfrmsync-uml.XXXXXX")
guest=""
finish() {
  if [ -n "$guest" ]; then
    # The guest's kernel leads a process group, in which all its processes are.
    local pid; pid=$(cat "$run/guest/pid" 2>/dev/null || true)
    [ -z "$pid" ] || kill -KILL -- "-$pid" 2>/dev/null || kill -KILL "$pid" 2>/dev/null || true
    kill -TERM "$guest" 2>/dev/null || true
    wait "$guest" 2>/dev/null || true
  fi
  rm -rf "$run"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

write_command "$@"
# The kernel itself calls this for an algorithm that is not loaded yet.
printf '#!/bin/bash\nPATH=%q exec modprobe -d %q "$@"\n' "$PATH" "$tree" >"$run/modprobe"
{
  echo '#!/bin/bash'
  printf 'export PATH=%q\nrun=%q\n' "$PATH" "$run"
  guest_functions
  cat <<'END'
bind_host() { mount -t hostfs none "$2" -o "$1"; }
mount -t proc proc /proc
mount -t sysfs sysfs /sys
cover /run
[ -c /dev/null ] || mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm /run/lock
mount -t devpts devpts /dev/pts 2>/dev/null
cover /dev/shm
echo "$run/modprobe" >/proc/sys/kernel/modprobe
END
  echo "\"\$run/modprobe\" -aq $(echo $MODULES) || true"
  cat <<'END'
ip link set lo up
# The terminals carry the command's output: bytes must pass as they are.
for t in 1 2; do stty raw -echo </dev/tty$t; done
: >"$run/started"
"$run/command" </dev/null >/dev/tty1 2>/dev/tty2
status=$?
# Until the terminals have handed everything on: a program that leaves does not wait for it.
for t in 1 2; do stty -F /dev/tty$t cooked -echo 2>/dev/null; done
echo $status >"$run/status"
sync
echo o >/proc/sysrq-trigger 2>/dev/null || poweroff -f || halt -f
sleep 10
END
} >"$run/init"
chmod +x "$run/init" "$run/modprobe"

# Guest memory is a sparse file; a container's /dev/shm is often too small for it.
shm_kb=$(df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 { print $4 }')
mem_kb=$(($(numfmt --from=iec "$mem") / 1024))
memory=/dev/shm; [ "${shm_kb:-0}" -ge "$mem_kb" ] || memory=$base

console=$run/console; [ $verbose = 0 ] || console=/dev/stderr
# con0 is the kernel's console, con1 and con2 are COMMAND's stdout and stderr.
exec 5>>"$console" 6>&1 7>&2
TMPDIR=$memory timeout -k 5 "$timeout_s" "$kernel" mem="$mem" root=/dev/root rootfstype=hostfs rootflags=/ rw init="$run/init" \
  uml_dir="$run/" umid=guest con=null con0=null,fd:5 con1=null,fd:6 con2=null,fd:7 quiet </dev/null >&5 2>&5 &
guest=$!
rc=0; { wait "$guest" || rc=$?; } 2>/dev/null

[ ! -s "$run/status" ] || exit "$(cat "$run/status")"
[ $rc != 124 ] && [ $rc != 137 ] || { echo "$PROG: time limit of $timeout_s s reached" >&2; exit 124; }
[ $verbose = 1 ] || tail -n 20 "$run/console" >&2
[ ! -e "$run/started" ] || die "the guest died while the command ran (status $rc)"
die "the guest did not start (status $rc); User-Mode Linux needs ptrace or seccomp, which some container profiles forbid"
