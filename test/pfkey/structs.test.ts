import { afterAll, describe, expect, it } from 'vitest';
import { extensionSpecs } from '../../src/pfkey/extensions.ts';
import {
  AuthAlg,
  CompAlg,
  EncryptAlg,
  IdentType,
  IpsecDir,
  IpsecLevel,
  IpsecMode,
  IpsecPolicy,
  PfkeyMsg,
  PfkeySaFlag,
  SADB_EXT_MAX,
  SADB_MAX,
  SaState,
  SaType,
} from '../../src/pfkey/index.ts';
import { replayExtensionTypes, replayMessageTypes } from '../../src/pfkey/replay-notification.ts';
import * as structs from '../../src/pfkey/structs.ts';
import type { Layout } from '../../src/wire/index.ts';
import { compile } from '../xfrm/toolchain.ts';

type AnyStruct = Extract<Layout, { kind: 'struct' }>;

/** Structures, and how the header file calls their fields: prefix + the name in snake_case. */
const table: [struct: AnyStruct, prefix: string][] = [
  [structs.sadbMsg, 'sadb_msg_'],
  [structs.sadbSa, 'sadb_sa_'],
  [structs.sadbLifetime, 'sadb_lifetime_'],
  [structs.sadbAddress, 'sadb_address_'],
  [structs.sadbKey, 'sadb_key_'],
  [structs.sadbIdent, 'sadb_ident_'],
  [structs.sadbSens, 'sadb_sens_'],
  [structs.sadbProp, 'sadb_prop_'],
  [structs.sadbComb, 'sadb_comb_'],
  [structs.sadbSupported, 'sadb_supported_'],
  [structs.sadbAlgAuth, 'sadb_alg_'],
  [structs.sadbAlgEncrypt, 'sadb_alg_'],
  [structs.sadbSpirange, 'sadb_spirange_'],
  [structs.sadbKmprivate, 'sadb_x_kmprivate_'],
  [structs.sadbPolicy, 'sadb_x_policy_'],
  [structs.sadbIpsecrequest, 'sadb_x_ipsecrequest_'],
  [structs.sadbSa2, 'sadb_x_sa2_'],
  [structs.sadbNatTType, 'sadb_x_nat_t_type_'],
  [structs.sadbNatTPort, 'sadb_x_nat_t_port_'],
  [structs.sadbSecCtx, 'sadb_x_ctx_'],
  [structs.sadbKmaddress, 'sadb_x_kmaddress_'],
  [structs.sadbFilter, 'sadb_x_filter_'],
  [structs.sockaddrIn, 'sin_'],
  [structs.sockaddrIn6, 'sin6_'],
];

const snake = (name: string): string => name.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`);

/** Names that the header file does not make by its own rule. */
const irregular: Record<string, string> = { sadb_x_ctx_ctx_len: 'sadb_x_ctx_len' };
const fieldName = (prefix: string, name: string): string => {
  const regular = prefix + snake(name);
  return irregular[regular] ?? regular;
};

const numbers: [prefix: string, constants: Readonly<Record<string, number>>][] = [
  ['SADB_SATYPE_', SaType],
  ['SADB_SASTATE_', SaState],
  ['SADB_SAFLAGS_', PfkeySaFlag],
  ['SADB_AALG_', AuthAlg],
  ['SADB_EALG_', EncryptAlg],
  ['SADB_CALG_', CompAlg],
  ['SADB_IDENTTYPE_', IdentType],
  ['IPSEC_MODE_', IpsecMode],
  ['IPSEC_DIR_', IpsecDir],
  ['IPSEC_POLICY_', IpsecPolicy],
  ['IPSEC_LEVEL_', IpsecLevel],
];

/** What came to the header file later than what may be installed. */
const recent = new Set(['SADB_AALG_SM3_256HMAC', 'SADB_EALG_SM4CBC']);

const own = new Set<string>([...Object.keys(replayMessageTypes), ...Object.keys(replayExtensionTypes)]);
const expected = new Map<string, number>();
const lines: string[] = [];
const ask = (what: string, expression: string, number: number): void => {
  expected.set(what, number);
  lines.push(`printf("${what} %lu\\n", (unsigned long)(${expression}));`);
};
for (const [struct, prefix] of table) {
  const { name } = struct;
  ask(`sizeof ${name}`, `sizeof(struct ${name})`, struct.size);
  for (const field of struct.fields) {
    const c = fieldName(prefix, field.name);
    ask(`${name}.${c}`, `offsetof(struct ${name}, ${c})`, field.offset);
  }
}
for (const [prefix, constants] of numbers) {
  for (const [name, number] of Object.entries(constants)) {
    // Half of them begin with SADB_X_, for no reason that the number tells.
    const [plain, extended] = [`${prefix}${name}`, `${prefix}${name}`.replace('SADB_', 'SADB_X_')];
    if (recent.has(plain)) continue;
    expected.set(plain, number);
    lines.push(`#ifdef ${extended}`, `#define THIS ${extended}`, '#else', `#define THIS ${plain}`, '#endif');
    lines.push(`printf("${plain} %lu\\n", (unsigned long)(unsigned)(THIS));`, '#undef THIS');
  }
}
for (const [kind, type] of Object.entries(PfkeyMsg)) if (!own.has(kind)) ask(`SADB_${kind}`, `SADB_${kind}`, type);
for (const [name, { type, name: c }] of Object.entries(extensionSpecs)) if (!own.has(name)) ask(c, c, type);
ask('SADB_MAX', 'SADB_MAX', SADB_MAX);
ask('SADB_EXT_MAX', 'SADB_EXT_MAX', SADB_EXT_MAX);

describe('the C compiler agrees', () => {
  const compiled = compile(`#include <stdio.h>
    #include <stddef.h>
    #include <stdint.h>
    #include <netinet/in.h>
    #include <linux/types.h>
    #include <linux/pfkeyv2.h>
    #include <linux/ipsec.h>
    int main(void) { ${lines.join('\n')}
    return 0; }`);
  afterAll(() => ('run' in compiled ? compiled.remove() : undefined));
  const missing = 'missing' in compiled ? ` (skipped: ${compiled.missing})` : '';

  it.skipIf('missing' in compiled)(`about sizes, offsets and numbers of linux/pfkeyv2.h${missing}`, () => {
    const said = ('run' in compiled ? compiled.run() : '')
      .trim()
      .split('\n')
      .map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))] as const);
    expect(Object.fromEntries(said)).toEqual(Object.fromEntries(expected));
    expect(expected.size).toBeGreaterThan(150);
  });
});

describe('our own numbers', () => {
  it('are out of the way of those of Linux, and fit their fields', () => {
    const messages = Object.values(replayMessageTypes);
    const extensions = Object.values(replayExtensionTypes);
    expect(Math.min(...messages)).toBeGreaterThan(SADB_MAX + 100);
    expect(Math.max(...messages)).toBeLessThanOrEqual(0xff);
    expect(Math.min(...extensions)).toBeGreaterThan(SADB_EXT_MAX + 100);
    expect(new Set([...messages, ...extensions]).size).toBe(6);
  });
});
