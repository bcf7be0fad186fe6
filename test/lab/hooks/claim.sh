#!/bin/bash
# Runs on the gateway that becomes active, once its SAs are right: takes the shared addresses and announces them.
#
# Routes come first: as soon as an address is here, what waits at the old owner may come, which asks for it; by the route that release.sh
# left it would go back there, and around until its time to live is over.
#
# The old owner is told before anyone else, and everything that waited there has to be here before peers hear of it. Else packets that come
# straight overtake those that waited, by more than a replay window where these are many, and the window refuses what it was overtaken by.
# So until then nothing that leaves here may say who has the addresses: ARP requests are sent from the gateway's own address (arp_announce),
# IPv6 has no such switch, so the next hops are known beforehand (`managed`).
#
# Setting an interface's hardware address to what it is makes the kernel announce every address it has: gratuitous ARP where arp_notify is
# set, unsolicited neighbour advertisements where ndisc_notify is. It also forgets all neighbours.
#
# The policies that release.sh left go last: on a gateway that has none, `ip xfrm policy delete` ends the whole batch.
set -eu
. "$(dirname "$0")/addresses.sh"
read -r out_mac <"/sys/class/net/$OUT/address"
read -r in_mac <"/sys/class/net/$IN/address"
read -r other4 other6 <<<"$(own_addresses "${XFRMSYNC_FROM:-}")"

{
  echo "route replace $REMOTE4 via $PEER4 dev $OUT"
  echo "route replace $REMOTE6 via $PEER6 dev $OUT"
  echo "addr add $OUT4 dev $OUT"
  echo "addr add $OUT6 dev $OUT nodad"
  echo "addr add $IN4 dev $IN"
  echo "addr add $IN6 dev $IN nodad"
  if [ -n "$other4" ]; then
    # From the shared addresses, for `passed_on`. Neighbour discovery for an unknown neighbour tells it who asks, and nobody else.
    echo "neigh flush to $other6 dev $OUT"
    echo "route replace $other4/32 dev $OUT src ${OUT4%/*}"
    echo "route replace $other6/128 dev $OUT src ${OUT6%/*}"
  fi
} | ip -force -batch - 2>/dev/null || true

# Asks a closed port of the old owner, from the shared address. The refusal comes behind all that has waited there for this address.
passed_on() {
  (exec 3<>"/dev/udp/$1/9" && echo >&3 && read -r -t 2 -u 3) 2>/dev/null || true
}
if [ -n "$other4" ]; then
  passed_on "$other4" &
  passed_on "$other6" &
  wait
fi

{
  if [ -n "$other4" ]; then
    echo "route del $other4/32 dev $OUT"
    echo "route del $other6/128 dev $OUT"
  fi
  echo "link set dev $OUT address $out_mac"
  echo "link set dev $IN address $in_mac"
  echo "neigh replace $PEER4 dev $OUT managed"
  echo "neigh replace $PEER6 dev $OUT managed"
  echo "xfrm policy delete src $LOCAL4 dst $REMOTE4 dev $IN dir out"
  echo "xfrm policy delete src $LOCAL6 dst $REMOTE6 dev $IN dir out"
} | ip -force -batch - 2>/dev/null || true
