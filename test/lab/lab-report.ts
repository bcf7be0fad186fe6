/** What a program of checks prints in a guest, as one line of JSON; lab-suite.ts reads it. */
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
