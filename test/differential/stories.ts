import { NlmF } from '../../src/netlink/index.ts';
import { IpProto, SaFlag, XfrmMode, XfrmMsg } from '../../src/xfrm/index.ts';
import {
  encapTmpl,
  selector,
  userMigrate,
  userpolicyId,
  userpolicyInfo,
  usersaInfo,
  userTmpl,
} from '../../src/xfrm/structs.ts';
import type { Random } from '../fuzz/random.ts';
import { type Attribute, concat, packed, request, words } from './bytes.ts';
import { type Draft, requestStep, send } from './draft.ts';
import { saBody } from './messages.ts';
import {
  A,
  addressOf,
  chance,
  encapAttribute,
  HOSTS,
  INFINITE,
  markAttribute,
  NULL_ENCRYPTION,
  REQIDS,
  type SaName,
  weighted,
  ZERO,
} from './pool.ts';

/** Requests that belong together: what random ones seldom come to. */

const U32_MAX = 0xffff_ffff;

function ask({ seq }: Draft, type: number, body: Uint8Array, attributes: readonly Attribute[]): Uint8Array {
  return request({ type, flags: NlmF.REQUEST | NlmF.ACK, seq: seq(), pid: 0 }, body, attributes);
}

const markOf = ({ mark }: SaName): Attribute[] => (mark === undefined ? [] : [markAttribute(mark)]);
const u32 = (type: number, value: number): Attribute => [type, words(value)];
const maybe = (random: Random, percent: number, make: () => Attribute): Attribute[] =>
  chance(random, percent) ? [make()] : [];

/** Numbers at the end of their range, and what is left of them. */
const last = (random: Random): number => random.pick([0, 0, 0, 1, U32_MAX - 1, U32_MAX]);

/** An SA with a direction, or none: each has fields that must be empty, and numbers that may not be used up (6.10). */
export function directedSa(draft: Draft): Uint8Array {
  const { random } = draft;
  const picked = random.pick(draft.names);
  const name = chance(random, 85) ? { ...picked, proto: IpProto.ESP } : picked;
  const dir = random.pick([1, 1, 2, 2, 2, 0]);
  const withEsn = chance(random, 60);
  const flags = weighted(random, [
    [8, withEsn && chance(random, 60) ? SaFlag.ESN : 0],
    [1, 1 << random.below(8)],
  ]);
  const window = random.pick([0, 0, 0, 32]);
  const bmpLen = random.pick([0, 0, 0, 1, 2]);
  // Mostly what the direction asks for, so that one thing at a time is wrong.
  const own = (isIts: boolean): number => (isIts || chance(random, 15) ? last(random) : 0);
  const [isIn, isOut] = [dir !== 2, dir !== 1];
  const length = isIn ? random.pick([1, 1, 2]) : bmpLen;
  const esn = concat([
    words(length, own(isOut), own(isIn), own(isOut), own(isIn), isIn ? 32 * length : random.pick([0, 0, 0, 32])),
    new Uint8Array(4 * length),
  ]);
  const legacy = words(own(isOut), own(isIn), isIn || chance(random, 10) ? random.pick([0, 1]) : 0);
  const body = {
    ...saBody(random, name, { window: withEsn ? 0 : window, flags }),
    sel: selector.zero(),
    mode: random.below(2),
  };
  const type = chance(random, 75) ? XfrmMsg.NEWSA : XfrmMsg.UPDSA;
  return ask(draft, type, packed(usersaInfo, body), [
    ...NULL_ENCRYPTION,
    ...markOf(name),
    ...(withEsn ? [[A.REPLAY_ESN_VAL, esn] as Attribute] : []),
    ...maybe(random, withEsn ? 10 : 60, () => [A.REPLAY_VAL, legacy]),
    ...maybe(random, 15, () => u32(A.SA_EXTRA_FLAGS, random.below(4))),
    ...maybe(random, 15, () => [A.ENCAP, packed(encapTmpl, { type: 2, sport: 4500, dport: 4500, oa: ZERO })]),
    ...maybe(random, 8, () => u32(A.MTIMER_THRESH, 10)),
    ...maybe(random, 8, () => u32(A.NAT_KEEPALIVE_INTERVAL, random.pick([0, 20]))),
    ...maybe(random, 8, () => u32(A.SA_PCPU, random.pick([0, 1]))),
    ...(dir === 0 ? [] : [[A.SA_DIR, Uint8Array.of(dir)] as Attribute]),
  ]);
}

/** An SA, a policy with a template for it, and the move of both to other addresses, perhaps with an encapsulation. */
export function migrateStory(draft: Draft): void {
  const { random } = draft;
  const picked = random.pick(draft.names);
  const name = { ...picked, proto: chance(random, 85) ? IpProto.ESP : picked.proto };
  const mode = random.pick([XfrmMode.TRANSPORT, XfrmMode.TUNNEL, XfrmMode.TUNNEL, XfrmMode.BEET]);
  const reqid = random.pick(REQIDS);
  const ifId = maybe(random, 10, () => u32(A.IF_ID, 3));
  const { local, remote, other } = HOSTS[name.family];
  const width = name.family === 2 ? 32 : 128;
  const sel = {
    ...selector.zero(),
    daddr: name.daddr,
    saddr: name.saddr,
    family: name.family,
    prefixlenD: width,
    prefixlenS: random.pick([width, width, 0]),
  };
  const ends = { proto: name.proto, mode, reqid };
  const sa = { ...saBody(random, name, { flags: 0 }), sel: selector.zero(), mode, reqid };
  send(
    draft,
    ask(draft, XfrmMsg.NEWSA, packed(usersaInfo, sa), [
      ...NULL_ENCRYPTION,
      ...markOf(name),
      ...maybe(random, 30, () => encapAttribute(random)),
      ...maybe(random, 20, () => u32(A.SET_MARK, 5)),
      ...maybe(random, 15, () => [A.COADDR, words(9, 0, 0, 0)]),
      ...maybe(random, 15, () => u32(A.TFCPAD, 64)),
      ...maybe(random, 20, () => [A.SA_DIR, Uint8Array.of(1 + random.below(2))]),
      ...ifId,
    ]),
  );
  const tmpl = {
    id: { daddr: name.daddr, spi: 0, proto: name.proto },
    family: name.family,
    saddr: name.saddr,
    reqid,
    mode,
  };
  const dir = random.below(3);
  const policy = {
    ...userpolicyInfo.zero(),
    sel,
    lft: INFINITE,
    priority: random.pick([0, 10]),
    index: 0x4000_0080 + dir,
    dir,
  };
  send(
    draft,
    ask(draft, XfrmMsg.NEWPOLICY, packed(userpolicyInfo, policy), [
      [A.TMPL, packed(userTmpl, { ...tmpl, aalgos: U32_MAX, ealgos: U32_MAX, calgos: U32_MAX })],
      ...ifId,
    ]),
  );
  if (chance(random, 40)) requestStep(draft);
  const move = packed(userMigrate, {
    ...ends,
    oldDaddr: name.daddr,
    oldSaddr: name.saddr,
    newDaddr: addressOf(random.pick([remote, other, local])),
    newSaddr: addressOf(random.pick([local, other, remote])),
    oldFamily: name.family,
    newFamily: name.family,
  });
  send(
    draft,
    ask(draft, XfrmMsg.MIGRATE, packed(userpolicyId, { sel, index: 0, dir }), [
      [A.MIGRATE, move],
      ...maybe(random, 60, () => encapAttribute(random)),
      ...ifId,
    ]),
  );
}

const MIGRATES_MAX = 3;

/**
 * Policies of mostly one priority that all take in one packet; some are made anew or go. Which of them the packet would get shows in a
 * MIGRATE that names the template of one: it finds its policy as the packet would (6.12), and moves its template to where it is.
 */
export function choiceStory(draft: Draft): void {
  const { random } = draft;
  const family = chance(random, 75) ? 2 : 10;
  const [daddr, saddr] = [addressOf(HOSTS[family].remote), addressOf(HOSTS[family].local)];
  const prefixes = family === 2 ? [32, 32, 24, 16, 15, 0] : [128, 128, 64, 48, 47, 0];
  const ends = { proto: IpProto.ESP, mode: XfrmMode.TUNNEL };
  const dir = random.below(3);
  const any = { ...selector.zero(), daddr, saddr, family };
  const sels = Array.from({ length: 2 + random.below(4) }, () => ({
    ...any,
    prefixlenD: random.pick(prefixes),
    prefixlenS: random.pick(prefixes),
  }));
  let reqid = 100;
  const make = (type: number, sel: (typeof sels)[number]): Uint8Array => {
    const tmpl = { ...ends, id: { daddr, spi: 0, proto: ends.proto }, family, saddr, reqid: ++reqid };
    const info = { ...userpolicyInfo.zero(), sel, lft: INFINITE, priority: random.pick([10, 10, 10, 10, 9]), dir };
    return ask(draft, type, packed(userpolicyInfo, info), [
      [A.TMPL, packed(userTmpl, { ...tmpl, aalgos: U32_MAX, ealgos: U32_MAX, calgos: U32_MAX })],
    ]);
  };
  for (const sel of sels) send(draft, make(XfrmMsg.NEWPOLICY, sel));
  for (let n = random.below(4); n > 0; n--) {
    const sel = random.pick(sels);
    const gone = ask(draft, XfrmMsg.DELPOLICY, packed(userpolicyId, { sel, index: 0, dir }), []);
    send(draft, chance(random, 60) ? make(XfrmMsg.UPDPOLICY, sel) : gone);
  }
  const whole = { ...any, prefixlenD: prefixes[0] as number, prefixlenS: prefixes[0] as number };
  const stay = {
    oldDaddr: daddr,
    oldSaddr: saddr,
    newDaddr: daddr,
    newSaddr: saddr,
    oldFamily: family,
    newFamily: family,
  };
  const asked: Uint8Array[] = [];
  for (let wanted = 101; wanted <= reqid; wanted++) {
    const move = packed(userMigrate, { ...ends, ...stay, reqid: wanted });
    asked.push(ask(draft, XfrmMsg.MIGRATE, packed(userpolicyId, { sel: whole, index: 0, dir }), [[A.MIGRATE, move]]));
  }
  while (asked.length > 0) send(draft, ...asked.splice(0, MIGRATES_MAX));
}
