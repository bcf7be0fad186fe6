/** Recorded behaviour of real kernels as a yardstick: reading the vectors, and checking the codec against them. */
export { type CodecResult, checkCodec } from './codec.ts';
export { difference } from './difference.ts';
export type { Scenario, Step } from './scenario.ts';
export {
  type DatagramRecord,
  isStream,
  readRecords,
  readScenarios,
  type ScenarioLine,
  VectorError,
  type VectorErrorCode,
  vectorFiles,
} from './vectors.ts';
