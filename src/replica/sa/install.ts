import { newAevent, type Policy, policyIdOf, type Request, type Sa } from '../../client/index.ts';
import { encodeMessage, SaDir, type XfrmAttributes } from '../../xfrm/index.ts';
import { withCeiling, withoutSoft } from './ceiling.ts';
import { aeventValues, type Counters } from './counters.ts';
import type { SaRecord } from './record.ts';

/** Requests that put an SA or a policy of another node into this node's kernel. */

/** Attributes that belong to the machine they were read on, or that the kernel only reports. */
const leftBehind = ['pad', 'lastused', 'offloadDev', 'replayVal', 'replayEsnVal', 'ltimeVal'] as const;

function portableAttributes(attributes: XfrmAttributes): XfrmAttributes {
  const kept = { ...attributes };
  for (const name of leftBehind) delete kept[name];
  // The kernel reports an authentication algorithm twice and takes it once (xfrm_user.c:copy_to_user_auth).
  if (kept.algAuthTrunc !== undefined) delete kept.algAuth;
  return kept;
}

/** NEWSA with the given counters. `seq` of the original acquire is not carried over: it would remove a larval SA here. */
export function newSa(record: SaRecord, counters: Counters): Request<'NEWSA'> {
  return { kind: 'NEWSA', ...saWith(record, counters) };
}

type Limited = Pick<SaRecord, 'sa' | 'counters' | 'ceiling' | 'softTold'>;

/**
 * UPDSA: sets the limits and the encapsulation of an SA that is there; its ceiling, where it has one. The kernel forgets that it has told of
 * a soft limit (xfrm_state_update: km.dying), so one that was told is left out: a ceiling must not look like an expiry.
 */
export function updateSa(record: Limited): Request<'UPDSA'> {
  const { body, attributes } = saWith(record, record.counters);
  const { ceiling, softTold } = record;
  const limits = softTold ? withoutSoft(body.lft) : body.lft;
  const lft = ceiling === undefined ? limits : withCeiling(limits, ceiling);
  return { kind: 'UPDSA', body: { ...body, lft }, attributes };
}

function saWith({ sa }: Pick<SaRecord, 'sa'>, counters: Counters): Sa {
  const { body, attributes } = sa;
  const { ltimeVal, replayVal, replayEsnVal } = aeventValues({ sa, counters });
  return {
    body: { ...body, seq: 0, stats: { replayWindow: 0, replay: 0, integrityFailed: 0 } },
    attributes: {
      ...portableAttributes(attributes),
      ...directed({ replayVal, replayEsnVal }, attributes.saDir),
      ...(ltimeVal === undefined ? {} : { ltimeVal }),
    },
  };
}

type Replay = { replayVal: XfrmAttributes['replayVal']; replayEsnVal: XfrmAttributes['replayEsnVal'] };

/** From Linux 6.10 on, an SA with a direction may only bring counters of that direction (xfrm_user.c:verify_sa_dir). */
function directed({ replayVal, replayEsnVal }: Replay, saDir: number | undefined): XfrmAttributes {
  const only =
    saDir === SaDir.OUT ? { seq: 0, seqHi: 0, bitmap: 0, bmp: [] } : saDir === SaDir.IN ? { oseq: 0, oseqHi: 0 } : {};
  if (replayEsnVal) {
    const { bitmap: _, ...esn } = { bitmap: 0, ...only };
    const whole = { ...replayEsnVal, ...esn };
    return { replayEsnVal: { ...whole, bmpLen: whole.bmp.length } };
  }
  const { oseq, seq, bitmap } = { oseq: 0, seq: 0, bitmap: 0, ...replayVal, ...only };
  return { replayVal: { oseq, seq, bitmap } };
}

export function setCounters(record: Pick<SaRecord, 'id' | 'sa'>, counters: Counters): Request<'NEWAE'> {
  return newAevent(record.id, aeventValues({ sa: record.sa, counters }));
}

/** Sequence numbers and window alone: how many packets the SA has carried goes on counting. */
export function setNumbers(record: Pick<SaRecord, 'id' | 'sa'>, counters: Counters): Request<'NEWAE'> {
  const { ltimeVal: _, ...numbers } = aeventValues({ sa: record.sa, counters });
  return newAevent(record.id, numbers);
}

export function deleteSa({ id }: Pick<SaRecord, 'id'>): Request<'DELSA'> {
  const { mark, ...body } = id;
  return { kind: 'DELSA', body, attributes: mark === undefined ? {} : { mark } };
}

/** EXPIRE: tells key managers that the SA has reached a soft limit, whatever it has carried. */
export function expireSa({ id, sa }: Pick<SaRecord, 'id' | 'sa'>): Request<'EXPIRE'> {
  return {
    kind: 'EXPIRE',
    body: { state: sa.body, hard: 0 },
    attributes: id.mark === undefined ? {} : { mark: id.mark },
  };
}

/** What cannot change while an SA lives: two SAs that differ here are different SAs, whatever their SPI says. */
export function sameSa(a: Sa, b: Sa): boolean {
  return Buffer.compare(staticBytes(a), staticBytes(b)) === 0;
}

export function sameLimits(a: Sa, b: Sa): boolean {
  return Object.entries(a.body.lft).every(([name, limit]) => b.body.lft[name as keyof typeof b.body.lft] === limit);
}

function staticBytes({ body, attributes }: Sa): Uint8Array {
  const none = { bytes: 0n, packets: 0n, addTime: 0n, useTime: 0n };
  const window = attributes.replayEsnVal && {
    ...attributes.replayEsnVal,
    oseq: 0,
    oseqHi: 0,
    seq: 0,
    seqHi: 0,
    bmpLen: 0,
    bmp: [],
  };
  const lft = Object.fromEntries(Object.keys(body.lft).map((name) => [name, 0n])) as typeof body.lft;
  const portable = Object.entries(portableAttributes(attributes)).sort(([a], [b]) => (a < b ? -1 : 1));
  return encodeMessage({
    kind: 'NEWSA',
    flags: 0,
    seq: 0,
    pid: 0,
    body: { ...body, seq: 0, curlft: none, lft, stats: { replayWindow: 0, replay: 0, integrityFailed: 0 } },
    attributes: { ...Object.fromEntries(portable), ...(window ? { replayEsnVal: window } : {}) },
  });
}

/** UPDPOLICY makes or changes a policy; its index belongs to the machine it came from. */
export function putPolicy({ body, attributes }: Policy): Request<'UPDPOLICY'> {
  const { pad: _, offloadDev: __, ...kept } = attributes;
  const unused = { bytes: 0n, packets: 0n, addTime: 0n, useTime: 0n };
  return { kind: 'UPDPOLICY', body: { ...body, index: 0, curlft: unused }, attributes: kept };
}

export function deletePolicy(policy: Policy): Request<'DELPOLICY'> {
  const { sel, dir, mark, ifId, type } = policyIdOf(policy);
  return {
    kind: 'DELPOLICY',
    body: { sel: sel ?? policy.body.sel, index: 0, dir },
    attributes: {
      ...(type === undefined ? {} : { policyType: { type, reserved1: 0, reserved2: 0 } }),
      ...(mark === undefined ? {} : { mark }),
      ...(ifId === undefined ? {} : { ifId }),
    },
  };
}

/** What the kernel tells policies apart by: selector, direction, type, mark, interface id. */
export function policyKey({ body, attributes }: Policy): string {
  const { sel, dir } = body;
  const { mark, ifId, policyType } = attributes;
  return JSON.stringify([sel, dir, policyType?.type ?? 0, mark ?? 0, ifId ?? 0]);
}
