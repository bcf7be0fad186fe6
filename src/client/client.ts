import type { Kernel } from '../kernel/index.ts';
import { NlmF } from '../netlink/index.ts';
import {
  type Address,
  AeFlag,
  type AnyXfrmMessage,
  type Mark,
  PolicyType,
  type Selector,
  selector,
  type XfrmAttributes,
  type XfrmKind,
  type XfrmMessage,
} from '../xfrm/index.ts';
import { ClientError } from './errors.ts';
import type { Request } from './request.ts';
import { type Result, Transport, type TransportOptions } from './transport.ts';

/** What the kernel looks an SA up by (xfrm_state.c:xfrm_state_lookup); marked SAs need their mark. */
export interface SaId {
  readonly daddr: Address;
  readonly spi: number;
  readonly proto: number;
  readonly family: number;
  readonly mark?: Mark;
}

/** What the kernel looks a policy up by: its index, or selector and direction; type, mark and interface id exactly. */
export interface PolicyId {
  readonly sel?: Selector;
  readonly index?: number;
  readonly dir: number;
  readonly type?: number;
  readonly mark?: Mark;
  readonly ifId?: number;
}

export type Sa = Pick<XfrmMessage<'NEWSA'>, 'body' | 'attributes'>;
export type Policy = Pick<XfrmMessage<'NEWPOLICY'>, 'body' | 'attributes'>;
export type Aevent = Pick<XfrmMessage<'NEWAE'>, 'body' | 'attributes'>;

/** The values of an SA that NEWAE sets. */
export type AeventValues = Pick<
  XfrmAttributes,
  'ltimeVal' | 'replayVal' | 'replayEsnVal' | 'replayThresh' | 'etimerThresh'
>;

/** Filters that the kernel applies to a dump of SAs. */
export interface SaFilter {
  readonly proto?: number;
  readonly addresses?: NonNullable<XfrmAttributes['addressFilter']>;
}

const zeroSelector = selector.zero();
const zeroAddress = zeroSelector.daddr;

/**
 * Typed requests to a kernel's XFRM.
 *
 * @example
 * await using client = await XfrmClient.open(linuxKernel());
 * for (const sa of await client.dumpSas()) console.log(sa.body.id.spi, sa.attributes.replayVal);
 */
export class XfrmClient implements AsyncDisposable {
  readonly #transport: Transport;

  private constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** @throws KernelError if there is no such kernel or no permission */
  static async open(kernel: Kernel, options?: TransportOptions): Promise<XfrmClient> {
    return new XfrmClient(await Transport.open(kernel, options));
  }

  /** The netlink port id of the client's socket: events that follow from its requests carry it (`pid`). */
  get portId(): number {
    return this.#transport.portId;
  }

  /**
   * Any request as it is; the reply, if it has one. A GETAE for both thresholds is refused, as it can stop a kernel (see `getAevent`), and
   * so is a request that would start a dump. @throws ClientError, or EncodeError if there are no bytes for it
   */
  request(request: Request): Promise<AnyXfrmMessage | undefined> {
    return this.#transport.request(request);
  }

  /**
   * Many requests, 64 to a send. Results in the order of the requests; a failure is a result, not an exception, also of a request that
   * cannot be encoded.
   */
  batch(requests: readonly Request[]): Promise<Result[]> {
    return this.#transport.batch(requests);
  }

  /** The SA, or undefined if there is none. */
  async getSa(id: SaId): Promise<Sa | undefined> {
    return this.#find('NEWSA', { kind: 'GETSA', body: usersaId(id), attributes: markOf(id) });
  }

  async addSa(sa: Sa): Promise<void> {
    await this.#transport.request({ ...sa, kind: 'NEWSA' });
  }

  /** Changes limits, encapsulation and selector of an SA, or completes a larval one; counters and keys of a valid SA stay. */
  async updateSa(sa: Sa): Promise<void> {
    await this.#transport.request({ ...sa, kind: 'UPDSA' });
  }

  async deleteSa(id: SaId): Promise<void> {
    await this.#transport.request({ kind: 'DELSA', body: usersaId(id), attributes: markOf(id) });
  }

  /** `proto` 0: all SAs. */
  async flushSas(proto = 0): Promise<void> {
    await this.#transport.request({ kind: 'FLUSHSA', body: { proto }, attributes: {} });
  }

  async dumpSas(filter: SaFilter = {}): Promise<Sa[]> {
    const { proto, addresses } = filter;
    const attributes: XfrmAttributes = {
      ...(proto === undefined ? {} : { proto }),
      ...(addresses === undefined ? {} : { addressFilter: addresses }),
    };
    return this.#dump('NEWSA', { kind: 'GETSA', body: null, attributes });
  }

  /** Reserves an SPI: makes a larval SA from `sa` and returns it with the number that the kernel chose. */
  async allocSpi(sa: Sa, min: number, max: number): Promise<Sa> {
    const request: Request = { kind: 'ALLOCSPI', body: { info: sa.body, min, max }, attributes: sa.attributes };
    return expect('NEWSA', await this.#transport.request(request), 'ALLOCSPI');
  }

  async getPolicy(id: PolicyId): Promise<Policy | undefined> {
    return this.#find('NEWPOLICY', { kind: 'GETPOLICY', body: userpolicyId(id), attributes: policyKey(id) });
  }

  async addPolicy(policy: Policy): Promise<void> {
    await this.#transport.request({ ...policy, kind: 'NEWPOLICY' });
  }

  /** Changes a policy, or makes it if there is none. */
  async updatePolicy(policy: Policy): Promise<void> {
    await this.#transport.request({ ...policy, kind: 'UPDPOLICY' });
  }

  async deletePolicy(id: PolicyId): Promise<void> {
    await this.#transport.request({ kind: 'DELPOLICY', body: userpolicyId(id), attributes: policyKey(id) });
  }

  async flushPolicies(type: number = PolicyType.MAIN): Promise<void> {
    const attributes = { policyType: { type, reserved1: 0, reserved2: 0 } };
    await this.#transport.request({ kind: 'FLUSHPOLICY', body: {}, attributes });
  }

  async dumpPolicies(): Promise<Policy[]> {
    return this.#dump('NEWPOLICY', { kind: 'GETPOLICY', body: null, attributes: {} });
  }

  /**
   * Counters, lifetime and, if asked for, the thresholds of an SA; undefined if there is no such SA.
   *
   * Thresholds are read one by one: kernels with 64-bit padding reserve too little for an answer with both, an interface id and a
   * bitmap of seven or eight words, and stop with a BUG (xfrm_user.c:xfrm_aevent_msgsize). No request of this client can do that.
   */
  async getAevent(id: SaId, options: { thresholds?: boolean } = {}): Promise<Aevent | undefined> {
    if (!options.thresholds) return this.#find('NEWAE', getAevent(id));
    const packets = await this.#find('NEWAE', getAevent(id, AeFlag.RTHR));
    const timer = await this.#find('NEWAE', getAevent(id, AeFlag.ETHR));
    if (packets === undefined || timer === undefined) return undefined;
    const { replayThresh } = packets.attributes;
    return { ...timer, attributes: { ...timer.attributes, ...(replayThresh === undefined ? {} : { replayThresh }) } };
  }

  /** Sets what `values` has. `etimerThresh` is in jiffies here, in 100 ms units when it is read. Counters may go backwards. */
  async setAevent(id: SaId, values: AeventValues): Promise<void> {
    await this.#transport.request(newAevent(id, values));
  }

  /** How many SAs there are, and the size of the table they hang in. */
  async sadInfo(): Promise<{ count: number; buckets: number; bucketsMax: number }> {
    const request: Request = { kind: 'GETSADINFO', body: { flags: 0 }, attributes: {} };
    const { attributes } = expect('NEWSADINFO', await this.#transport.request(request), 'GETSADINFO');
    return {
      count: attributes.cnt ?? 0,
      buckets: attributes.hinfo?.sadhcnt ?? 0,
      bucketsMax: attributes.hinfo?.sadhmcnt ?? 0,
    };
  }

  async spdInfo(): Promise<{ in: number; out: number; fwd: number }> {
    const request: Request = { kind: 'GETSPDINFO', body: { flags: 0 }, attributes: {} };
    const { attributes } = expect('NEWSPDINFO', await this.#transport.request(request), 'GETSPDINFO');
    return { in: attributes.info?.incnt ?? 0, out: attributes.info?.outcnt ?? 0, fwd: attributes.info?.fwdcnt ?? 0 };
  }

  close(): void {
    this.#transport.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  async #find<K extends XfrmKind>(kind: K, request: Request): Promise<XfrmMessage<K> | undefined> {
    try {
      return expect(kind, await this.#transport.request(request), request.kind);
    } catch (error) {
      if (error instanceof ClientError && (error.errno === ESRCH || error.errno === ENOENT)) return undefined;
      throw error;
    }
  }

  async #dump<K extends XfrmKind>(kind: K, request: Request): Promise<XfrmMessage<K>[]> {
    const parts: XfrmMessage<K>[] = [];
    await this.#transport.dump(request, (message) => parts.push(expect(kind, message, request.kind)));
    return parts;
  }
}

const ENOENT = 2;
const ESRCH = 3;

function expect<K extends XfrmKind>(kind: K, message: AnyXfrmMessage | undefined, request: string): XfrmMessage<K> {
  if (message?.kind === kind) return message as XfrmMessage<K>;
  throw new ClientError('ERR_ANSWER', request, `answered with ${message?.kind ?? 'nothing'}, expected ${kind}`);
}

export function usersaId({ daddr, spi, family, proto }: SaId): XfrmMessage<'DELSA'>['body'] {
  return { daddr, spi, family, proto };
}

const markOf = ({ mark }: { readonly mark?: Mark }): XfrmAttributes => (mark === undefined ? {} : { mark });

/** A GETAE request: counters, and what `flags` ask for. */
export const getAevent = (id: SaId, flags = 0): Request<'GETAE'> => ({
  kind: 'GETAE',
  body: { saId: usersaId(id), saddr: zeroAddress, flags, reqid: 0 },
  attributes: markOf(id),
});

/** A NEWAE request: replaces counters, lifetime or thresholds (xfrm_user.c:xfrm_new_ae wants NLM_F_REPLACE). */
export function newAevent(id: SaId, values: AeventValues): Request<'NEWAE'> {
  // Of a whole aevent only these: newer kernels refuse what else it may have (XFRMA_SA_DIR, XFRMA_SA_PCPU).
  const { ltimeVal, replayVal, replayEsnVal, replayThresh, etimerThresh } = values;
  return {
    kind: 'NEWAE',
    flags: NlmF.REPLACE,
    body: { saId: usersaId(id), saddr: zeroAddress, flags: 0, reqid: 0 },
    attributes: {
      ...(ltimeVal === undefined ? {} : { ltimeVal }),
      ...(replayVal === undefined ? {} : { replayVal }),
      ...(replayEsnVal === undefined ? {} : { replayEsnVal }),
      ...(replayThresh === undefined ? {} : { replayThresh }),
      ...(etimerThresh === undefined ? {} : { etimerThresh }),
      ...markOf(id),
    },
  };
}

function userpolicyId({ sel, index, dir }: PolicyId): XfrmMessage<'DELPOLICY'>['body'] {
  return { sel: sel ?? zeroSelector, index: index ?? 0, dir };
}

function policyKey({ type, mark, ifId }: PolicyId): XfrmAttributes {
  return {
    ...(type === undefined ? {} : { policyType: { type, reserved1: 0, reserved2: 0 } }),
    ...markOf(mark === undefined ? {} : { mark }),
    ...(ifId === undefined ? {} : { ifId }),
  };
}

/** The identity of an SA that came in a message. */
export function saIdOf({ body, attributes }: Sa): SaId {
  const { mark } = attributes;
  const { daddr, spi, proto } = body.id;
  return { daddr, spi, proto, family: body.family, ...(mark === undefined ? {} : { mark }) };
}

/** The identity of a policy that came in a message. */
export function policyIdOf({ body, attributes }: Policy): PolicyId {
  const { mark, ifId, policyType } = attributes;
  return {
    sel: body.sel,
    dir: body.dir,
    ...(policyType === undefined ? {} : { type: policyType.type }),
    ...(mark === undefined ? {} : { mark }),
    ...(ifId === undefined ? {} : { ifId }),
  };
}
