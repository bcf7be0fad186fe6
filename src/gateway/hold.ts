/** What came to a gateway that was not switched on yet. */

const PACKETS_MAX = 32_768;
const BYTES_MAX = 32 << 20;
/**
 * What is older when the gateway is switched on is of no use any more. A planned switchover may take so long: the other node's part
 * (`takeover.handover_timeout_ms`, 15 s), and then opening the SAs here.
 */
const KEPT_MS = 30_000;

interface Held {
  readonly packet: Uint8Array;
  readonly handle: (packet: Uint8Array) => void;
  readonly sinceMs: number;
}

/** Packets that wait, in the order in which they came. Bounded in number, bytes and age; the oldest go first. */
export class Hold {
  #held: Held[] = [];
  /** What is before it in the list is gone. */
  #first = 0;
  #bytes = 0;
  readonly #nowMs: () => number;

  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs;
  }

  /** Keeps a copy of the packet and what is to be done with it. */
  put(packet: Uint8Array, handle: (packet: Uint8Array) => void): void {
    const nowMs = this.#nowMs();
    this.#held.push({ packet: packet.slice(), handle, sinceMs: nowMs });
    this.#bytes += packet.length;
    while (
      this.#held.length - this.#first > PACKETS_MAX ||
      this.#bytes > BYTES_MAX ||
      this.#isOld(this.#first, nowMs)
    ) {
      this.#bytes -= (this.#held[this.#first] as Held).packet.length;
      this.#first++;
    }
    if (this.#first < PACKETS_MAX) return;
    this.#held = this.#held.slice(this.#first);
    this.#first = 0;
  }

  get isEmpty(): boolean {
    return this.#first === this.#held.length;
  }

  /** Does what waits, but for what is too old; no more than `count` of it. */
  release(count = PACKETS_MAX): void {
    const nowMs = this.#nowMs();
    for (let left = count; left > 0 && !this.isEmpty; ) {
      const isOld = this.#isOld(this.#first, nowMs);
      const { packet, handle } = this.#held[this.#first] as Held;
      this.#bytes -= packet.length;
      this.#first++;
      if (isOld) continue;
      left--;
      handle(packet);
    }
    if (!this.isEmpty) return;
    this.#held = [];
    this.#first = 0;
  }

  #isOld(index: number, nowMs: number): boolean {
    const held = this.#held[index];
    return held !== undefined && nowMs - held.sinceMs > KEPT_MS;
  }
}
