import type { Scenario } from '../../src/conformance/scenario.ts';
import { forEachMessage, hostLittleEndian, NLMSG_HDRLEN, NlmsgType } from '../../src/netlink/index.ts';
import { XfrmMsg } from '../../src/xfrm/index.ts';

/** Differences that are understood and left. Each is listed in docs/emulated-kernel.md too. */

interface Explained {
  readonly name: string;
  readonly reason: string;
  readonly applies: (recorded: Scenario, detail: string) => boolean;
}

const little = hostLittleEndian;
/** SAs, or policies, from which on the kernel's tables grow. */
const FIRST_GROWTH = 8;
/** Address, SPI and protocol in xfrm_usersa_info. */
const SA_ID = NLMSG_HDRLEN + 56;
const SA_ID_END = SA_ID + 21;
const ENOENT = 2;

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** The requests that were refused: their numbers, and the errnos. */
function refusals(replies: readonly string[]): Map<number, number> {
  const refused = new Map<number, number>();
  for (const hex of replies) {
    const view = viewOf(Buffer.from(hex, 'hex'));
    if (view.byteLength < NLMSG_HDRLEN + 4 || view.getUint16(4, little) !== NlmsgType.ERROR) continue;
    const errno = -view.getInt32(NLMSG_HDRLEN, little);
    if (errno !== 0) refused.set(view.getUint32(8, little), errno);
  }
  return refused;
}

/** The SAs that were made, by address, SPI and protocol; those that are gone again are counted too. */
function madeSas({ steps }: Scenario): Map<string, number> {
  const made = new Map<string, number>();
  for (const step of steps) {
    if (step.op !== 'send') continue;
    const datagram = Buffer.from(step.hex, 'hex');
    const refused = refusals(step.reply ?? []);
    forEachMessage(datagram, (at, length) => {
      const view = viewOf(datagram.subarray(at, at + length));
      const type = view.getUint16(4, little);
      const makes = type === XfrmMsg.NEWSA || type === XfrmMsg.UPDSA || type === XfrmMsg.ALLOCSPI;
      const errno = refused.get(view.getUint32(8, little));
      // ALLOCSPI that finds no SPI leaves a larval SA behind.
      const isMade = errno === undefined || (errno === ENOENT && type === XfrmMsg.ALLOCSPI);
      if (!makes || length < SA_ID_END || !isMade) return;
      const id = datagram.toString('hex', at + SA_ID, at + SA_ID_END);
      made.set(id, (made.get(id) ?? 0) + 1);
    });
  }
  return made;
}

/** Requests that make policies; those that are gone again are counted too. */
function madePolicies({ steps }: Scenario): number {
  let made = 0;
  for (const step of steps) {
    if (step.op !== 'send') continue;
    const datagram = Buffer.from(step.hex, 'hex');
    forEachMessage(datagram, (at) => {
      const type = viewOf(datagram).getUint16(at + 4, little);
      if (type === XfrmMsg.NEWPOLICY || type === XfrmMsg.UPDPOLICY) made++;
    });
  }
  return made;
}

export const explained: readonly Explained[] = [
  {
    name: 'growth of the SA tables',
    reason:
      'A kernel thread makes the tables grow some time after the SA that makes them crowded. Until then GETSADINFO tells the old size, and of several SAs with one identity (but for their marks) the newest is found first; after it the oldest. The emulated tables grow at the end of the datagram, as they do where the thread gets the only CPU at once.',
    applies: (recorded, detail) => {
      const made = madeSas(recorded);
      const total = [...made.values()].reduce((sum, n) => sum + n, 0);
      return total >= FIRST_GROWTH && (/sadhcnt/.test(detail) || [...made.values()].some((n) => n > 1));
    },
  },
  {
    name: 'growth of the policy tables',
    reason:
      'With several CPUs a kernel thread makes the tables grow some time after the policy that makes a direction crowded, at times within a sequence. In the emulated kernel it comes with the next jiffy.',
    applies: (recorded, detail) => /spdhcnt/.test(detail) && madePolicies(recorded) >= FIRST_GROWTH,
  },
];

/** The name of the explained difference that this one is. */
export const explanationOf = (recorded: Scenario, detail: string): string | undefined =>
  explained.find(({ applies }) => applies(recorded, detail))?.name;
