import { DecodeError, decodePfkey, encodePfkey, type PfkeyMessage, type SadbAlg } from '../pfkey/index.ts';

/**
 * The answer to REGISTER lists the algorithms that a kernel was built with or has loaded, and so two kernels of one release may differ in
 * them. Of two answers this gives what can be compared: the algorithms that both have, with all their numbers, in the order of each.
 * Anything else comes back as it is; so do two answers that have nothing in common.
 */
export function commonAlgorithms(
  expected: Uint8Array | undefined,
  actual: Uint8Array | undefined,
): readonly [Uint8Array | undefined, Uint8Array | undefined] {
  const [left, right] = [answerOf(expected), answerOf(actual)];
  if (left === undefined || right === undefined) return [expected, actual];
  const pair = [structuredClone(left), structuredClone(right)] as const;
  for (const name of ['supportedAuth', 'supportedEncrypt'] as const) {
    const lists = pair.map(({ extensions }) => extensions[name]?.algs ?? []) as [SadbAlg[], SadbAlg[]];
    const common = lists[0].filter(({ id }) => lists[1].some((other) => other.id === id)).map(({ id }) => id);
    if (common.length === 0) return [expected, actual];
    for (const { extensions } of pair) {
      const supported = extensions[name];
      if (supported) supported.algs = supported.algs.filter(({ id }) => common.includes(id));
    }
  }
  return [encodePfkey(pair[0]), encodePfkey(pair[1])];
}

function answerOf(bytes: Uint8Array | undefined): PfkeyMessage<'REGISTER'> | undefined {
  if (bytes === undefined) return undefined;
  try {
    const message = decodePfkey(bytes);
    return message.kind === 'REGISTER' && message.errno === 0 ? message : undefined;
  } catch (error) {
    if (error instanceof DecodeError) return undefined;
    throw error;
  }
}
