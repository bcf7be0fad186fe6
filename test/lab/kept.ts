/** Whether a gateway has the SAs of another: same SPIs, same keys, no SA more and none less. */
import type { Expectations } from './expectations.ts';
import type { SaText } from './state-text.ts';

/** What a kernel has, by SPI. */
export type States = Map<number, SaText>;

/** A limit that is infinite but for the mark of a ceiling (docs/decisions/0014). */
const MARKED = '18446744073709551525';
const INFINITE = 'INF';

/** Packet limits are left out: there a ceiling may stand while an SA is in use. */
function timeLimits(sa: SaText | undefined): Record<string, string> {
  return Object.fromEntries(
    Object.entries(sa?.limits ?? {})
      .filter(([name]) => !name.endsWith('packets'))
      .map(([name, limit]) => [name, limit.includes(MARKED) ? INFINITE : limit]),
  );
}

const spiList = (spis: readonly number[]) => spis.map((spi) => `0x${spi.toString(16)}`).join(' ');

/** Returns how many SPIs were kept. */
export function checkKept(expectations: Expectations, name: string, first: States, now: States): number {
  const kept = [...first.keys()].filter((spi) => now.has(spi));
  const changed = kept.filter((spi) => first.get(spi)?.identity !== now.get(spi)?.identity);
  const rekeyed = kept.filter((spi) => first.get(spi)?.keys !== now.get(spi)?.keys);
  const limits = kept.filter(
    (spi) => JSON.stringify(timeLimits(first.get(spi))) !== JSON.stringify(timeLimits(now.get(spi))),
  );
  expectations.check(
    `${name}: SPIs kept, no new SA`,
    kept.length === first.size && now.size === first.size,
    `${kept.length} of ${first.size}, now ${now.size}`,
  );
  expectations.check(`${name}: keys kept`, rekeyed.length === 0, `${kept.length - rekeyed.length} of ${first.size}`);
  expectations.check(
    `${name}: SAs unchanged in all that identifies them`,
    changed.length === 0,
    spiList(changed) || `${kept.length}`,
  );
  expectations.check(`${name}: time and byte limits kept`, limits.length === 0, spiList(limits) || `${kept.length}`);
  return kept.length;
}
