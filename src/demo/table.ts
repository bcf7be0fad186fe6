/** The result for people. */
import { styleText } from 'node:util';
import type { DemoResult } from './result.ts';

type Style = Parameters<typeof styleText>[0];
/** Colours, or none where they are not wanted. */
export type Painter = (style: Style, text: string) => string;
export const plain: Painter = (_style, text) => text;
export const coloured: Painter = (style, text) => styleText(style, text);

const pad = (value: string | number, width: number): string => String(value).padStart(width);

export function table(result: DemoResult, paint: Painter): string {
  const { takeover, switchover, exposure, phases, replays, expectations } = result;
  const lines = [
    '',
    paint('bold', `${'phase'.padEnd(31)}${pad('seconds', 9)}${pad('packets sent', 15)}${pad('lost', 9)}`),
    ...phases.map(
      ({ name, seconds, packetsSent, packetsLost }) =>
        `${name.padEnd(31)}${pad(seconds.toFixed(1), 9)}${pad(packetsSent, 15)}${pad(packetsLost, 9)}`,
    ),
    '',
    paint('bold', `${'recorded packets sent again after'.padEnd(40)}${pad('tried', 8)}${pad('accepted', 10)}`),
    ...replays.map(({ name, sent, accepted }) => `${name.padEnd(40)}${pad(sent, 8)}${pad(accepted, 10)}`),
    '',
    `crash        noticed after ${takeover.detectMs} ms, takeover ${takeover.takeoverMs} ms`,
    `             no delivery for ${takeover.outageOutMs} ms outbound, ${takeover.outageInMs} ms inbound`,
    `             lost: ${takeover.lostInOutage} in the outage, ${takeover.lostAfterwards} after it (${exposure.lostToClosedWindows} to closed windows)`,
    `exposure     ${exposure.unseenMs} ms of the active unseen by the standby, at most ${exposure.packetsPerSaBound} packets an SA`,
    `             unseen when it died: ${exposure.packets} packets on ${exposure.sas} SAs, ${exposure.packetsPerSaMax} at most on one`,
    `             skipped instead: ${takeover.skipped.min} to ${takeover.skipped.max} outbound numbers of each SA`,
    `switchover   ${switchover.takeoverMs} ms in the daemon, command ${switchover.commandMs} ms, no delivery for ${switchover.outageMs} ms`,
    '',
    ...expectations.map(
      ({ name, ok, detail }) => `${ok ? paint('green', 'ok    ') : paint('red', 'BROKEN')} ${name}: ${detail}`,
    ),
    '',
    `${result.sas} SAs, ${result.spisKept} SPIs kept; ${result.packetsSent} packets sent, ${result.packetsLost} lost;`,
    `${result.replaysTried} replays tried, ${result.replaysAccepted} accepted; ${result.outboundNumbersReused} outbound numbers reused`,
    `${result.ok ? paint('green', 'Everything held.') : paint('red', 'Something did NOT hold.')} ` +
      `${result.seconds} s, seed ${result.seed}`,
  ];
  return lines.join('\n');
}
