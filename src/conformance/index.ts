/** Recorded behaviour of real kernels as a yardstick: reading the vectors, and checking the codec against them. */
export { type CodecResult, checkCodec } from './codec.ts';
export { difference } from './difference.ts';
export {
  isStream,
  readRecords,
  readScenarios,
  VectorError,
  vectorFiles,
} from './vectors.ts';
