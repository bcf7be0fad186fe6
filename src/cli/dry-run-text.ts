import type { DryRun } from '../node/index.ts';
import { paint } from './output.ts';

/** A dry run of `promote` for people: totals, what stands against it, then every SA. */
export function dryRunText({ node, role, term, newTerm, course, against, unseenMs, totals, sas }: DryRun): string {
  const now = {
    none: 'promote would change nothing',
    switchover: 'promote would be a planned switchover; below is what a takeover would do if the active were gone',
    takeover: 'promote would be a takeover',
    refused: paint('alarm', 'promote would be refused; below is what --force would do'),
  }[course];
  const lines = [`${paint('strong', node)}: ${role}, term ${term}. ${now}`];
  if (course !== 'none') {
    const { policies, byGrant, byEstimate, skipMax, closed, closedMax, lossMax, exhausted, anew, removed } = totals;
    lines.push(
      `  new term  ${newTerm}`,
      `  unseen    ${unseenMs} ms of the active's progress`,
      `  SAs       ${totals.sas}, ${anew} of them put into this kernel anew, ${removed} old ones removed; ${policies} policies`,
      `  outbound  ${byGrant} go on above their grant, ${byEstimate} above an estimate; largest skip ${skipMax}; ${exhausted} exhausted`,
      `  inbound   ${closed} windows closed, by ${closedMax} at the most; at worst ${lossMax} packets of peers are refused`,
    );
  }
  for (const { refuses, text } of against)
    lines.push(`  ${refuses ? paint('alarm', 'refused  ') : 'against  '} ${text}`);
  for (const sa of sas) {
    const said = [
      sa.skip > 0 ? `oseq ${sa.oseq} -> ${sa.newOseq} (skip ${sa.skip}, ${sa.skipBy})` : `oseq ${sa.newOseq}`,
      sa.closed > 0 ? `seq ${sa.seq} -> ${sa.newSeq} (closed, ${sa.lossMax} packets at risk)` : `seq ${sa.newSeq}`,
      ...(sa.exhausted ? [paint('alarm', 'exhausted')] : []),
      ...(sa.anew ? ['put in anew'] : []),
      ...(sa.switchover ? [`in a switchover oseq ${sa.switchover.oseq} seq ${sa.switchover.seq}`] : []),
    ];
    lines.push(`  ${sa.daddr} ${sa.spi} ${sa.direction}: ${said.join(', ')}`);
    for (const why of sa.why) lines.push(paint('faint', `      ${why}`));
  }
  return lines.join('\n');
}
