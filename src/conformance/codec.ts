import { basename } from 'node:path';
import { DecodeError, forEachMessage, hostLittleEndian, NLMSG_HDRLEN, NlmF, NlmsgType } from '../netlink/index.ts';
import { decodePfkey, encodePfkey, pfkeyToJson } from '../pfkey/index.ts';
import { type AnyXfrmMessage, messageToJson, xfrm, xfrmOfRelease } from '../xfrm/index.ts';
import { difference } from './difference.ts';
import type { Scenario, Step } from './scenario.ts';
import { isStream, readRecords, readScenarios, vectorFiles } from './vectors.ts';

/**
 * Do the codecs read and write what real kernels did? Every netlink and PF_KEY message of a recording is decoded and encoded again and must give the
 * same bytes. Requests that were malformed on purpose may be refused, but only if the recorded kernel refused them too.
 */

export interface CodecResult {
  /** Kernel and scenario, or the name of the stream. */
  readonly name: string;
  /** `skipped`: no message is in it. */
  readonly outcome: 'passed' | 'failed' | 'skipped';
  /** What is wrong, message by message. */
  readonly detail?: string;
  /**
   * What became of each message: by kind those that came back whole, with `SADB_` before those of PF_KEY; `refused` as by the kernel;
   * `unread` ones that we refuse and the kernel never looked into; `leftover` bytes at the end of a datagram; `failed`.
   */
  readonly counts: Readonly<Record<string, number>>;
}

/** Messages that are described when a scenario fails. */
const DETAILS_MAX = 20;

const EPERM = 1;
const EINVAL = 22;
const ERANGE = 34;
const EMSGSIZE = 90;
const PFKEY_HEADER = 16;
const PFKEY_ERRNO_AT = 2;

class Findings {
  readonly counts: Record<string, number> = {};
  readonly #details: string[] = [];

  count(what: string): void {
    this.counts[what] = (this.counts[what] ?? 0) + 1;
  }

  fail(where: string, what: string): void {
    this.count('failed');
    this.#details.push(`${where}: ${what}`);
  }

  result(name: string): CodecResult {
    const { counts } = this;
    if (this.#details.length > 0) {
      const more = this.#details.length - DETAILS_MAX;
      const shown = [...this.#details.slice(0, DETAILS_MAX), ...(more > 0 ? [`(${more} more)`] : [])];
      return { name, outcome: 'failed', detail: shown.join('\n'), counts };
    }
    return { name, outcome: Object.keys(counts).length === 0 ? 'skipped' : 'passed', counts };
  }
}

/**
 * Checks the vector files at `path`: a file, or a directory of them. One result for each scenario and for each stream.
 * @throws VectorError for a file that cannot be used
 */
export async function* checkCodec(path: string): AsyncGenerator<CodecResult> {
  for (const file of await vectorFiles(path)) {
    if (isStream(file)) yield await checkStream(file);
    else for await (const { scenario } of readScenarios(file)) yield checkScenario(scenario);
  }
}

type Decode = (bytes: Uint8Array) => AnyXfrmMessage;

function checkScenario(scenario: Scenario): CodecResult {
  const findings = new Findings();
  const { decode, encode } = xfrmOfRelease(scenario.kernel);
  const pfkey = new Set<string>();
  scenario.steps.forEach((step, i) => {
    if (step.op === 'socket') {
      if (step.proto === 'pfkey') pfkey.add(step.sock);
      else pfkey.delete(step.sock);
    }
    if (step.op !== 'send' && step.op !== 'events') return;
    const received = step.op === 'send' ? (step.reply ?? []) : (step.hex ?? []);
    const where = `step ${i} ${step.op}`;
    if (pfkey.has(step.sock)) {
      checkPfkey(step, received, where, findings);
      return;
    }
    if (step.op === 'send') checkRequests(step, where, decode, encode, findings);
    received.forEach((hex, n) => {
      const bytes = Buffer.from(hex, 'hex');
      try {
        checkRoundTrip(bytes, decode(bytes), `${where}, message ${n} received`, decode, encode, findings);
      } catch (error) {
        findings.fail(`${where}, message ${n} received`, refusal(error));
      }
    });
  });
  return findings.result(`${scenario.kernel} ${scenario.name}`);
}

function refusal(error: unknown): string {
  if (!(error instanceof DecodeError)) throw error;
  return `refused with ${error.code}: ${error.message}`;
}

function checkRoundTrip(
  bytes: Uint8Array,
  message: AnyXfrmMessage,
  where: string,
  decode: Decode,
  encode: (message: AnyXfrmMessage) => Uint8Array,
  findings: Findings,
): void {
  const again = encode(message);
  if (Buffer.compare(bytes, again) === 0) findings.count(message.kind);
  else
    findings.fail(
      `${where} (${message.kind})`,
      `other bytes when encoded again\n${difference(bytes, again, (b) => messageToJson(decode(b)))}`,
    );
}

/** A datagram of PF_KEY is one message. */
function checkPfkey(
  step: Extract<Step, { op: 'send' | 'events' }>,
  received: readonly string[],
  where: string,
  findings: Findings,
): void {
  const check = (hex: string, here: string, mayRefuse: boolean): void => {
    const bytes = Buffer.from(hex, 'hex');
    try {
      const message = decodePfkey(bytes);
      const again = encodePfkey(message);
      if (Buffer.compare(bytes, again) === 0) findings.count(`SADB_${message.kind}`);
      else {
        const fields = difference(bytes, again, (b) => pfkeyToJson(decodePfkey(b)));
        findings.fail(`${here} (${message.kind})`, `other bytes when encoded again\n${fields}`);
      }
    } catch (error) {
      const reason = refusal(error);
      if (mayRefuse) findings.count('refused');
      else findings.fail(here, reason);
    }
  };
  if (step.op === 'send') check(step.hex, `${where}, message sent`, refusedPfkey(step));
  received.forEach((hex, n) => {
    check(hex, `${where}, message ${n} received`, false);
  });
}

/** Whether the kernel found a message malformed: at once, or in a bare header with EINVAL (af_key.c:pfkey_sendmsg, pfkey_error). */
function refusedPfkey({ hex, errno = 0, reply = [] }: Extract<Step, { op: 'send' }>): boolean {
  if (errno !== 0) return errno === EINVAL || errno === EMSGSIZE;
  const request = Buffer.from(hex, 'hex');
  return reply.some((text) => {
    const answer = Buffer.from(text, 'hex');
    return answer.length === PFKEY_HEADER && answer[1] === request[1] && answer[PFKEY_ERRNO_AT] === EINVAL;
  });
}

function checkRequests(
  step: Extract<Step, { op: 'send' }>,
  where: string,
  decode: Decode,
  encode: (message: AnyXfrmMessage) => Uint8Array,
  findings: Findings,
): void {
  const datagram = Buffer.from(step.hex, 'hex');
  let n = 0;
  const end = forEachMessage(datagram, (at, length) => {
    const request = datagram.subarray(at, at + length);
    const here = `${where}, message ${n++} sent`;
    let message: AnyXfrmMessage;
    try {
      message = decode(request);
    } catch (error) {
      const reason = refusal(error);
      const verdict = verdictOf(request, step);
      if (verdict === 'refused' || verdict === 'unread') findings.count(verdict);
      else findings.fail(here, `${reason}; the kernel: ${verdict}`);
      return;
    }
    checkRoundTrip(request, message, here, decode, encode, findings);
  });
  if (end === datagram.length) return;
  try {
    decode(datagram.subarray(end));
    findings.fail(`${where}, byte ${end}`, 'decoded, where the kernel sees no message');
  } catch (error) {
    refusal(error);
    findings.count('leftover');
  }
}

/** What the kernel did with a request that we refuse. */
function verdictOf(request: Buffer, step: Extract<Step, { op: 'send' }>): string {
  const view = new DataView(request.buffer, request.byteOffset, request.length);
  const seq = view.getUint32(8, hostLittleEndian);
  const isRequest = (view.getUint16(6, hostLittleEndian) & NlmF.REQUEST) !== 0;
  // netlink_rcv_skb passes over what is no request.
  if (step.errno || !isRequest) return 'unread';
  for (const hex of step.reply ?? []) {
    const bytes = Buffer.from(hex, 'hex');
    const answer = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    if (bytes.length < NLMSG_HDRLEN + 4 || answer.getUint32(8, hostLittleEndian) !== seq) continue;
    const type = answer.getUint16(4, hostLittleEndian);
    const quoted = bytes.subarray(NLMSG_HDRLEN + 4, NLMSG_HDRLEN + 4 + NLMSG_HDRLEN);
    // A request for a dump is refused by the status of its end.
    const isAnswer = type === NlmsgType.DONE || quoted.equals(request.subarray(0, NLMSG_HDRLEN));
    if (!isAnswer || (type !== NlmsgType.ERROR && type !== NlmsgType.DONE)) continue;
    const errno = -answer.getInt32(NLMSG_HDRLEN, hostLittleEndian);
    if (errno === EINVAL || errno === ERANGE) return 'refused';
    // Rights come before any look at the content (xfrm_user.c:xfrm_user_rcv_msg).
    if (errno === EPERM) return 'unread';
    return errno === 0 ? 'accepted it' : `answered errno ${errno}`;
  }
  return 'gave no answer';
}

/** A stream is what a kernel sent: everything in it has a name, and nothing is left over. */
async function checkStream(file: string): Promise<CodecResult> {
  const findings = new Findings();
  for await (const { record, bytes } of readRecords(file)) {
    const end = forEachMessage(bytes, (at, length) => {
      const where = `record ${record}`;
      const sent = bytes.subarray(at, at + length);
      try {
        const message = xfrm.decode(sent);
        if (message.kind === 'UNKNOWN') findings.fail(where, `unknown message type ${message.type}`);
        else if (message.rest) findings.fail(where, `${message.kind} with ${Object.keys(message.rest).join(', ')}`);
        else checkRoundTrip(sent, message, where, xfrm.decode, xfrm.encode, findings);
      } catch (error) {
        findings.fail(where, refusal(error));
      }
    });
    if (end !== bytes.length) findings.fail(`record ${record}`, `${bytes.length - end} bytes are no message`);
  }
  return findings.result(basename(file));
}
