# What moves between the gateways of the lab. world.ts says the same.
OUT=out0 OUT4=192.0.2.10/24 OUT6=2001:db8:1::10/64
IN=in0 IN4=10.9.0.1/24 IN6=fd09::1/64
PEER4=192.0.2.2 PEER6=2001:db8:1::2
# What lies behind the peer, and what lies behind the gateways.
REMOTE4=10.77.0.0/16 REMOTE6=fd77::/32
LOCAL4=10.9.0.0/24 LOCAL6=fd09::/64
# The outside addresses that are each gateway's own.
A4=192.0.2.11 A6=2001:db8:1::11
B4=192.0.2.12 B6=2001:db8:1::12
# For an old owner that was there a moment ago, and does not answer.
WAIT_S=5
