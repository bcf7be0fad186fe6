# What moves between the gateways of the lab. world.ts says the same.
OUT=out0 OUT4=192.0.2.10/24 OUT6=2001:db8:1::10/64
IN=in0 IN4=10.9.0.1/24 IN6=fd09::1/64
PEER4=192.0.2.2 PEER6=2001:db8:1::2
# What lies behind the peer, and what lies behind the gateways.
REMOTE4=10.77.0.0/16 REMOTE6=fd77::/32
LOCAL4=10.9.0.0/24 LOCAL6=fd09::/64
# The outside addresses that are each gateway's own, by the node's name.
own_addresses() {
  case $1 in
    a) echo 192.0.2.11 2001:db8:1::11 ;;
    b) echo 192.0.2.12 2001:db8:1::12 ;;
  esac
}
