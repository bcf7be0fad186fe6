import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** The link between two nodes as a cable: it can be pulled and put in again, and neither node knows of it beforehand. */
export class Cable implements AsyncDisposable {
  readonly port: number;
  readonly #server: ReturnType<typeof createServer>;
  readonly #ends = new Set<Socket>();
  #isPulled = false;

  private constructor(server: ReturnType<typeof createServer>) {
    this.#server = server;
    this.port = (server.address() as AddressInfo).port;
  }

  /** To whoever listens on `to`. */
  static async make(to: number): Promise<Cable> {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const cable = new Cable(server);
    server.on('connection', (near) => cable.#join(near, to));
    return cable;
  }

  pull(): void {
    this.#isPulled = true;
    for (const end of this.#ends) end.destroy();
  }

  putIn(): void {
    this.#isPulled = false;
  }

  #join(near: Socket, to: number): void {
    if (this.#isPulled) {
      near.destroy();
      return;
    }
    const far = connect(to, '127.0.0.1');
    for (const [end, other] of [
      [near, far],
      [far, near],
    ] as const) {
      this.#ends.add(end);
      end.on('error', () => {});
      end.once('close', () => {
        this.#ends.delete(end);
        other.destroy();
      });
      end.pipe(other);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.pull();
    this.#server.close();
  }
}
