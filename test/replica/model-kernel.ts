import {
  ClientError,
  type Policy,
  type Request,
  type Result,
  type Sa,
  type SaId,
  saIdOf,
} from '../../src/client/index.ts';
import { policyKey } from '../../src/replica/install.ts';
import { saKey } from '../../src/replica/sa.ts';
import { AeFlag, type AnyXfrmMessage, encodeMessage, SaDir, type XfrmMessage } from '../../src/xfrm/index.ts';
import { ESN_FLAG } from './sas.ts';

/**
 * As much of a kernel as a replica touches: SAs with counters, windows and thresholds, policies, events. Numbers are 64 bits wide here.
 * Written from the kernel's behaviour, not from the replica's idea of it: events carry the counters of their time, what UPDSA announces
 * is the request, NEWAE may set counters back.
 */

const TWO_32 = 1n << 32n;
const LOW = TWO_32 - 1n;

export interface ModelSa {
  sa: Sa;
  oseq: bigint;
  seq: bigint;
  bitmap: number[];
  bytes: bigint;
  packets: bigint;
  addTime: bigint;
  useTime: bigint;
  thresholdPackets: number;
  timerMs: number;
  announcedOseq: bigint;
  announcedSeq: bigint;
  announcedBitmap: string;
}

export type ModelEvent = { readonly bytes: Uint8Array; readonly message: AnyXfrmMessage };

export class ModelKernel {
  readonly sas = new Map<string, ModelSa>();
  readonly policies = new Map<string, Policy>();
  events: ModelEvent[] = [];
  lost = false;
  /** Events beyond this many are lost, as in a receive buffer. */
  eventsMax = Number.POSITIVE_INFINITY;
  /** Makes a request fail with this errno. */
  fault: (request: Request) => number | undefined = () => undefined;
  readonly requests: Request[] = [];

  // --- what a key manager or the traffic does ----------------------------------------------------------------------------

  add(sa: Sa): ModelSa {
    const error = this.execute({ kind: 'NEWSA', ...sa }).error;
    if (error !== undefined) throw error;
    return this.get(saIdOf(sa)) as ModelSa;
  }

  get(id: SaId): ModelSa | undefined {
    return this.sas.get(saKey(id));
  }

  delete(id: SaId): void {
    const { mark, ...body } = id;
    this.execute({ kind: 'DELSA', body, attributes: mark ? { mark } : {} });
  }

  /** A packet goes out; its number, or undefined if the SA drops it. */
  transmit(id: SaId, bytes = 100n): bigint | undefined {
    const state = this.get(id);
    if (state === undefined || state.sa.attributes.saDir === SaDir.IN) return undefined;
    const end = is64(state.sa) ? TWO_32 * TWO_32 - 1n : LOW;
    if (state.oseq === end || state.packets >= state.sa.body.lft.hardPacketLimit) return undefined;
    state.oseq++;
    this.#carried(state, bytes);
    return state.oseq;
  }

  /** A packet with number `n` comes in; true if it is accepted. */
  accept(id: SaId, n: bigint, bytes = 100n): boolean {
    const state = this.get(id);
    if (state === undefined || state.sa.attributes.saDir === SaDir.OUT) return false;
    const window = state.sa.attributes.replayEsnVal?.replayWindow ?? state.sa.body.replayWindow;
    if (window > 0 && !this.#slides(state, n, window)) return false;
    this.#carried(state, bytes);
    return true;
  }

  /** The SA's timer has run out. */
  timer(): void {
    for (const state of this.sas.values())
      if (state.timerMs > 0 && this.#moved(state)) this.#announce(state, AeFlag.CE);
  }

  expire(id: SaId): void {
    const state = this.get(id);
    if (state === undefined) return;
    this.sas.delete(saKey(id));
    const { mark } = state.sa.attributes;
    this.#say({ kind: 'EXPIRE', body: { state: this.read(state).body, hard: 1 }, attributes: mark ? { mark } : {} });
  }

  flush(): void {
    this.sas.clear();
    this.#say({ kind: 'FLUSHSA', body: { proto: 0 }, attributes: {} });
  }

  flushPolicies(): void {
    this.policies.clear();
    this.#say({ kind: 'FLUSHPOLICY', body: {}, attributes: {} });
  }

  /** The address of an SA changes, and the event does not say which SA that was. */
  migrate(from: SaId, to: Sa): void {
    const state = this.get(from);
    if (state === undefined) return;
    this.sas.delete(saKey(from));
    this.sas.set(saKey(saIdOf(to)), { ...state, sa: to });
    this.#say({ kind: 'MIGRATE', body: { sel: to.body.sel, index: 0, dir: 1 }, attributes: {} });
  }

  // --- requests ------------------------------------------------------------------------------------------------------------

  execute(request: Request): Result {
    this.requests.push(request);
    const errno = this.fault(request) ?? this.#execute(request);
    if (typeof errno === 'object') return errno;
    if (errno === 0) return {};
    return { error: new ClientError('ERR_KERNEL', request.kind, `errno ${errno}`, { errno }) };
  }

  dump(): { sas: Sa[]; policies: Policy[] } {
    return { sas: [...this.sas.values()].map((state) => this.read(state)), policies: [...this.policies.values()] };
  }

  read({ sa, oseq, seq, bitmap, bytes, packets, addTime, useTime }: ModelSa): Sa {
    const esn = sa.attributes.replayEsnVal;
    const low = (n: bigint): number => Number(n & LOW);
    const high = (n: bigint): number => Number(n >> 32n);
    return {
      body: { ...sa.body, curlft: { bytes, packets, addTime, useTime } },
      attributes: {
        ...sa.attributes,
        ...(esn
          ? {
              replayEsnVal: {
                ...esn,
                oseq: low(oseq),
                oseqHi: high(oseq),
                seq: low(seq),
                seqHi: high(seq),
                bmp: [...bitmap],
              },
            }
          : { replayVal: { oseq: low(oseq), seq: low(seq), bitmap: bitmap[0] ?? 0 } }),
      },
    };
  }

  #execute(request: Request): number | Result {
    switch (request.kind) {
      case 'NEWSA':
      case 'UPDSA':
        return this.#putSa(request);
      case 'DELSA': {
        const id = { ...request.body, ...(request.attributes.mark ? { mark: request.attributes.mark } : {}) };
        if (!this.sas.delete(saKey(id))) return ESRCH;
        this.#say({ kind: 'DELSA', body: request.body, attributes: request.attributes });
        return 0;
      }
      case 'GETSA': {
        if (request.body === null) return EINVAL;
        const { mark } = request.attributes;
        const state = this.get({ ...request.body, ...(mark ? { mark } : {}) });
        return state ? { reply: head({ kind: 'NEWSA', ...this.read(state) }) } : ESRCH;
      }
      case 'GETAE': {
        const state = this.get(idOfAe(request));
        return state ? { reply: head(this.#aevent(state, request.body.flags)) } : ESRCH;
      }
      case 'NEWAE':
        return this.#setAe(request);
      case 'UPDPOLICY':
      case 'NEWPOLICY': {
        const policy: Policy = { body: request.body, attributes: request.attributes };
        this.policies.set(policyKey(policy), policy);
        this.#say({ ...request });
        return 0;
      }
      case 'DELPOLICY': {
        const { policyType, mark, ifId } = request.attributes;
        const attributes = {
          ...(policyType ? { policyType } : {}),
          ...(mark ? { mark } : {}),
          ...(ifId ? { ifId } : {}),
        };
        const key = policyKey({ body: { ...request.body } as Policy['body'], attributes });
        const gone = this.policies.get(key);
        if (gone === undefined) return ENOENT;
        this.policies.delete(key);
        this.#say({ kind: 'DELPOLICY', body: request.body, attributes: { ...gone.attributes, policy: gone.body } });
        return 0;
      }
      default:
        return EINVAL;
    }
  }

  #putSa({ kind, body, attributes }: Request<'NEWSA'> | Request<'UPDSA'>): number {
    const sa: Sa = { body, attributes };
    const key = saKey(saIdOf(sa));
    const known = this.sas.get(key);
    if (!directionIsClean(attributes)) return EINVAL;
    if (known !== undefined && kind === 'NEWSA') return EEXIST;
    if (known !== undefined) {
      known.sa = { body: { ...known.sa.body, lft: body.lft }, attributes: known.sa.attributes };
      this.#say({ kind, body, attributes }); // the request, whatever the SA's counters are
      return 0;
    }
    const { replayEsnVal: esn, replayVal: plain, ltimeVal } = attributes;
    const state: ModelSa = {
      sa,
      oseq: esn ? BigInt(esn.oseqHi) * TWO_32 + BigInt(esn.oseq) : BigInt(plain?.oseq ?? 0),
      seq: esn ? BigInt(esn.seqHi) * TWO_32 + BigInt(esn.seq) : BigInt(plain?.seq ?? 0),
      bitmap: esn ? [...esn.bmp] : [plain?.bitmap ?? 0],
      bytes: ltimeVal?.bytes ?? 0n,
      packets: ltimeVal?.packets ?? 0n,
      addTime: ltimeVal?.addTime ?? 1_700_000_000n,
      useTime: ltimeVal?.useTime ?? 0n,
      thresholdPackets: attributes.replayThresh ?? 2,
      timerMs: 1000,
      announcedOseq: 0n,
      announcedSeq: 0n,
      announcedBitmap: '',
    };
    this.#remember(state);
    this.sas.set(key, state);
    this.#say({ kind: 'NEWSA', ...this.read(state) });
    return 0;
  }

  #setAe(request: Request<'NEWAE'>): number {
    const state = this.get(idOfAe(request));
    if (state === undefined) return ESRCH;
    const { replayEsnVal: esn, replayVal: plain, ltimeVal, replayThresh } = request.attributes;
    if (esn) {
      if (esn.bmp.length !== state.sa.attributes.replayEsnVal?.bmpLen) return EINVAL;
      state.oseq = BigInt(esn.oseqHi) * TWO_32 + BigInt(esn.oseq);
      state.seq = BigInt(esn.seqHi) * TWO_32 + BigInt(esn.seq);
      state.bitmap = [...esn.bmp];
    } else if (plain) {
      state.oseq = BigInt(plain.oseq);
      state.seq = BigInt(plain.seq);
      state.bitmap = [plain.bitmap];
    }
    if (ltimeVal) Object.assign(state, ltimeVal);
    if (replayThresh !== undefined) state.thresholdPackets = replayThresh;
    if (esn || plain) this.#remember(state);
    const event = this.#aevent(state, AeFlag.CU);
    this.#say(event);
    return 0;
  }

  #aevent(state: ModelSa, flags: number): XfrmMessage<'NEWAE'> {
    const { body, attributes } = this.read(state);
    const { replayEsnVal, replayVal, mark } = attributes;
    const { daddr, spi, proto } = body.id;
    return {
      kind: 'NEWAE',
      flags: 0,
      seq: 0,
      pid: 0,
      body: { saId: { daddr, spi, proto, family: body.family }, saddr: body.saddr, flags, reqid: body.reqid },
      attributes: {
        ...(replayEsnVal ? { replayEsnVal } : {}),
        ...(replayVal ? { replayVal } : {}),
        ltimeVal: body.curlft,
        ...(flags & AeFlag.RTHR ? { replayThresh: state.thresholdPackets } : {}),
        ...(flags & AeFlag.ETHR ? { etimerThresh: state.timerMs / 100 } : {}),
        ...(mark ? { mark } : {}),
      },
    };
  }

  #carried(state: ModelSa, bytes: bigint): void {
    state.packets++;
    state.bytes += bytes;
    const { thresholdPackets: n } = state;
    if (n > 0 && (state.oseq - state.announcedOseq >= BigInt(n) || state.seq - state.announcedSeq >= BigInt(n)))
      this.#announce(state, AeFlag.CR);
  }

  #moved(state: ModelSa): boolean {
    return (
      state.oseq !== state.announcedOseq ||
      state.seq !== state.announcedSeq ||
      state.bitmap.join() !== state.announcedBitmap
    );
  }

  #announce(state: ModelSa, flag: number): void {
    this.#remember(state);
    this.#say(this.#aevent(state, flag));
  }

  #remember(state: ModelSa): void {
    state.announcedOseq = state.oseq;
    state.announcedSeq = state.seq;
    state.announcedBitmap = state.bitmap.join();
  }

  #say(body: { kind: string; body: unknown; attributes: object }): void {
    if (this.events.length >= this.eventsMax) {
      this.lost = true;
      return;
    }
    const message = head(body as unknown as AnyXfrmMessage);
    this.events.push({ message, bytes: encodeMessage(message) });
  }

  /** RFC 4303, 3.4.3, and appendix A for 64-bit numbers; the bitmap as the kernel keeps it (xfrm_replay.c). */
  #slides(state: ModelSa, n: bigint, window: number): boolean {
    const { seq: top, bitmap } = state;
    const w = BigInt(window);
    if (n === 0n) return false;
    if (is64(state.sa) && inferred(top, n & LOW, w) !== n) return false;
    if (n <= top && top - n >= w) return false;
    if (state.sa.attributes.replayEsnVal === undefined) {
      const word = BigInt(bitmap[0] ?? 0);
      if (n <= top && (word >> (top - n)) & 1n) return false;
      state.bitmap = [
        Number(n > top ? (n - top < 32n ? ((word << (n - top)) | 1n) & LOW : 1n) : word | (1n << (top - n))),
      ];
      if (n > top) state.seq = n;
      return true;
    }
    const pos = ((top - 1n) & LOW) % w;
    const at = (i: bigint): [number, number] => [Number(i >> 5n), Number(i & 31n)];
    const put = (i: bigint, on: boolean): void => {
      const [word, bit] = at(i);
      const old = bitmap[word] as number;
      bitmap[word] = (on ? old | (1 << bit) : old & ~(1 << bit)) >>> 0;
    };
    if (n <= top) {
      const i = (pos + w - (top - n)) % w;
      const [word, bit] = at(i);
      if (((bitmap[word] as number) >>> bit) & 1) return false;
      put(i, true);
      return true;
    }
    const by = n - top;
    for (let i = 1n; i < (by < w ? by : w + 1n); i++) put((pos + i) % w, false);
    put((pos + by) % w, true);
    state.seq = n;
    return true;
  }
}

const ENOENT = 2;
const ESRCH = 3;
const EEXIST = 17;
const EINVAL = 22;

const is64 = ({ body, attributes }: Sa): boolean =>
  attributes.replayEsnVal !== undefined && (body.flags & ESN_FLAG) !== 0;
const head = <M extends { kind: string }>(message: M): AnyXfrmMessage =>
  ({ flags: 0, seq: 0, pid: 0, ...message }) as unknown as AnyXfrmMessage;

function idOfAe({ body, attributes: { mark } }: Request<'NEWAE'> | Request<'GETAE'>): SaId {
  return { ...body.saId, ...(mark ? { mark } : {}) };
}

/** The whole number that a receiver infers from the lower half. */
function inferred(top: bigint, low: bigint, window: bigint): bigint {
  const high = top >> 32n;
  const topLow = top & LOW;
  const bottom = (topLow - window + 1n) & LOW;
  if (topLow >= window - 1n) return (low < bottom ? high + 1n : high) * TWO_32 + low;
  return (low >= bottom ? high - 1n : high) * TWO_32 + low;
}

/** Linux 6.10 (xfrm_user.c:verify_sa_dir and what it checks of the replay state). */
function directionIsClean({ saDir, replayVal, replayEsnVal: esn }: Sa['attributes']): boolean {
  if (saDir === SaDir.OUT)
    return (
      (replayVal?.seq ?? 0) === 0 && (replayVal?.bitmap ?? 0) === 0 && (esn?.seq ?? 0) === 0 && (esn?.bmpLen ?? 0) === 0
    );
  if (saDir === SaDir.IN) return (replayVal?.oseq ?? 0) === 0 && (esn?.oseq ?? 0) === 0 && (esn?.oseqHi ?? 0) === 0;
  return true;
}
