import { hostLittleEndian } from '../../netlink/index.ts';
import { XfrmMode } from '../../xfrm/index.ts';
import type { Namespace } from './namespace.ts';
import type { Policy } from './policy.ts';
import { touchPolicy } from './policy-timer.ts';
import { Pol, Tmpl } from './requests/policy-construct.ts';
import { InfoByte, Row } from './row.ts';
import { type Flow, selectorMatches } from './selector.ts';

/** Policies for packets that come in (xfrm_policy.c:__xfrm_policy_check). */

const little = hostLittleEndian;
const BLOCK = 1;
/** Types of policies. */
const MAIN = 0;
const SUB = 1;

/**
 * Whether an inbound packet may go further. `slots`: the SAs that it came through, the outermost first; none: it came unprotected.
 */
export function inboundPolicyAllows(
  ns: Namespace,
  dir: number,
  flow: Flow,
  mark: number,
  slots: readonly number[],
): boolean {
  const { sad, spd } = ns;
  const isUsed = spd.counts[dir] !== 0 || slots.length > 0 || spd.defaults[dir] === BLOCK;
  if (!isUsed) return true;
  if (!slots.every((slot) => selectorMatches(sad.arena.bytes, sad.selectorAt(slot), flow))) {
    return refused(ns, 'XfrmInStateMismatch');
  }
  const policies = [SUB, MAIN]
    .map((type) => spd.lookup(dir, flow, mark, 0, type))
    .filter((policy) => policy !== undefined);
  if (policies.length === 0) {
    const fromTunnel = slots.some((slot) => sad.mode(slot) !== XfrmMode.TRANSPORT);
    return spd.defaults[dir] === BLOCK || fromTunnel ? refused(ns, 'XfrmInNoPols') : true;
  }
  for (const policy of policies) touchPolicy(ns, policy);
  if (policies.some(({ info }) => info[Pol.ACTION] === BLOCK)) return refused(ns, 'XfrmInPolBlock');
  return templatesAreMet(ns, policies, slots, flow.family) ? true : refused(ns, 'XfrmInTmplMismatch');
}

function refused(ns: Namespace, stat: Parameters<Namespace['stat']>[0]): false {
  ns.stat(stat);
  return false;
}

/** Each template finds its SA, the innermost first, and no tunnel is left over (xfrm_policy_ok, secpath_has_nontransport). */
function templatesAreMet(
  ns: Namespace,
  policies: readonly Policy[],
  slots: readonly number[],
  family: number,
): boolean {
  const all = policies.flatMap(({ templates }) =>
    Array.from({ length: templates.length / Tmpl.SIZE }, (_, i) => ({ templates, at: i * Tmpl.SIZE })),
  );
  let next = 0;
  for (const { templates, at } of all.reverse()) {
    const isOptional = templates[at + Tmpl.OPTIONAL] !== 0;
    if (isOptional && templates[at + Tmpl.MODE] === XfrmMode.TRANSPORT) continue;
    let found = isOptional ? next : -1;
    for (let i = next; i < slots.length; i++) {
      const slot = slots[i] as number;
      if (meets(ns, templates, at, slot, family)) {
        found = i + 1;
        break;
      }
      if (ns.sad.mode(slot) !== XfrmMode.TRANSPORT) break;
    }
    if (found < 0) return false;
    next = found;
  }
  return slots.slice(next).every((slot) => ns.sad.mode(slot) === XfrmMode.TRANSPORT);
}

/** Whether an SA is what a template asks for (xfrm_state_ok); algorithms are not looked at. */
function meets({ sad }: Namespace, templates: Uint8Array, at: number, slot: number, family: number): boolean {
  const view = new DataView(templates.buffer, templates.byteOffset, templates.byteLength);
  const row = sad.row(slot);
  const spi = view.getUint32(at + Tmpl.SPI, little);
  const reqid = view.getUint32(at + Tmpl.REQID, little);
  if (sad.proto(slot) !== templates[at + Tmpl.PROTO] || sad.mode(slot) !== templates[at + Tmpl.MODE]) return false;
  if (spi !== 0 && sad.words[row + Row.SPI] !== spi) return false;
  if (reqid !== 0 && sad.words[row + Row.REQID] !== reqid) return false;
  if (sad.mode(slot) === XfrmMode.TRANSPORT) return true;
  const length = family === 2 ? 4 : 16;
  const wanted = templates.subarray(at + Tmpl.SADDR, at + Tmpl.SADDR + length);
  const from = 4 * row + InfoByte.SADDR;
  return wanted.every((byte) => byte === 0) || Buffer.compare(wanted, sad.bytes.subarray(from, from + length)) === 0;
}
