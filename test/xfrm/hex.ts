/** Bytes from hexadecimal digits; white space is for the reader. */
export function bytes(hex: string): Uint8Array {
  const digits = hex.replace(/\s+/g, '');
  if (!/^([0-9a-f]{2})*$/.test(digits)) throw new TypeError(`not hexadecimal: ${hex}`);
  return Uint8Array.from(Buffer.from(digits, 'hex'));
}

export const hex = (data: Uint8Array): string => Buffer.from(data).toString('hex');
