#!/usr/bin/env bash
#
# packages.sh: fetches strongSwan for the lab's guests and prints the folder in which it lies unpacked. Nothing is installed: a guest lays
# that folder's usr over its own (charon.ts). Debian's packages, in the release of this machine, in the same cache as the kernels.

set -euo pipefail
. "$(dirname "$(readlink -f "$0")")/../boot-common.sh"

open_cache
# The libraries are those that a small Debian may lack; a guest prefers the machine's own.
fetch_packages strongswan charon-systemd strongswan-charon strongswan-starter strongswan-swanctl strongswan-libcharon libstrongswan \
  libstrongswan-standard-plugins libcap2 libgmp10 libsystemd0
[ -x "$cache/strongswan/usr/sbin/charon-systemd" ] || die "no charon-systemd in $cache/strongswan: remove that directory and try again"
echo "$cache/strongswan"
