import { describe, expect, it } from 'vitest';
import { commonAlgorithms } from '../../src/conformance/registered.ts';
import { decodePfkey, encodePfkey, type SadbAlg } from '../../src/pfkey/index.ts';

const alg = (id: number, minbits = 128): SadbAlg => ({ id, ivlen: 8, minbits, maxbits: 256 });
const answer = (auth: SadbAlg[], encrypt: SadbAlg[], errno = 0): Uint8Array =>
  encodePfkey({
    kind: 'REGISTER',
    errno,
    satype: 3,
    seq: 1,
    pid: 2,
    extensions: { supportedAuth: { algs: auth }, supportedEncrypt: { algs: encrypt } },
  });

describe('the answers of two kernels to REGISTER', () => {
  it('are compared in the algorithms that both have', () => {
    const [left, right] = commonAlgorithms(
      answer([alg(2), alg(3), alg(5)], [alg(11), alg(12)]),
      answer([alg(2), alg(5), alg(8)], [alg(12)]),
    );
    expect(left).toEqual(right);
    expect(decodePfkey(left as Uint8Array).extensions).toEqual({
      supportedAuth: { algs: [alg(2), alg(5)] },
      supportedEncrypt: { algs: [alg(12)] },
    });
  });

  it.each([
    ['numbers', answer([alg(2, 160)], [alg(11)]), answer([alg(2, 128)], [alg(11)])],
    ['order', answer([alg(2), alg(3)], [alg(11)]), answer([alg(3), alg(2)], [alg(11)])],
    ['everything', answer([alg(2)], [alg(11)]), answer([alg(3)], [alg(11)])],
    ['the errno', answer([alg(2)], [alg(11)]), answer([alg(2)], [alg(11)], 17)],
    ['being there', answer([alg(2)], [alg(11)]), undefined],
    ['being PF_KEY', answer([alg(2)], [alg(11)]), Uint8Array.of(1)],
  ])('differ in %s', (_, one, other) => {
    const [left, right] = commonAlgorithms(one, other);
    expect(left).not.toEqual(right);
  });
});
