import {
  attributeSpace,
  type ControlMessage,
  type MessageOf,
  type MessageSpecs,
  type Protocol,
  protocol,
} from '../netlink/index.ts';
import { sadinfoAttributes, spdinfoAttributes, xfrma } from './attributes.ts';
import {
  aeventId,
  aeventIdFirst,
  flushpolicyBody,
  infoFlags,
  userAcquire,
  userExpire,
  userMapping,
  userPolexpire,
  userpolicyDefault,
  userpolicyId,
  userpolicyInfo,
  userReport,
  usersaFlush,
  usersaId,
  usersaInfo,
  userspiInfo,
} from './structs.ts';

/** The message types XFRM_MSG_*: their number, fixed part and attribute space. */
const specs = {
  NEWSA: { type: 0x10, body: usersaInfo, attributes: xfrma },
  DELSA: { type: 0x11, body: usersaId, attributes: xfrma },
  GETSA: { type: 0x12, body: usersaId, attributes: xfrma, dumpable: true },
  NEWPOLICY: { type: 0x13, body: userpolicyInfo, attributes: xfrma },
  DELPOLICY: { type: 0x14, body: userpolicyId, attributes: xfrma },
  GETPOLICY: { type: 0x15, body: userpolicyId, attributes: xfrma, dumpable: true },
  ALLOCSPI: { type: 0x16, body: userspiInfo, attributes: xfrma },
  ACQUIRE: { type: 0x17, body: userAcquire, attributes: xfrma },
  EXPIRE: { type: 0x18, body: userExpire, attributes: xfrma },
  UPDPOLICY: { type: 0x19, body: userpolicyInfo, attributes: xfrma },
  UPDSA: { type: 0x1a, body: usersaInfo, attributes: xfrma },
  POLEXPIRE: { type: 0x1b, body: userPolexpire, attributes: xfrma },
  FLUSHSA: { type: 0x1c, body: usersaFlush, attributes: xfrma },
  FLUSHPOLICY: { type: 0x1d, body: flushpolicyBody, attributes: xfrma },
  NEWAE: { type: 0x1e, body: aeventId, attributes: xfrma },
  GETAE: { type: 0x1f, body: aeventId, attributes: xfrma },
  REPORT: { type: 0x20, body: userReport, attributes: xfrma },
  MIGRATE: { type: 0x21, body: userpolicyId, attributes: xfrma },
  NEWSADINFO: { type: 0x22, body: infoFlags, attributes: sadinfoAttributes },
  /** Requests for information are parsed with the SA's attributes, only the answers have their own (xfrm_user.c:xfrm_dispatch). */
  GETSADINFO: { type: 0x23, body: infoFlags, attributes: xfrma },
  NEWSPDINFO: { type: 0x24, body: infoFlags, attributes: spdinfoAttributes },
  GETSPDINFO: { type: 0x25, body: infoFlags, attributes: xfrma },
  MAPPING: { type: 0x26, body: userMapping, attributes: xfrma },
  SETDEFAULT: { type: 0x27, body: userpolicyDefault, attributes: xfrma },
  GETDEFAULT: { type: 0x28, body: userpolicyDefault, attributes: xfrma },
} as const;

type Specs = typeof specs;
export type XfrmKind = keyof Specs;

/** A message of NETLINK_XFRM, told apart by `kind`; `XfrmMessage<'NEWAE'>` is one of them. */
export type XfrmMessage<K extends XfrmKind = XfrmKind> = MessageOf<Specs, K>;
export type AnyXfrmMessage = XfrmMessage | ControlMessage;

/** Numbers of the message types. */
export const XfrmMsg = Object.fromEntries(Object.entries(specs).map(([kind, { type }]) => [kind, type])) as {
  readonly [K in XfrmKind]: Specs[K]['type'];
};

/** The protocol as Linux ships it. */
export const xfrm: Protocol<AnyXfrmMessage> = protocol(specs);

const first = { body: aeventIdFirst, attributes: xfrma };

/** The protocol of the first documentation: `xfrm_aevent_id` is {sa_id, flags}, 28 bytes. No Linux release speaks it. */
export const xfrmFirstLayout = protocol({ ...specs, NEWAE: { type: 0x1e, ...first }, GETAE: { type: 0x1f, ...first } });

/** The highest attribute type that releases from 6.1 on know, newest first. Those above it are unknown there, and skipped. */
const highestAttributes: readonly (readonly [major: number, minor: number, patch: number, highest: number])[] = [
  [6, 14, 0, 41],
  [6, 13, 0, 35],
  // The stable series 6.12 got SA_PCPU late.
  [6, 12, 117, 35],
  [6, 11, 0, 34],
  [6, 10, 0, 33],
];
const OLDEST_HIGHEST = 32;

const byHighest = new Map<number, Protocol<AnyXfrmMessage>>();

/** The protocol as a kernel release speaks it, e.g. `6.12.117+deb12-amd64`: attributes that came later are unknown to it. */
export function xfrmOfRelease(release: string): Protocol<AnyXfrmMessage> {
  const [, ...numbers] = /^(\d+)\.(\d+)(?:\.(\d+))?/.exec(release) ?? [];
  if (numbers.length === 0) throw new TypeError(`${JSON.stringify(release)} is not a kernel release such as 6.12.117`);
  const [major = 0, minor = 0, patch = 0] = numbers.map((n) => Number(n ?? 0));
  const [, , , highest = OLDEST_HIGHEST] =
    highestAttributes.find(([a, b, c]) => (major - a || minor - b || patch - c) >= 0) ?? [];
  const found = byHighest.get(highest) ?? xfrmUpTo(highest);
  byHighest.set(highest, found);
  return found;
}

function xfrmUpTo(highest: number): Protocol<AnyXfrmMessage> {
  const known = Object.entries(xfrma.specs).filter(([, { type }]) => type <= highest);
  const attributes = attributeSpace(xfrma.prefix, Object.fromEntries(known));
  const older: MessageSpecs = Object.fromEntries(
    Object.entries(specs).map(([kind, spec]) => [kind, spec.attributes === xfrma ? { ...spec, attributes } : spec]),
  );
  return protocol(older) as Protocol<AnyXfrmMessage>;
}
