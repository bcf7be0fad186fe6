/**
 * Recorded behaviour of real kernels as a yardstick: reading the vectors, checking the codec against them, and carrying them out on a
 * kernel.
 */
export { type CodecResult, checkCodec } from './codec.ts';
export { difference } from './difference.ts';
export { checkEmulated, type RunReport } from './emulated.ts';
export {
  isStream,
  readRecords,
  readScenarios,
  VectorError,
  vectorFiles,
} from './vectors.ts';
