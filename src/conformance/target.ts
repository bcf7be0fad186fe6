import type { Step } from './scenario.ts';

type StepOf<Op> = Extract<Step, { op: Op }>;
export type PacketOutStep = Extract<StepOf<'packet'>, { dir: 'out' }>;
export type PacketInStep = Extract<StepOf<'packet'>, { dir: 'in' }>;

/** What a socket has received: messages in order. */
export interface Received {
  readonly messages: Uint8Array[];
  /** The multicast group of each message; 0: unicast. */
  readonly groups: number[];
  /** Messages in each datagram. */
  readonly datagrams: number[];
  /** [position in `messages`, errno] of each read that failed. */
  readonly overruns: number[][];
}

export type Counters = Readonly<Record<string, number>>;

export interface PacketOutAnswer {
  readonly seq: number[];
  /** The different lengths of the IP packets that came out; absent where none are made. */
  readonly ipLengths?: number[];
  readonly errnos: number[];
  readonly acct: { readonly bytes: number; readonly packets: number } | undefined;
  readonly stat: Counters;
}

export interface PacketInAnswer {
  readonly verdicts: { readonly verdict: string; readonly bytes: number | undefined; readonly stat: Counters }[];
  readonly stat: Counters;
}

/**
 * A kernel under examination, as the steps of a scenario use it. Errnos are positive, 0 for success; a fresh one serves one scenario.
 */
export interface Target {
  /** Which algorithms there are is not the recorded kernel's matter alone: of REGISTER's answers the common ones are compared. */
  readonly algorithmsVary?: boolean;
  openSocket(step: StepOf<'socket'>): number;
  setOption(step: StepOf<'setopt'>): number;
  setMembership(step: StepOf<'join'> | StepOf<'leave'>): number;
  closeSocket(sock: string): void;
  /** Sends a datagram; what comes back is then there to `read`. */
  send(sock: string, datagram: Uint8Array, sender: { privileged: boolean; addressed: boolean }): number;
  /** All that a socket has received since it was last read. */
  read(sock: string): Received;
  /** Lets time pass until so many datagrams wait at a socket, at most `timeoutMs`. */
  wait(sock: string, count: number, timeoutMs: number): void;
  packetOut(step: PacketOutStep): PacketOutAnswer;
  packetIn(step: PacketInStep): PacketInAnswer;
  setSysctl(ns: string, name: string, value: string): number;
  sysctl(ns: string, name: string): string | undefined;
  openUdpEncap(ns: string, port: number): void;
  sleep(ms: number): void;
  close(): void;
}
