/**
 * Recorded behaviour of real kernels as a yardstick: reading the vectors, checking the codec against them, and carrying them out on a
 * kernel.
 */
export { type CodecResult, checkCodec } from './codec.ts';
export { difference } from './difference.ts';
export { checkEmulated } from './emulated.ts';
export { checkLinux } from './linux.ts';
export type { RunReport } from './report.ts';
export {
  isStream,
  readRecords,
  readScenarios,
  VectorError,
  vectorFiles,
} from './vectors.ts';
