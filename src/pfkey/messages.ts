import { linuxMessageTypes } from './constants.ts';
import type { PfkeyExtensionName, PfkeyExtensions } from './extensions.ts';
import { replayMessageTypes } from './replay-notification.ts';

/** Numbers of the message types: those of Linux, and those of the replay-notification extension. */
export const PfkeyMsg = { ...linuxMessageTypes, ...replayMessageTypes } as const;

export type PfkeyKind = keyof typeof PfkeyMsg;

/** The fields of `sadb_msg` that are of meaning to a receiver. */
export interface PfkeyHeader {
  /** Positive Linux errno of an answer; 0 in requests. */
  errno: number;
  /** `SaType`; 0: of all. */
  satype: number;
  seq: number;
  /** The process that asked; 0 in messages of the kernel's own. */
  pid: number;
}

/** An extension that the typed object has no room for: of unknown type. */
export interface OtherExtension {
  /** Its position among the extensions of the message, counted from 0. */
  readonly index: number;
  readonly type: number;
  /** What follows the extension's header of 4 bytes; 4 + a multiple of 8 bytes. */
  readonly data: Uint8Array;
}

/** What the typed value of a message does not say. It is there so that encoding gives back the very bytes that were decoded. */
export interface PfkeyRest {
  other?: OtherExtension[];
  /** Extensions that are not as long as their value: their length in bytes, and the bytes behind the value. */
  quirks?: { [N in PfkeyExtensionName]?: { readonly length: number; readonly excess: Uint8Array } };
  /** Bytes that are not zero where they are reserved or padding; `offset` counts from the start of the message. */
  padding?: { readonly offset: number; readonly bytes: Uint8Array }[];
}

/** A PF_KEY message, told apart by `kind`; `PfkeyMessage<'ADD'>` is one of them. */
export type PfkeyMessage<K extends PfkeyKind = PfkeyKind> = {
  [N in K]: PfkeyHeader & { kind: N; extensions: PfkeyExtensions; rest?: PfkeyRest };
}[K];

/** A message of a kind that is not known before: what `encodePfkey` takes beside the others. */
export interface PfkeyMessageToBe extends PfkeyHeader {
  kind: PfkeyKind;
  extensions: PfkeyExtensions;
  rest?: PfkeyRest;
}

/** A message of a type that is neither Linux's nor ours. */
export interface UnknownPfkeyMessage extends PfkeyHeader {
  kind: 'UNKNOWN';
  type: number;
  extensions: PfkeyExtensions;
  rest?: PfkeyRest;
}

export type AnyPfkeyMessage = PfkeyMessage | UnknownPfkeyMessage;

export const kindByType: ReadonlyMap<number, PfkeyKind> = new Map(
  Object.entries(PfkeyMsg).map(([kind, type]) => [type, kind as PfkeyKind]),
);
