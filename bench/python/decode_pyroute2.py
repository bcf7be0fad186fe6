"""Peer of the row "decode": a NEWAE message class as a user of pyroute2 writes it, decoded by pyroute2's parser.

    decode_pyroute2.py CORPUS, then on stdin: "verify" | "run MILLISECONDS"

pyroute2 has no class for XFRM messages. It decodes attributes when they are first looked at, so each is looked at.
"""

import struct
import sys
import time

from pyroute2.netlink import nla, nlmsg


class aemsg(nlmsg):
    fields = (
        ('daddr', '16s'),
        ('spi', '>I'),
        ('family', 'H'),
        ('proto', 'B'),
        ('__pad', 'x'),
        ('saddr', '16s'),
        ('flags', 'I'),
        ('reqid', 'I'),
    )

    nla_map = (
        (9, 'XFRMA_LTIME_VAL', 'lifetime'),
        (10, 'XFRMA_REPLAY_VAL', 'replay'),
        (11, 'XFRMA_REPLAY_THRESH', 'uint32'),
        (12, 'XFRMA_ETIMER_THRESH', 'uint32'),
        (21, 'XFRMA_MARK', 'mark'),
        (23, 'XFRMA_REPLAY_ESN_VAL', 'replay_esn'),
    )

    class lifetime(nla):
        fields = (('bytes', 'Q'), ('packets', 'Q'), ('add_time', 'Q'), ('use_time', 'Q'))

    class replay(nla):
        fields = (('oseq', 'I'), ('seq', 'I'), ('bitmap', 'I'))

    class mark(nla):
        fields = (('value', 'I'), ('mask', 'I'))

    class replay_esn(nla):
        fields = (
            ('bmp_len', 'I'),
            ('oseq', 'I'),
            ('seq', 'I'),
            ('oseq_hi', 'I'),
            ('seq_hi', 'I'),
            ('replay_window', 'I'),
        )

        def decode(self):
            nla.decode(self)
            self['bmp'] = struct.unpack_from('%dI' % self['bmp_len'], self.data, self.offset + 28)


def mix(total, word):
    return (total * 31 + word) & 0xFFFFFFFF


def checksum(total, message):
    for word in struct.unpack('>4I', message['daddr']):
        total = mix(total, word)
    for name in ('spi', 'family', 'proto', 'flags'):
        total = mix(total, message[name])
    replay = message.get_attr('XFRMA_REPLAY_ESN_VAL') or message.get_attr('XFRMA_REPLAY_VAL')
    for name in ('oseq', 'oseq_hi', 'seq', 'seq_hi'):
        total = mix(total, replay.get(name, 0) or 0)
    lifetime = message.get_attr('XFRMA_LTIME_VAL')
    for name in ('bytes', 'packets'):
        total = mix(mix(total, lifetime[name] & 0xFFFFFFFF), lifetime[name] >> 32)
    return total


def offsets(corpus):
    at = 0
    while at < len(corpus):
        yield at
        at += (struct.unpack_from('I', corpus, at)[0] + 3) & ~3


def decode(corpus, at):
    message = aemsg(corpus, offset=at)
    message.decode()
    for slot in message['attrs']:
        slot.value
    return message


def main():
    with open(sys.argv[1], 'rb') as file:
        corpus = file.read()
    starts = list(offsets(corpus))
    for line in sys.stdin:
        words = line.split()
        limit = int(words[1]) * 1_000_000 if words[0] == 'run' else 0
        total = messages = 0
        start = end = time.perf_counter_ns()
        if not limit:
            for at in starts:
                total = checksum(total, decode(corpus, at))
            messages = len(starts)
        while end - start < limit:
            at = starts[messages % len(starts)]
            message = decode(corpus, at)
            total = (total + message['spi'] + message['flags']) & 0xFFFFFFFF
            messages += 1
            if messages & 15 == 0:
                end = time.perf_counter_ns()
        print('messages=%d ns=%d sum=%d' % (messages, end - start, total), flush=True)


main()
