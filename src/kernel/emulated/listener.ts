/** A socket as it stands. */
export interface SocketSnapshot {
  readonly portId: number;
  /** Multicast groups (`XfrmGroup`). */
  readonly groups: readonly number[];
  readonly receiveBufferBytes: number;
  /** Datagrams that wait, and what the kernel charges them against the receive buffer. */
  readonly waiting: number;
  readonly chargedBytes: number;
  /** Messages lost so far for want of room or of memory. */
  readonly drops: number;
  /** Loses everything until what waits has been read. */
  readonly congested: boolean;
  /** ENOBUFS waits to be read. */
  readonly overrun: boolean;
  /** A dump is under way. */
  readonly dumping: boolean;
  /** By `hold`. */
  readonly held: boolean;
}

/** A netlink socket as its namespace sees it. */
export interface Listener {
  readonly portId: number;
  /** Bit n-1: member of group n. */
  readonly groups: number;
  deliver(bytes: Uint8Array, length: number, group: number): void;
  /** A message to it is lost, and it is told. */
  overrun(): void;
  snapshot(): SocketSnapshot;
  clearFaults(): void;
}
