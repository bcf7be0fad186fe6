/** Draws the demo as it goes. */
import { nowMs } from './clock.ts';
import type { Demo } from './conductor.ts';
import { gatewayOf, NODES } from './configs.ts';
import { sum } from './result.ts';
import { Screen } from './screen.ts';
import { coloured, type Painter, plain } from './table.ts';
import { draw, type NodePicture } from './view.ts';

const FRAME_MS = 250;
const FRAMES_A_SECOND = 1000 / FRAME_MS;
/** What was sent so long ago and has not arrived is shown as lost. */
const LOST_AFTER_FRAMES = 2;

export class Live {
  readonly #screen: Screen;
  readonly #demo: Demo;
  readonly #options: { readonly seed: number; readonly durationS: number; readonly ratePps: number };
  readonly #paint: Painter;
  readonly #unicode: boolean;
  readonly #startMs = nowMs();
  readonly #events: string[] = [];
  /** Totals at each frame: sent and delivered. */
  readonly #totals: { sent: number; delivered: number }[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(
    demo: Demo,
    out: NodeJS.WriteStream,
    options: { readonly seed: number; readonly durationS: number; readonly ratePps: number },
  ) {
    this.#demo = demo;
    this.#screen = new Screen(out);
    this.#options = options;
    this.#paint = wantsColours() ? coloured : plain;
    const { LC_ALL, LC_CTYPE, LANG } = process.env;
    this.#unicode = /utf-?8/i.test(LC_ALL || LC_CTYPE || LANG || '');
  }

  start(): void {
    this.#timer = setInterval(() => this.#frame(), FRAME_MS);
    this.#frame();
  }

  event(line: string): void {
    this.#events.push(line);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#screen.close();
  }

  #frame(): void {
    const { nodes, begins, world, recorded, replays, replayed } = this.#demo;
    const hosts = world?.hosts;
    const sent = sum(Object.values(hosts?.sent ?? {}));
    const delivered = sum(Object.values(hosts?.received ?? {}));
    this.#totals.push({ sent, delivered });
    const totals = this.#totals;
    const ago = (frames: number) => totals[Math.max(0, totals.length - 1 - frames)] ?? { sent: 0, delivered: 0 };
    const history = totals.map((at, i) => at.delivered - (totals[i - 1]?.delivered ?? 0));
    const pictures = NODES.map((name): NodePicture => {
      const status = nodes[name];
      const holds = hosts?.holder === gatewayOf(name);
      if (status === 'down') return { name, holds };
      const { role, term, sas, complete, unseenMs } = status;
      return { name, holds, role, term, sas, complete, unseenMs };
    });
    this.#screen.show(
      draw(
        {
          ...this.#options,
          seconds: (nowMs() - this.#startMs) / 1000,
          phase: begins.at(-1)?.name ?? 'building',
          nodes: pictures,
          sent,
          delivered,
          lost: Math.max(0, ago(LOST_AFTER_FRAMES).sent - delivered),
          recorded,
          replayed,
          accepted: sum(replays.map(({ accepted }) => accepted)),
          sentPps: sent - ago(FRAMES_A_SECOND).sent,
          deliveredPps: delivered - ago(FRAMES_A_SECOND).delivered,
          history,
          historyTop: Math.max(this.#options.ratePps / FRAMES_A_SECOND, ...history.slice(-80)),
          events: this.#events,
        },
        this.#paint,
        this.#unicode,
      ),
    );
  }
}

/** https://no-color.org */
export function wantsColours(): boolean {
  const { NO_COLOR, TERM } = process.env;
  return process.stdout.isTTY === true && (NO_COLOR ?? '') === '' && TERM !== 'dumb';
}
