import { afterAll, describe, expect, it } from 'vitest';
import type { Layout } from '../../src/netlink/index.ts';
import { wireName } from '../../src/netlink/index.ts';
import { AeFlag, SaFlag, XfrmGroup, XfrmMode, XfrmMsg, xfrma } from '../../src/xfrm/index.ts';
import * as structs from '../../src/xfrm/structs.ts';
import { compile } from './toolchain.ts';

type AnyStruct = Extract<Layout, { kind: 'struct' }>;

/** Size and some offsets of each structure of linux/xfrm.h on 64 bits: [C field, our path, offset]. */
const table: [struct: AnyStruct, size: number, fields: [c: string, ours: string, offset: number][]][] = [
  [
    structs.xfrmId,
    24,
    [
      ['spi', 'spi', 16],
      ['proto', 'proto', 20],
    ],
  ],
  [
    structs.selector,
    56,
    [
      ['saddr', 'saddr', 16],
      ['dport', 'dport', 32],
      ['sport_mask', 'sportMask', 38],
      ['family', 'family', 40],
      ['prefixlen_s', 'prefixlenS', 43],
      ['proto', 'proto', 44],
      ['ifindex', 'ifindex', 48],
      ['user', 'user', 52],
    ],
  ],
  [
    structs.lifetimeCfg,
    64,
    [
      ['hard_byte_limit', 'hardByteLimit', 8],
      ['soft_packet_limit', 'softPacketLimit', 16],
      ['hard_packet_limit', 'hardPacketLimit', 24],
      ['soft_add_expires_seconds', 'softAddExpiresSeconds', 32],
      ['hard_use_expires_seconds', 'hardUseExpiresSeconds', 56],
    ],
  ],
  [
    structs.lifetimeCur,
    32,
    [
      ['packets', 'packets', 8],
      ['add_time', 'addTime', 16],
      ['use_time', 'useTime', 24],
    ],
  ],
  [
    structs.stats,
    12,
    [
      ['replay', 'replay', 4],
      ['integrity_failed', 'integrityFailed', 8],
    ],
  ],
  [
    structs.usersaInfo,
    224,
    [
      ['id', 'id', 56],
      ['saddr', 'saddr', 80],
      ['lft', 'lft', 96],
      ['curlft', 'curlft', 160],
      ['stats', 'stats', 192],
      ['seq', 'seq', 204],
      ['reqid', 'reqid', 208],
      ['family', 'family', 212],
      ['mode', 'mode', 214],
      ['replay_window', 'replayWindow', 215],
      ['flags', 'flags', 216],
    ],
  ],
  [
    structs.usersaId,
    24,
    [
      ['spi', 'spi', 16],
      ['family', 'family', 20],
      ['proto', 'proto', 22],
    ],
  ],
  [
    structs.aeventId,
    48,
    [
      ['saddr', 'saddr', 24],
      ['flags', 'flags', 40],
      ['reqid', 'reqid', 44],
    ],
  ],
  [
    structs.userspiInfo,
    232,
    [
      ['min', 'min', 224],
      ['max', 'max', 228],
    ],
  ],
  [structs.usersaFlush, 1, [['proto', 'proto', 0]]],
  [structs.userExpire, 232, [['hard', 'hard', 224]]],
  [
    structs.userpolicyInfo,
    168,
    [
      ['lft', 'lft', 56],
      ['curlft', 'curlft', 120],
      ['priority', 'priority', 152],
      ['index', 'index', 156],
      ['dir', 'dir', 160],
      ['share', 'share', 163],
    ],
  ],
  [
    structs.userpolicyId,
    64,
    [
      ['index', 'index', 56],
      ['dir', 'dir', 60],
    ],
  ],
  [structs.userPolexpire, 176, [['hard', 'hard', 168]]],
  [
    structs.userTmpl,
    64,
    [
      ['family', 'family', 24],
      ['saddr', 'saddr', 28],
      ['reqid', 'reqid', 44],
      ['mode', 'mode', 48],
      ['optional', 'optional', 50],
      ['aalgos', 'aalgos', 52],
      ['calgos', 'calgos', 60],
    ],
  ],
  [
    structs.userAcquire,
    280,
    [
      ['saddr', 'saddr', 24],
      ['sel', 'sel', 40],
      ['policy', 'policy', 96],
      ['aalgos', 'aalgos', 264],
      ['seq', 'seq', 276],
    ],
  ],
  [
    structs.userMigrate,
    76,
    [
      ['new_saddr', 'newSaddr', 48],
      ['proto', 'proto', 64],
      ['reqid', 'reqid', 68],
      ['old_family', 'oldFamily', 72],
      ['new_family', 'newFamily', 74],
    ],
  ],
  [
    structs.userKmaddress,
    40,
    [
      ['remote', 'remote', 16],
      ['reserved', 'reserved', 32],
      ['family', 'family', 36],
    ],
  ],
  [structs.userReport, 60, [['sel', 'sel', 4]]],
  [
    structs.userMapping,
    64,
    [
      ['reqid', 'reqid', 24],
      ['old_saddr', 'oldSaddr', 28],
      ['new_saddr', 'newSaddr', 44],
      ['old_sport', 'oldSport', 60],
      ['new_sport', 'newSport', 62],
    ],
  ],
  [
    structs.userpolicyDefault,
    3,
    [
      ['fwd', 'fwd', 1],
      ['out', 'out', 2],
    ],
  ],
  [
    structs.userpolicyType,
    6,
    [
      ['reserved1', 'reserved1', 2],
      ['reserved2', 'reserved2', 4],
    ],
  ],
  [structs.algo, 68, [['alg_key_len', 'keyLen', 64]]],
  [
    structs.algoAuth,
    72,
    [
      ['alg_key_len', 'keyLen', 64],
      ['alg_trunc_len', 'truncLen', 68],
    ],
  ],
  [
    structs.algoAead,
    72,
    [
      ['alg_key_len', 'keyLen', 64],
      ['alg_icv_len', 'icvLen', 68],
    ],
  ],
  [
    structs.encapTmpl,
    24,
    [
      ['encap_sport', 'sport', 2],
      ['encap_dport', 'dport', 4],
      ['encap_oa', 'oa', 8],
    ],
  ],
  [structs.mark, 8, [['m', 'mask', 4]]],
  [structs.userOffload, 8, [['flags', 'flags', 4]]],
  [
    structs.userSecCtx,
    8,
    [
      ['exttype', 'exttype', 2],
      ['ctx_alg', 'alg', 4],
      ['ctx_doi', 'doi', 5],
      ['ctx_len', 'ctxLen', 6],
    ],
  ],
  [
    structs.replayState,
    12,
    [
      ['seq', 'seq', 4],
      ['bitmap', 'bitmap', 8],
    ],
  ],
  [
    structs.replayStateEsn,
    24,
    [
      ['oseq', 'oseq', 4],
      ['seq', 'seq', 8],
      ['oseq_hi', 'oseqHi', 12],
      ['seq_hi', 'seqHi', 16],
      ['replay_window', 'replayWindow', 20],
    ],
  ],
  [
    structs.addressFilter,
    36,
    [
      ['family', 'family', 32],
      ['splen', 'splen', 34],
      ['dplen', 'dplen', 35],
    ],
  ],
  [structs.sadhinfo, 8, [['sadhmcnt', 'sadhmcnt', 4]]],
  [structs.spdinfo, 24, [['fwdscnt', 'fwdscnt', 20]]],
  [structs.spdhinfo, 8, [['spdhmcnt', 'spdhmcnt', 4]]],
  [structs.spdhthresh, 2, [['rbits', 'rbits', 1]]],
];

describe('structures', () => {
  it.each(table.map(([struct, size, fields]) => [struct.name, struct, size, fields] as const))(
    '%s',
    (_, struct, size, fields) => {
      expect(struct.size).toBe(size);
      for (const [, ours, offset] of fields) {
        expect([ours, struct.fields.find(({ name }) => name === ours)?.offset]).toEqual([ours, offset]);
      }
    },
  );
});

describe('the C compiler agrees', () => {
  /** Numbers that a header of some age may not have are asked for only if it has them. */
  const later = new Set(
    Object.entries(xfrma.specs)
      .filter(([, { type }]) => type > 32)
      .map(([name]) => name),
  );
  const lines = [
    ...table.flatMap(([{ name }, , fields]) => [
      `printf("${name} %zu\\n", sizeof(struct ${name}));`.replaceAll('struct xfrm_address_t', 'xfrm_address_t'),
      ...fields.map(([c]) => `printf("${name}.${c} %zu\\n", offsetof(struct ${name}, ${c}));`),
    ]),
    ...Object.keys(XfrmMsg).map((kind) => `printf("XFRM_MSG_${kind} %d\\n", XFRM_MSG_${kind});`),
    ...Object.keys(xfrma.specs)
      .filter((name) => !later.has(name))
      .map((name) => wireName('XFRMA_', name))
      .map((name) => `printf("${name} %d\\n", ${name});`),
    ...Object.keys(XfrmGroup).map((name) => `printf("XFRMNLGRP_${name} %d\\n", XFRMNLGRP_${name});`),
    ...Object.keys(AeFlag).map((name) => `printf("XFRM_AE_${name} %d\\n", XFRM_AE_${name});`),
    ...Object.keys(SaFlag).map((name) => `printf("XFRM_STATE_${name} %d\\n", XFRM_STATE_${name});`),
    ...Object.keys(XfrmMode)
      .filter((name) => name !== 'IPTFS')
      .map((name) => `printf("XFRM_MODE_${name} %d\\n", XFRM_MODE_${name});`),
  ];
  const compiled = compile(`#include <stdio.h>
    #include <stddef.h>
    #include <linux/types.h>
    #include <linux/xfrm.h>
    int main(void) { ${lines.join('\n')} return 0; }`);
  afterAll(() => ('run' in compiled ? compiled.remove() : undefined));
  const missing = 'missing' in compiled ? ` (skipped: ${compiled.missing})` : '';

  it.skipIf('missing' in compiled)(`about sizes, offsets and numbers of linux/xfrm.h${missing}`, () => {
    const said = Object.fromEntries(
      ('run' in compiled ? compiled.run() : '')
        .trim()
        .split('\n')
        .map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]),
    );
    const expected = Object.fromEntries([
      ...table.flatMap(([{ name }, size, fields]) => [
        [name, size],
        ...fields.map(([c, , at]) => [`${name}.${c}`, at]),
      ]),
      ...Object.entries(XfrmMsg).map(([kind, type]) => [`XFRM_MSG_${kind}`, type]),
      ...Object.entries(xfrma.specs).flatMap(([name, { type }]) =>
        later.has(name) ? [] : [[wireName('XFRMA_', name), type]],
      ),
      ...Object.entries(XfrmGroup).map(([name, group]) => [`XFRMNLGRP_${name}`, group]),
      ...Object.entries(AeFlag).map(([name, bit]) => [`XFRM_AE_${name}`, bit]),
      ...Object.entries(SaFlag).map(([name, bit]) => [`XFRM_STATE_${name}`, bit]),
      ...Object.entries(XfrmMode).flatMap(([name, mode]) => (name === 'IPTFS' ? [] : [[`XFRM_MODE_${name}`, mode]])),
    ]);
    expect(said).toEqual(expected);
  });
});
