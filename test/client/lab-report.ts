/** What test/client/lab.ts prints and lab.test.ts reads. */
export interface LabCheck {
  readonly name: string;
  readonly ok: boolean;
  readonly ms: number;
  readonly facts?: object;
  readonly error?: string;
}

export interface LabReport {
  readonly kernel: string;
  readonly ms: number;
  readonly checks: readonly LabCheck[];
}
