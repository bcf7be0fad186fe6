import {
  check,
  copyBytes,
  DecodeError,
  EncodeError,
  hostLittleEndian,
  i32,
  room,
  type Struct,
  struct,
  u16,
  u32,
  u64,
  viewOf,
} from '../wire/index.ts';
import {
  type AttributeSpace,
  align4,
  attribute,
  attributeSpace,
  attributesLength,
  nestedPayload,
  notePadding,
  type Rest,
  readAttributes,
  writeAttributes,
  writePadding,
} from './attributes.ts';
import { NLMSG_HDRLEN, NlmF, NlmsgType } from './constants.ts';
import { bytesPayload, scalarPayload, textPayload } from './payload.ts';

/** A constant of this module: what is imported is not folded into optimised code. */
const little = hostLittleEndian;

/** One message type of a family: a fixed structure, then attributes of one space. */
export interface MessageSpec<B, A> {
  readonly type: number;
  readonly body: Struct<B>;
  readonly attributes: AttributeSpace<A>;
  /** With a bit of NLM_F_DUMP in a request there is no fixed part: attributes follow the header at once. */
  readonly dumpable?: boolean;
}

// biome-ignore lint/suspicious/noExplicitAny: a table of unlike messages
export type MessageSpecs = Readonly<Record<string, MessageSpec<any, any>>>;

interface Header {
  flags: number;
  seq: number;
  pid: number;
}

/** The message of `kind` K: header fields, fixed part, attributes, and what these do not say. */
export type MessageOf<S extends MessageSpecs, K extends keyof S> = {
  [N in K]: Header & {
    kind: N;
    body: S[N]['body'] extends Struct<infer B> ? (S[N]['dumpable'] extends true ? B | null : B) : never;
    attributes: S[N]['attributes'] extends AttributeSpace<infer A> ? A : never;
    rest?: Rest;
  };
}[K];

/** NLMSG_ERROR: a failure (`error` < 0) or an acknowledgement (0), with the extended acknowledgement in `attributes`. */
export interface ErrorMessage extends Header {
  kind: 'ERROR';
  body: { error: number; request: { length: number; type: number; flags: number; seq: number; pid: number } };
  /** The request's payload, unless NLM_F_CAPPED. */
  echo: Uint8Array;
  attributes: ExtackAttributes;
  rest?: Rest;
}

/** NLMSG_DONE: the end of a dump. XFRM reports errors of a dump request here, as a negative status. */
export interface DoneMessage extends Header {
  kind: 'DONE';
  body: { status: number };
  attributes: ExtackAttributes;
  rest?: Rest;
}

/**
 * Any other type: NOOP, OVERRUN, or one that the family does not have. Also a control type in a request, which no receiver looks into
 * (af_netlink.c:netlink_rcv_skb).
 */
export interface UnknownMessage extends Header {
  kind: 'UNKNOWN';
  type: number;
  payload: Uint8Array;
}

export type ControlMessage = ErrorMessage | DoneMessage | UnknownMessage;

const nlmsghdr = struct('nlmsghdr', 16, { length: u32, type: u16, flags: u16, seq: u32, pid: u32 });
const nlmsgerr = struct('nlmsgerr', 20, { error: i32, request: nlmsghdr });
const nlmsgdone = struct('nlmsgdone', 4, { status: i32 });

/** NLMSGERR_ATTR_POLICY's content: which values the kernel would have taken. */
const policyTypes = attributeSpace('NL_POLICY_TYPE_ATTR_', {
  type: attribute(1, scalarPayload(u32)),
  minValueS: attribute(2, scalarPayload(u64)),
  maxValueS: attribute(3, scalarPayload(u64)),
  minValueU: attribute(4, scalarPayload(u64)),
  maxValueU: attribute(5, scalarPayload(u64)),
  minLength: attribute(6, scalarPayload(u32)),
  maxLength: attribute(7, scalarPayload(u32)),
  pad: attribute(11, bytesPayload),
});

const extack = attributeSpace('NLMSGERR_ATTR_', {
  msg: attribute(1, textPayload),
  offs: attribute(2, scalarPayload(u32)),
  cookie: attribute(3, bytesPayload),
  policy: { ...attribute(4, nestedPayload(policyTypes)), nested: true },
  missType: attribute(5, scalarPayload(u32)),
  missNest: attribute(6, scalarPayload(u32)),
});

export type ExtackAttributes = typeof extack extends AttributeSpace<infer A> ? A : never;

export interface Protocol<M> {
  readonly specs: MessageSpecs;
  readonly kindOf: (type: number) => string;
  /**
   * Reads the message that starts at `at`.
   * @throws DecodeError and nothing else
   */
  readonly decode: (bytes: Uint8Array, at?: number) => M;
  /** The bytes of one message. @throws EncodeError */
  readonly encode: (message: M) => Uint8Array<ArrayBuffer>;
}

/** Calls `visit` with the start and the length of every message of a datagram, as NLMSG_NEXT walks. Returns where it stopped. */
export function forEachMessage(
  bytes: Uint8Array,
  visit: (at: number, length: number) => void,
  start = 0,
  end = bytes.length,
): number {
  const view = viewOf(bytes);
  let o = start;
  while (end - o >= NLMSG_HDRLEN) {
    const length = view.getUint32(o, little);
    if (length < NLMSG_HDRLEN || length > end - o) break;
    visit(o, length);
    o = Math.min(o + align4(length), end);
  }
  return o;
}

export function protocol<const S extends MessageSpecs>(specs: S): Protocol<MessageOf<S, keyof S> | ControlMessage> {
  type M = MessageOf<S, keyof S> | ControlMessage;
  const byType: ([kind: string, spec: MessageSpec<object, object>] | undefined)[] = [];
  for (const [kind, spec] of Object.entries(specs)) byType[spec.type] = [kind, spec];
  return {
    specs,
    kindOf: (type) => byType[type]?.[0] ?? controlName(type),
    decode: (bytes, at = 0) => decode(byType, viewOf(bytes), at) as M,
    encode: (message) => encode(specs, message as AnyMessage),
  };
}

const controlName = (type: number): string =>
  Object.entries(NlmsgType).find(([, value]) => value === type)?.[0] ?? `0x${type.toString(16)}`;

type AnyMessage =
  | ControlMessage
  | (Header & {
      kind: string;
      body: object | null;
      attributes: object;
      rest?: Rest;
      echo?: undefined;
      type?: undefined;
    });

function decode(
  byType: readonly ([string, MessageSpec<object, object>] | undefined)[],
  view: DataView,
  at: number,
): AnyMessage {
  if (!(at >= 0) || view.byteLength - at < NLMSG_HDRLEN) {
    throw new DecodeError(
      'ERR_HEADER_SHORT',
      'nlmsghdr',
      at,
      `${Math.max(0, view.byteLength - at)} bytes, needs ${NLMSG_HDRLEN}`,
    );
  }
  const length = view.getUint32(at, little);
  const type = view.getUint16(at + 4, little);
  const flags = view.getUint16(at + 6, little);
  const seq = view.getUint32(at + 8, little);
  const pid = view.getUint32(at + 12, little);
  if (length < NLMSG_HDRLEN || length > view.byteLength - at) {
    throw new DecodeError(
      'ERR_MESSAGE_LENGTH',
      'nlmsghdr',
      at,
      `nlmsg_len ${length}, ${view.byteLength - at} bytes are there`,
    );
  }
  const end = at + length;
  const known = byType[type];
  if (known !== undefined) {
    const [kind, spec] = known;
    const isDump = spec.dumpable === true && (flags & NlmF.REQUEST) !== 0 && (flags & NlmF.DUMP) !== 0;
    const fixed = readFixed(spec.body, view, at, end, isDump);
    return withAttributes(
      { kind, flags, seq, pid, body: fixed.body, attributes: {} },
      spec.attributes,
      view,
      at,
      fixed.next,
      end,
      fixed.rest,
    );
  }
  const isRequest = (flags & NlmF.REQUEST) !== 0;
  if (type === NlmsgType.ERROR && !isRequest) {
    const { body, next } = readFixed(nlmsgerr, view, at, end, false) as { body: ErrorMessage['body']; next: number };
    const there = end - next;
    const asked = Math.min(Math.max(0, body.request.length - NLMSG_HDRLEN), there);
    const echoed = (flags & NlmF.ACK_TLVS) !== 0 ? Math.min(align4(asked), there) : there;
    const echo = (flags & NlmF.CAPPED) !== 0 ? 0 : echoed;
    const message: ErrorMessage = {
      kind: 'ERROR',
      flags,
      seq,
      pid,
      body,
      echo: copyBytes(view, next, echo),
      attributes: {},
    };
    return withAttributes(message, extack, view, at, next + echo, end);
  }
  if (type === NlmsgType.DONE && !isRequest) {
    const { body, next } = readFixed(nlmsgdone, view, at, end, false) as { body: DoneMessage['body']; next: number };
    return withAttributes(
      { kind: 'DONE', flags, seq, pid, body, attributes: {} } as DoneMessage,
      extack,
      view,
      at,
      next,
      end,
    );
  }
  return { kind: 'UNKNOWN', flags, seq, pid, type, payload: copyBytes(view, at + NLMSG_HDRLEN, length - NLMSG_HDRLEN) };
}

/** The fixed part, and where the attributes start (nlmsg_parse: at the next 4-byte boundary). */
function readFixed<B>(
  layout: Struct<B>,
  view: DataView,
  at: number,
  end: number,
  absent: boolean,
): { body: B | null; next: number; rest: Rest | undefined } {
  const start = at + NLMSG_HDRLEN;
  if (absent) return { body: null, next: start, rest: undefined };
  if (end - start < layout.size) {
    throw new DecodeError('ERR_BODY_SHORT', layout.name, start, `${end - start} bytes, needs ${layout.size}`);
  }
  let rest: Rest | undefined;
  const aligned = start + align4(layout.size);
  const next = Math.min(aligned, end);
  if (!layout.paddingIsZero(view, start)) {
    rest = {};
    for (const [o, n] of layout.padding) notePadding(rest, view, at, start + o, n);
  }
  if (aligned > start + layout.size || aligned > end) {
    rest ??= {};
    notePadding(rest, view, at, start + layout.size, next - (start + layout.size));
    if (aligned > end) rest.cut = aligned - end;
  }
  return { body: layout.read(view, start), next, rest };
}

function withAttributes<M extends { attributes: object; rest?: Rest }>(
  message: M,
  space: AttributeSpace<object>,
  view: DataView,
  origin: number,
  start: number,
  end: number,
  noted?: Rest,
): M {
  if (start < end && !space.readPlain(view, start, end, message.attributes)) {
    noted ??= {};
    message.attributes = readAttributes(space, view, start, end, origin, noted);
  }
  if (noted !== undefined && Object.keys(noted).length > 0) message.rest = noted;
  return message;
}

function encode(specs: MessageSpecs, message: AnyMessage): Uint8Array<ArrayBuffer> {
  if (message.kind === 'UNKNOWN') {
    const { type, payload } = message as UnknownMessage;
    const { view, at } = room(NLMSG_HDRLEN + payload.length);
    const bytes = new Uint8Array(view.buffer, at, NLMSG_HDRLEN + payload.length);
    bytes.set(payload, NLMSG_HDRLEN);
    writeHeader(view, at, bytes.length, type, message);
    return bytes;
  }
  const spec = specs[message.kind] ?? control[message.kind];
  if (spec === undefined) throw new EncodeError('kind', `no message ${String(message.kind)}`);
  const { body, attributes, rest, echo } = message as ErrorMessage;
  if (body === null && spec.dumpable !== true) throw new EncodeError('body', `${message.kind} cannot do without`);
  const echoAt = NLMSG_HDRLEN + (body === null ? 0 : align4(spec.body.size));
  const attributesAt = echoAt + (echo === undefined ? 0 : echo.length);
  const length = attributesAt + measure(spec.attributes, attributes, rest);
  const { view, at } = room(length);
  const bytes = new Uint8Array(view.buffer, at, length);
  writeHeader(view, at, length, spec.type, message);
  try {
    if (body !== null) spec.body.write(view, at + NLMSG_HDRLEN, body);
  } catch (error) {
    EncodeError.within('body', error);
  }
  if (echo !== undefined) bytes.set(echo, echoAt);
  try {
    writeAttributes(spec.attributes, view, at + attributesAt, attributes, rest);
  } catch (error) {
    EncodeError.within('attributes', error);
  }
  if (rest !== undefined) writePadding(view, at, at + length, rest);
  return bytes;
}

function measure(space: AttributeSpace<object>, attributes: object, rest: Rest | undefined): number {
  try {
    return attributesLength(space, attributes, rest);
  } catch (error) {
    EncodeError.within('attributes', error);
  }
}

// biome-ignore lint/suspicious/noExplicitAny: the same table form as a family's
const control: Readonly<Record<string, MessageSpec<any, any>>> = {
  ERROR: { type: NlmsgType.ERROR, body: nlmsgerr, attributes: extack },
  DONE: { type: NlmsgType.DONE, body: nlmsgdone, attributes: extack },
};

function writeHeader(view: DataView, at: number, length: number, type: number, { flags, seq, pid }: Header): void {
  view.setUint32(at, length, little);
  view.setUint16(at + 4, check.u16(type, 'type'), little);
  view.setUint16(at + 6, check.u16(flags, 'flags'), little);
  view.setUint32(at + 8, check.u32(seq, 'seq'), little);
  view.setUint32(at + 12, check.u32(pid, 'pid'), little);
}
