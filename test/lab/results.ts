/** What a drill reports. Its JSON is the last line of `drill.js --json`. */

export interface CaseRow {
  connection: string;
  direction: 'out' | 'in';
  mode: string;
  family: number;
  cipher: string;
  window: string;
  encap: boolean;
  mark: boolean;
  sent: number;
  lost: number;
  lostBefore: number;
  lostDuring: number;
  lostAfter: number;
  duplicates: number;
  /** The longest time without an arrival around the failover. */
  outageMs: number;
  /** Outbound numbers that no gateway used, as the recording shows; null for inbound SAs and where nothing was sent. */
  skipped: number | null;
  lifetime: {
    /** Packets of the SA's life as the recording and the applications count them, and as the new gateway's kernel does. */
    handled: number;
    packets: number;
    /** The highest sequence number: no SA has handled more packets than it has used numbers. */
    numbers: number;
    addTimeKept: boolean;
  };
}

export interface Replay {
  target: string;
  tried: number;
  /** Delivered to an application a second time: the attack worked. */
  accepted: number;
  /** Delivered for the first time: frames of the outage that nobody had got. Not a replay. */
  late: number;
  /** Counters of /proc/net/xfrm_stat that moved. */
  stat: Readonly<Record<string, number>>;
}

export interface Act {
  name: 'takeover' | 'switchover';
  from: string;
  to: string;
  /** What the program says the takeover itself took, and the command from start to end. */
  takeoverMs: number;
  commandMs: number;
  /** Over all flows. A flow that sends every `intervalMs` is never silent for less. */
  intervalMs: number;
  outageMs: { median: number; max: number };
  packetsSent: number;
  packetsLost: number;
  /** Flows that were still shut out by a closed inbound window at the end of the act's time, and had to be sent past it. */
  pushed: string[];
  rows: CaseRow[];
  replays: Replay[];
}

export interface Expectation {
  name: string;
  ok: boolean;
  detail: string;
}

export interface DrillResult {
  ok: boolean;
  kernel: string;
  inbound: string;
  sas: number;
  packetsSent: number;
  packetsLost: number;
  replaysTried: number;
  replaysAccepted: number;
  outboundNumbersReused: number;
  spisKept: number;
  takeoverMs: number;
  outageMs: number;
  framesRecorded: number;
  seconds: { total: number; world: number };
  acts: Act[];
  expectations: Expectation[];
}

const pad = (text: string | number, width: number) => String(text).padStart(width);

function actTable(act: Act): string[] {
  const lines = [
    '',
    `${act.name} ${act.from} -> ${act.to}: command ${act.commandMs} ms, of it ${act.takeoverMs} ms as reported by xfrmsync; ` +
      `longest silence of a flow (which sends every ${act.intervalMs} ms): median ${act.outageMs.median} ms, max ${act.outageMs.max} ms`,
    `${'connection'.padEnd(34)} ${'dir'.padEnd(3)}   sent  lost  (before during after)  dup  silence ms  skipped  lifetime: handled / kernel`,
  ];
  for (const row of act.rows) {
    lines.push(
      [
        row.connection.padEnd(34),
        row.direction.padEnd(3),
        pad(row.sent, 6),
        pad(row.lost, 5),
        `(${pad(row.lostBefore, 6)} ${pad(row.lostDuring, 6)} ${pad(row.lostAfter, 5)})`,
        pad(row.duplicates, 5),
        pad(row.outageMs, 11),
        pad(row.skipped ?? '-', 8),
        ` ${pad(row.lifetime.handled, 17)} / ${row.lifetime.packets}`,
      ].join(' '),
    );
  }
  if (act.pushed.length > 0) lines.push(`sent past a closed inbound window: ${act.pushed.join(', ')}`);
  for (const replay of act.replays) {
    const stat = Object.entries(replay.stat).map(([name, growth]) => `${name} +${growth}`);
    lines.push(
      `replay ${replay.target}: ${replay.tried} frames, ${replay.accepted} accepted, ${replay.late} late first deliveries; ${stat.join(', ') || 'no counter moved'}`,
    );
  }
  return lines;
}

export function table(result: DrillResult): string {
  const lines = result.acts.flatMap(actTable);
  lines.push('');
  for (const { name, ok, detail } of result.expectations) lines.push(`${ok ? 'ok    ' : 'BROKEN'} ${name}: ${detail}`);
  lines.push(
    '',
    `Linux ${result.kernel}: ${result.sas} SAs, ${result.packetsSent} packets sent, ${result.packetsLost} lost; ` +
      `${result.replaysTried} replays tried, ${result.replaysAccepted} accepted; ${result.outboundNumbersReused} outbound numbers reused; ` +
      `${result.spisKept} SPIs kept; ${result.seconds.total} s`,
    result.ok ? 'The drill has passed.' : 'The drill has FAILED.',
  );
  return lines.join('\n');
}
