import { type Sa, saIdOf, XfrmClient } from '../../src/client/index.ts';
import { EmulatedKernel, newInboundFacts, outputSa } from '../../src/kernel/emulated/index.ts';
import { findInbound } from '../../src/kernel/emulated/input.ts';
import { NO_SLOT } from '../../src/kernel/emulated/sad.ts';
import { policy, sa } from '../../src/simulator/sas.ts';

/** Two emulated kernels with SAs, and traffic on them. */

export const id = (spi: number) => saIdOf(sa(spi));
export const [OUT, IN] = [0x101, 0x102];
const PACKET_BYTES = 100;

export /** The kernels of both nodes. */
class Doors {
  readonly a = new EmulatedKernel();
  readonly b = new EmulatedKernel();

  /** Two SAs and a policy at the one that is active. */
  static async make(): Promise<Doors> {
    const doors = new Doors();
    await using client = await XfrmClient.open(doors.a);
    for (const spi of [OUT, IN]) await client.addSa(sa(spi));
    await client.addPolicy(policy('10.1.0.0'));
    return doors;
  }

  /** The numbers of the packets that left. */
  transmit(name: 'a' | 'b', count: number, spi = OUT): number[] {
    const { engine } = this[name];
    const facts = Object.assign(newInboundFacts(), id(spi));
    const sent: number[] = [];
    for (let i = 0; i < count; i++) {
      const slot = findInbound(engine, facts);
      const result = slot === NO_SLOT ? undefined : outputSa(engine, slot, PACKET_BYTES);
      if (result?.sent) sent.push(result.seq);
    }
    return sent;
  }

  async with<T>(name: 'a' | 'b', use: (client: XfrmClient) => Promise<T>): Promise<T> {
    await using client = await XfrmClient.open(this[name]);
    return await use(client);
  }

  sa(name: 'a' | 'b', spi: number): Promise<Sa | undefined> {
    return this.with(name, (client) => client.getSa(id(spi)));
  }

  count(name: 'a' | 'b'): number {
    return this[name].engine.sad.count;
  }
}
