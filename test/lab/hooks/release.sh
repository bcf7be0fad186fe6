#!/bin/sh
# Runs on the gateway that stops being active, while its SAs still work: gives the shared addresses up and passes on what still arrives.
#
# - Plaintext from the inside goes back to the inside, to the shared address there; a policy without a transform keeps it out of the SAs.
# - ESP for the shared outside address is not local any more, so it is forwarded to that address.
# Both wait in the kernel's neighbour queue until the next owner announces itself. No packet is lost, and none touches an SA here.
# In this order: while the outside address is here the SAs need it, and the inside address must be gone before it can be a next hop.
set -eu
. "${0%/*}/addresses.sh"
ip -force -batch - 2>/dev/null <<END || true
addr del $IN4 dev $IN
addr del $IN6 dev $IN
xfrm policy update src $LOCAL4 dst $REMOTE4 dev $IN dir out priority 1
xfrm policy update src $LOCAL6 dst $REMOTE6 dev $IN dir out priority 1
route replace $REMOTE4 via ${IN4%/*} dev $IN
route replace $REMOTE6 via ${IN6%/*} dev $IN
addr del $OUT4 dev $OUT
addr del $OUT6 dev $OUT
END
