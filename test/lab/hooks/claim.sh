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
# The policies that release.sh left go last: on a gateway that has none, `ip xfrm policy delete` ends the whole batch. (So does `ip neigh
# delete`; `ip neigh flush` does not.) In an emulated machine a fork costs more than anything else here: there are two.
set -eu
. "${0%/*}/addresses.sh"
read -r out_mac <"/sys/class/net/$OUT/address"
read -r in_mac <"/sys/class/net/$IN/address"
other4="" other6="" before="" after=""
case ${XFRMSYNC_FROM:-} in
  a) other4=$A4 other6=$A6 ;;
  b) other4=$B4 other6=$B6 ;;
esac
if [ -n "$other4" ]; then
  # The old owner is asked from the shared addresses. Neighbour discovery for an unknown neighbour tells it who asks, and nobody else.
  before="neigh flush to $other6 dev $OUT
route replace $other4/32 dev $OUT src ${OUT4%/*}
route replace $other6/128 dev $OUT src ${OUT6%/*}"
  after="route del $other4/32 dev $OUT
route del $other6/128 dev $OUT"
fi

ip -force -batch - 2>/dev/null <<END || true
route replace $REMOTE4 via $PEER4 dev $OUT
route replace $REMOTE6 via $PEER6 dev $OUT
addr add $OUT4 dev $OUT
addr add $OUT6 dev $OUT nodad
addr add $IN4 dev $IN
addr add $IN6 dev $IN nodad
$before
END

if [ -n "$other4" ]; then
  # To closed ports: what says so comes behind all that has waited there for the shared address.
  exec 3<>"/dev/udp/$other4/9" 4<>"/dev/udp/$other6/9" || true
  { echo >&3 && echo >&4 && read -r -t "$WAIT_S" -u 3; read -r -t "$WAIT_S" -u 4; } 2>/dev/null || true
fi

ip -force -batch - 2>/dev/null <<END || true
$after
link set dev $OUT address $out_mac
link set dev $IN address $in_mac
neigh replace $PEER4 dev $OUT managed
neigh replace $PEER6 dev $OUT managed
xfrm policy delete src $LOCAL4 dst $REMOTE4 dev $IN dir out
xfrm policy delete src $LOCAL6 dst $REMOTE6 dev $IN dir out
END
