#!/bin/sh
# Runs on the gateway that becomes active, once its SAs are right: takes the shared addresses and announces them.
#
# Setting an interface's hardware address to what it is makes the kernel announce every address it has: gratuitous ARP where arp_notify is
# set, unsolicited neighbour advertisements where ndisc_notify is. Routes come first: as soon as an address is here, what waits at the old
# owner may come, which asks for it once a second; by the route that release.sh left it would go back there, and around until its time to
# live is over. The policies that release.sh left go last: on a gateway that has none, `ip xfrm policy delete` ends the whole batch.
set -eu
. "$(dirname "$0")/addresses.sh"
read -r out_mac <"/sys/class/net/$OUT/address"
read -r in_mac <"/sys/class/net/$IN/address"
ip -force -batch - 2>/dev/null <<END || true
route replace $REMOTE4 via $PEER4 dev $OUT
route replace $REMOTE6 via $PEER6 dev $OUT
addr add $OUT4 dev $OUT
addr add $OUT6 dev $OUT nodad
addr add $IN4 dev $IN
addr add $IN6 dev $IN nodad
link set dev $OUT address $out_mac
link set dev $IN address $in_mac
xfrm policy delete src $LOCAL4 dst $REMOTE4 dev $IN dir out
xfrm policy delete src $LOCAL6 dst $REMOTE6 dev $IN dir out
END
