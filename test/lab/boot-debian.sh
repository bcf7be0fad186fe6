#!/usr/bin/env bash
#
# boot-debian.sh: runs one command on Debian's own x86-64 kernel in QEMU.
#
# The sister of boot-uml.sh, with the same use. Slower to boot and to compute (software emulation), but these are the kernels that people
# run: HZ=250, no 64-bit padding attributes, 6.1 or 6.12. Root is this machine's file system over 9p, shared and writable.
#
#   boot-debian.sh [options] [--] COMMAND [ARGUMENT...]
#
#   -k, --kernel 6.1|6.12   which of Debian's kernels                     (default 6.1)
#   -t, --timeout SECONDS   end the guest after so long                   (default 900)
#   -m, --mem SIZE          memory of the guest                           (default 1500M)
#   -s, --smp N             processors                                    (default 1)
#   -a, --accel NAME        QEMU's accelerator: tcg works everywhere, kvm is faster where it works  (default tcg)
#   -e, --env NAME[=VALUE]  give COMMAND this environment variable too    (repeatable)
#   -v, --verbose           show the kernel's console on stderr
#       --fetch             only fetch what a boot needs, print the kernel's path
#   -h, --help              this text
#
# Exit status: that of COMMAND; 124 time limit; 125 the guest did not start or died; 2 bad usage. COMMAND starts in the current directory;
# its stdout and stderr come out here, apart; its stdin is /dev/null. Private to the guest: /proc /sys /dev /run.
# Needs the Debian packages qemu-system-x86, busybox-static and cpio. The kernel image goes to the cache directory of boot-uml.sh.

set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/boot-common.sh"

MODULES="af_packet bridge veth dummy esp4 esp6 xfrm_user af_key xfrm4_tunnel xfrm6_tunnel udp_tunnel ip6_udp_tunnel
  crypto_null cbc ctr gcm ghash-generic seqiv echainiv authenc authencesn hmac sha256_generic sha512_generic"
# In the order in which they depend on each other; those that a release has built in or dropped are passed over.
INITRD_MODULES="virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci netfs fscache 9pnet 9pnet_virtio 9p"

timeout_s=900 mem=1500M smp=1 accel=tcg verbose=0 fetch_only=0 release=6.1
declare -a pass_env=()
while [ $# -gt 0 ]; do
  case $1 in
    -k|--kernel|-t|--timeout|-m|--mem|-s|--smp|-a|--accel|-e|--env)
      [ $# -ge 2 ] || bad "$1 needs a value"
      case $1 in
        -k|--kernel) release=$2 ;; -t|--timeout) timeout_s=$2 ;; -m|--mem) mem=$2 ;; -s|--smp) smp=$2 ;;
        -a|--accel) accel=$2 ;; *) pass_env+=("$2") ;;
      esac
      shift 2 ;;
    -v|--verbose) verbose=1; shift ;;
    --fetch) fetch_only=1; shift ;;
    -h|--help) usage; exit 0 ;;
    --) shift; break ;;
    -*) bad "unknown option $1" ;;
    *) break ;;
  esac
done
case $release in 6.1) meta=linux-image-amd64 ;; 6.12) meta=linux-image-6.12-amd64 ;; *) bad "--kernel takes 6.1 or 6.12" ;; esac
[[ $timeout_s =~ ^[0-9]+$ && $smp =~ ^[1-9][0-9]*$ ]] || bad "--timeout and --smp take whole numbers"
[ $# -gt 0 ] || [ $fetch_only = 1 ] || bad "no command given"
for tool in qemu-system-x86_64 cpio busybox; do
  command -v $tool >/dev/null || die "$tool is missing: apt-get install qemu-system-x86 busybox-static cpio"
done

open_cache
need_tool modprobe kmod
need_tool depmod kmod
need_tool ip iproute2

# Adds to an unpacked image package what a boot wants: the module index, a kernel at a fixed path, and an initrd that mounts the host.
prepare_image() {
  local tree=$1 version module file initrd=$1/.initrd
  # Newer packages hold everything below /usr.
  [ -d "$tree/lib/modules" ] || { mkdir -p "$tree/lib"; ln -s ../usr/lib/modules "$tree/lib/modules"; }
  version=$(ls "$tree/lib/modules")
  depmod -b "$tree" "$version"
  cp "$(find -L "$tree/boot" -name 'vmlinuz-*' | head -n 1)" "$tree/vmlinuz"
  mkdir -p "$initrd"/{dev,proc,sys,modules,host}
  cp "$(command -v busybox)" "$initrd/busybox"
  for module in $INITRD_MODULES; do
    file=$(find -L "$tree/lib/modules/$version/kernel" -name "$module.ko*" | head -n 1)
    case $file in
      '') continue ;;
      *.xz) xz -dc "$file" >"$initrd/modules/$module.ko" ;;
      *.zst) zstd -qdc "$file" >"$initrd/modules/$module.ko" ;;
      *) cp "$file" "$initrd/modules/$module.ko" ;;
    esac
  done
  {
    echo '#!/busybox sh'
    echo 'for f in proc:proc sysfs:sys devtmpfs:dev; do /busybox mount -t ${f%:*} none /${f#*:}; done'
    echo "for m in $(echo $INITRD_MODULES); do [ ! -e /modules/\$m.ko ] || /busybox insmod /modules/\$m.ko; done"
    echo '/busybox mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=loose host /host'
    echo '/busybox mount --move /dev /host/dev'
    echo 'exec /busybox chroot /host /bin/bash "$(/busybox sed "s/.*lab_run=//" /proc/cmdline)/init"'
  } >"$initrd/init"
  chmod +x "$initrd/init"
  (cd "$initrd" && find . | cpio -o -H newc --quiet | gzip -1) >"$tree/initrd.gz"
  rm -rf "$initrd"
}
tree=$cache/debian-$release
if [ ! -d "$tree" ]; then
  image=$(apt-cache depends "$meta" 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
  [ -n "$image" ] || die "$meta is unknown to apt; 'apt-get update' must run first (6.12 is in Debian 12's backports, too)"
  PREPARE=prepare_image fetch_packages "debian-$release" "$image"
fi
[ $fetch_only = 0 ] || { echo "$tree/vmlinuz"; exit 0; }

base=${TMPDIR:-/var/tmp}
case $base/ in /run/*|/dev/*|/proc/*|/sys/*) base=/var/tmp ;; esac
run=$(mktemp -d "$base/xfrmsync-qemu.XXXXXX")
emulator=""
declare -a readers=()
finish() {
  [ -z "$emulator" ] || kill "$emulator" 2>/dev/null || true
  local p; for p in ${readers[@]+"${readers[@]}"}; do kill "$p" 2>/dev/null || true; done
  rm -rf "$run"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# The exchange directory is mounted a second time, without a cache: what the guest appends there is seen here at once.
mkdir "$run/exchange"
write_command "$@"
{
  echo '#!/bin/bash'
  printf 'export PATH=%q\nrun=%q\ntree=%q\n' "$PATH" "$run" "$tree"
  guest_functions
  cat <<'END'
bind_host() { mount --bind "$1" "$2"; }
mount -t proc proc /proc
mount -t sysfs sysfs /sys
cover /run
mkdir -p /dev/pts /dev/shm /run/lock /run/exchange
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=none exchange /run/exchange
printf '#!/bin/bash\nPATH=%q exec modprobe -d %q "$@"\n' "$PATH" "$tree" >/run/modprobe
chmod +x /run/modprobe
echo /run/modprobe >/proc/sys/kernel/modprobe
END
  echo "/run/modprobe -aq $(echo $MODULES) || true"
  cat <<'END'
ip link set lo up
: >/run/exchange/started
"$run/command" </dev/null >/run/exchange/out 2>/run/exchange/err
echo $? >/run/exchange/status
sync
echo o >/proc/sysrq-trigger
sleep 10
END
} >"$run/init"

: >"$run/exchange/out"; : >"$run/exchange/err"
tail -n +1 -s 0.2 -f "$run/exchange/out" 2>/dev/null & readers+=($!)
tail -n +1 -s 0.2 -f "$run/exchange/err" 3>&2 2>/dev/null >&3 & readers+=($!)
console=$run/console; [ $verbose = 0 ] || console=/dev/stderr
timeout -k 5 "$timeout_s" qemu-system-x86_64 -accel "$accel" -cpu max -m "$mem" -smp "$smp" -display none -vga none -no-reboot \
  -serial stdio -monitor none -kernel "$tree/vmlinuz" -initrd "$tree/initrd.gz" -append "console=ttyS0 quiet panic=-1 lab_run=$run" \
  -fsdev local,id=host,path=/,security_model=none,multidevs=remap -device virtio-9p-pci,fsdev=host,mount_tag=host \
  -fsdev local,id=exchange,path="$run/exchange",security_model=none -device virtio-9p-pci,fsdev=exchange,mount_tag=exchange \
  </dev/null >>"$console" 2>&1 &
emulator=$!
rc=0; wait "$emulator" || rc=$?
emulator=""

# The readers look every 0.2 s; they are done when they have read as much as there is.
sleep 0.5
[ ! -s "$run/exchange/status" ] || exit "$(cat "$run/exchange/status")"
[ $rc != 124 ] && [ $rc != 137 ] || { echo "$PROG: time limit of $timeout_s s reached" >&2; exit 124; }
[ $verbose = 1 ] || tail -n 20 "$run/console" >&2
[ ! -e "$run/exchange/started" ] || die "the guest died while the command ran (status $rc)"
die "the guest did not start (status $rc)"
