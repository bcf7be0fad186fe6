# What boot-uml.sh and boot-debian.sh share: the cache, packages fetched without installing them, the tools the guest needs, and the
# scripts that run inside. Sourced, never run.

PROG=${0##*/}
PATH=$PATH:/usr/sbin:/sbin

die() { echo "$PROG: $*" >&2; exit 125; }
bad() { echo "$PROG: $* (try --help)" >&2; exit 2; }
# The comment block at the top of the calling script is its manual.
usage() { sed -n '3,/^$/s/^# \{0,1\}//p' "$0"; }

open_cache() {
  cache=${XFRMSYNC_CACHE:-${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/xfrmsync-lab}
  mkdir -p "$cache" 2>/dev/null || die "cannot create the cache directory $cache (set XFRMSYNC_CACHE)"
  cache=$(cd "$cache" && pwd -P)
}

# A network that swallows packets is given up soon: each suite that wants a kernel tries again.
apt_patience="-o Acquire::Retries=1 -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20"

# fetch_packages TARGET PACKAGE...: downloads Debian packages and unpacks them into one tree at $cache/TARGET. The tree appears under its
# name only when it is whole; of two scripts that fetch at the same time the first one wins. PREPARE names a function that gets the tree
# before it is published.
fetch_packages() {
  local target=$cache/$1 work; shift
  [ ! -d "$target" ] || return 0
  command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
    die "$* is needed in $target, and this machine has no apt-get and dpkg-deb to fetch it with"
  work=$(mktemp -d "$cache/.fetch.XXXXXX")
  echo "$PROG: fetching $* (once, into $cache)" >&2
  # shellcheck disable=SC2086
  if ! (cd "$work" && apt-get $apt_patience download "$@" >apt.log 2>&1); then
    grep -E '^[EW]:' "$work/apt.log" >&2 || cat "$work/apt.log" >&2
    rm -rf "$work"
    die "apt-get download $* failed; without package lists, 'apt-get update' must run first"
  fi
  mkdir "$work/tree"
  local deb
  for deb in "$work"/*.deb; do
    dpkg-deb -x "$deb" "$work/tree" || { rm -rf "$work"; die "cannot unpack ${deb##*/}"; }
  done
  if [ -n "${PREPARE:-}" ]; then "$PREPARE" "$work/tree" || { rm -rf "$work"; die "cannot prepare $target"; }; fi
  mv -T "$work/tree" "$target" 2>/dev/null || [ -d "$target" ] || { rm -rf "$work"; die "cannot store $target"; }
  rm -rf "$work"
}

# A tree of packages brings libraries that the machine may lack. Its programs run through the machine's own loader with the tree's
# library directories in front, so that nothing leaks into the environment of what they start.
write_launcher() { # FILE PROGRAM NAME TREE
  local loader libs
  loader=$(ls /lib64/ld-linux-*.so.* /lib/ld-linux-*.so.* 2>/dev/null | head -n 1)
  [ -n "$loader" ] || die "no dynamic loader found"
  libs=$(find "$4" -name '*.so.*' -printf '%h\n' | sort -u | paste -sd :)
  printf '#!/bin/sh\nexec %q --argv0 %q --library-path %q %q "$@"\n' "$loader" "$3" "$libs" "$2" >"$1"
  chmod +x "$1"
}

# The packages that PACKAGE needs, itself included, without the C library, which every machine has.
closure() {
  apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances \
    --no-pre-depends "$1" 2>/dev/null | grep -E '^[a-z0-9]' | grep -vE '^(libc6|libc-bin|libgcc-s1|gcc-[0-9]+-base|debconf.*|cdebconf|perl.*|dpkg|install-info)$' | sort -u
}

# need_tool NAME PACKAGE: makes sure that the guest finds NAME; puts a launcher into $tools (which leads the guest's PATH) if the machine
# does not have it.
tools=""
need_tool() {
  ! command -v "$1" >/dev/null || return 0
  local tree=$cache/$2 program
  if [ ! -d "$tree" ]; then
    local packages; packages=$(closure "$2")
    [ -n "$packages" ] || die "$1 is missing and the package $2 is unknown to apt; 'apt-get update' must run first"
    # shellcheck disable=SC2086
    fetch_packages "$2" $packages
  fi
  program=$(find "$tree" \( -path '*/bin/*' -o -path '*/sbin/*' \) -name "$1" | head -n 1)
  [ -n "$program" ] || die "the package $2 has no $1"
  program=$(chroot_path "$tree" "$program")
  tools=$cache/tools; mkdir -p "$tools"
  write_launcher "$tools/$1.$$" "$program" "$1" "$tree" && mv "$tools/$1.$$" "$tools/$1"
  PATH=$tools:$PATH
}

# A link in an unpacked tree (/sbin/ip -> /bin/ip, modprobe -> ../bin/kmod) means the tree's file, not the machine's.
chroot_path() {
  local tree=$1 file=$2 link hops
  for hops in 1 2 3 4 5; do
    [ -L "$file" ] || break
    link=$(readlink "$file")
    case $link in /*) file=$tree$link ;; *) file=${file%/*}/$link ;; esac
  done
  echo "$file"
}

# $run/command: the caller's command, in the caller's directory, with the caller's PATH.
write_command() {
  {
    echo '#!/bin/bash'
    printf 'export PATH=%q HOME=%q USER=%q LANG=%q TERM=dumb\n' "$PATH" "${HOME:-/}" "${USER:-root}" "${LANG:-C.UTF-8}"
    local v
    for v in ${pass_env[@]+"${pass_env[@]}"}; do
      case $v in
        *=*) printf 'export %s=%q\n' "${v%%=*}" "${v#*=}" ;;
        *) [ -z "${!v+x}" ] || printf 'export %s=%q\n' "$v" "${!v}" ;;
      esac
    done
    printf 'cd %q || exit 125\nexec' "$PWD"
    printf ' %q' "$@"
    echo
  } >"$run/command"
  chmod +x "$run/command"
}

# Text of the guest function `cover DIR`: a fresh tmpfs on DIR, in which those of the host's directories that the run needs (the caller's
# own, the cache, the run directory, LAB_KEEP) and that lie below DIR can still be reached. The caller defines `bind_host`, which mounts one
# directory of the host.
guest_functions() {
  local keep="" d
  for d in "$PWD" "$cache" "$run" "${LAB_KEEP:-}"; do [ -z "$d" ] || keep+=" $(printf %q "$d")"; done
  cat <<END
cover() {
  local dir=\$1 d i=0 kept=()
  for d in$keep; do case \$d/ in "\$dir"/?*) kept+=("\$d") ;; esac; done
  if [ \${#kept[@]} = 0 ]; then mount -t tmpfs tmpfs "\$dir"; return; fi
  local fresh=$(printf %q "$run")/cover
  mkdir -p "\$fresh"; mount -t tmpfs tmpfs "\$fresh"
  for d in "\${kept[@]}"; do mkdir -p "\$fresh\${d#"\$dir"}"; bind_host "\$d" "\$fresh\${d#"\$dir"}"; done
  mount --move "\$fresh" "\$dir"
}
END
}
