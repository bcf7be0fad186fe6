import { hostLittleEndian } from '../../netlink/index.ts';
import { KernelError } from '../errors.ts';

/** Faults that a test asks for: each strikes the next messages that it is meant for, in the order in which they come, and is used up. */

/** Which messages a fault is meant for; without a word the next one. */
export interface FaultScope {
  /** How many, 1 without it; `Infinity`: until `clearFaults`. */
  readonly count?: number;
  /** Only messages of this type (`XfrmMsg`; of PF_KEY `sadb_msg_type`). */
  readonly type?: number;
  /** Only messages of which this is true: header and body. The bytes are valid during the call, which must not use the kernel. */
  readonly where?: (message: Uint8Array) => boolean;
}

interface Armed<T> {
  readonly value: T;
  readonly scope: FaultScope;
  left: number;
}

/** The type of a message. */
export type TypeOf = (message: Uint8Array) => number;

export const netlinkType: TypeOf = (message) =>
  new DataView(message.buffer, message.byteOffset, message.byteLength).getUint16(4, hostLittleEndian);

export class Faults<T> {
  readonly #armed: Armed<T>[] = [];
  readonly #typeOf: TypeOf;

  constructor(typeOf: TypeOf) {
    this.#typeOf = typeOf;
  }

  /** @throws KernelError ERR_ARGUMENT */
  arm(value: T, scope: FaultScope = {}): void {
    this.#armed.push({ value, scope, left: countOf(scope.count) });
  }

  /** The fault that this message meets, the one first asked for; undefined: none. */
  strike(message: Uint8Array): T | undefined {
    if (this.#armed.length === 0) return undefined;
    const type = this.#typeOf(message);
    const at = this.#armed.findIndex(
      ({ scope }) => (scope.type === undefined || scope.type === type) && (scope.where?.(message) ?? true),
    );
    const found = this.#armed[at];
    if (found === undefined) return undefined;
    found.left--;
    if (found.left === 0) this.#armed.splice(at, 1);
    return found.value;
  }

  get isEmpty(): boolean {
    return this.#armed.length === 0;
  }
}

/** How often a fault strikes. @throws KernelError ERR_ARGUMENT */
export function countOf(count = 1): number {
  if (count === Number.POSITIVE_INFINITY || (Number.isInteger(count) && count > 0)) return count;
  throw new KernelError('ERR_ARGUMENT', `A fault that strikes ${count} times: give a number from 1 on, or Infinity`);
}

const ERRNO_MAX = 4095;

/** @throws KernelError ERR_ARGUMENT for what is no positive errno */
export function checkErrno(errno: number): number {
  if (Number.isInteger(errno) && errno > 0 && errno <= ERRNO_MAX) return errno;
  throw new KernelError('ERR_ARGUMENT', `errno ${errno}: give it as a positive number, 1 to ${ERRNO_MAX}`);
}
