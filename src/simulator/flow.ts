import { type Sa, type SaId, saIdOf } from '../client/index.ts';
import { SaDir } from '../xfrm/index.ts';
import type { SaPlan } from './plan.ts';
import { sa } from './sas.ts';

/** The packets of one SA after the other: what a host behind a gateway, or a peer, sends. */

const TWO_32 = 2 ** 32;

/** One SA in one of its lives: a key is never used for another one. */
export interface Life {
  readonly key: number;
  readonly flow: number;
  readonly plan: SaPlan;
  readonly id: SaId;
  readonly sa: Sa;
  /** Its packet count was set by hand. */
  recounted: boolean;
  /** Its key manager has given it a limit that it will reach. */
  expires: boolean;
}

export class Flow {
  readonly index: number;
  readonly plan: SaPlan;
  life: Life | undefined;
  /** The number that the peer has used last. */
  n = 0;
  /** The last packet was lost or late: the next one is neither. */
  disturbed = false;
  /** Numbers of this life that have reached a gateway, for the attacker; those that were lost, for it to bring later. */
  recorded: number[] = [];
  highest = 0;
  /** Packets that come one right behind the other. */
  burst = 0;
  /** Left alone while a story is made shorter. */
  idle = false;

  constructor(index: number, plan: SaPlan) {
    this.index = index;
    this.plan = plan;
  }

  begin(life: Life): void {
    this.life = life;
    this.n = this.plan.first;
    this.highest = this.plan.first;
    this.recorded = [];
    this.disturbed = false;
  }
}

/** An SA as a key manager makes it. */
export function newLife(flow: Flow, key: number, spi: number, release: string): Life {
  const { plan } = flow;
  const { direction, window, first } = plan;
  const out = direction === 'out';
  const saysDirection = plan.saysDirection && release.startsWith('6.12');
  const [low, high] = [first % TWO_32, Math.floor(first / TWO_32)];
  const bits = { legacy: 32, bitmap: 64, esn: 128, none: 0 }[window];
  const made = sa(spi, {
    key,
    esn: window === 'esn',
    bitmap: window === 'esn' || window === 'bitmap',
    // An SA that is known to go out has no window (xfrm_user.c:verify_newsa_info).
    window: saysDirection && out && window === 'legacy' ? 0 : bits,
    ...(out ? { oseq: low, oseqHi: high } : { seq: low, seqHi: high }),
    ...(saysDirection && window !== 'esn' && window !== 'bitmap'
      ? { attributes: { saDir: out ? SaDir.OUT : SaDir.IN } }
      : {}),
  });
  return { key, flow: flow.index, plan, id: saIdOf(made), sa: made, recounted: false, expires: false };
}
