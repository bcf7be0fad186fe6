import { describe, expect, it } from 'vitest';
import { withSettings } from './daemons.ts';
import { CASES, makeConnections, stateLines } from './sas.ts';

describe('settings of a configuration', () => {
  const toml = '# written by init\n[node]\nname = "a"\nrole = "x"\n\n[link]\nlisten = "10.0.0.1:4510"\n';

  it('replaces a key in its own table only, adds keys, adds tables', () => {
    const text = withSettings(toml, { node: { role: 'y', extra: 5 }, hooks: { claim: '/a/$&.sh' } });
    expect(text).toBe(
      '# written by init\n[node]\nextra = 5\nname = "a"\nrole = "y"\n\n[link]\nlisten = "10.0.0.1:4510"\n\n[hooks]\nclaim = "/a/$&.sh"\n',
    );
  });
});

describe('the SA matrix', () => {
  const connections = makeConnections();

  it('has every mode, family, cipher and window with each other, encapsulation and marks', () => {
    const plain = CASES.filter((row) => !row.encap && !row.mark);
    expect(new Set(plain.map((row) => `${row.mode}/${row.family}/${row.cipher}/${row.esn}`)).size).toBe(16);
    expect(CASES.some((row) => row.encap && row.family === 4)).toBe(true);
    expect(CASES.some((row) => row.encap && row.family === 6)).toBe(true);
    expect(CASES.some((row) => row.mark)).toBe(true);
  });

  it('gives each SA a number and a key of its own, in every run', () => {
    const all = [...connections, ...makeConnections()];
    const spis = connections.flatMap(({ spi }) => [spi.out, spi.in]);
    expect(new Set(spis).size).toBe(spis.length);
    expect(Math.min(...spis)).toBeGreaterThan(255);
    expect(Math.max(...spis)).toBeLessThanOrEqual(0xffffffff);
    expect(new Set(all.flatMap(({ keys }) => [keys.out.enc, keys.in.enc])).size).toBe(4 * connections.length);
  });

  it('is the same SAs on both ends', () => {
    const states = (host: 'gwa' | 'peer') =>
      stateLines(connections, host).map((line) => line.replace(/ mark \d+ mask \d+/, ''));
    expect(states('gwa')).toEqual(states('peer'));
  });
});
