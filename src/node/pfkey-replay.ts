import {
  type AeventValues,
  ClientError,
  type ReplayClient,
  type Request,
  type Result,
  type SaId,
} from '../client/index.ts';
import type { PfkeyExtensions, PfkeyMessage } from '../pfkey/index.ts';
import { saKey } from '../replica/index.ts';
import { aeventOf, type ReplayForm, stateExtensions, thresholdOf } from './pfkey-values.ts';

/** The requests that PF_KEY carries out in place of netlink. */
export type ReplayWish = Request<'NEWAE'> | Request<'GETAE'>;

/** The SA that such a request is about. */
export const wishedOf = ({ body, attributes }: ReplayWish): SaId => {
  const { mark } = attributes;
  return mark === undefined ? body.saId : { ...body.saId, mark };
};

const EINVAL = 22;

/**
 * NEWAE and GETAE of a node, as X_REPLAY_SET and X_REPLAY_GET.
 *
 * PF_KEY is told nothing of an SA before somebody has set its thresholds there, be it to what they are. So every SA that the node asks about is
 * asked for its thresholds first, and given them anew: it is heard of from then on. What a state looks like (`ReplayForm`), which PF_KEY wants
 * repeated, is learned on the way.
 */
export class PfkeyReplay {
  readonly #client: ReplayClient;
  /** SAs that are heard of, by `saKey`. */
  readonly #heard = new Map<string, ReplayForm>();
  readonly #onTimerStarted: (id: SaId) => void;

  /** `onTimerStarted`: T of an SA counts from now. */
  constructor(client: ReplayClient, onTimerStarted: (id: SaId) => void) {
    this.#client = client;
    this.#onTimerStarted = onTimerStarted;
  }

  /** An SA is gone, or another one has its place. */
  forget(id: SaId): void {
    this.#heard.delete(saKey(id));
  }

  forgetAll(): void {
    this.#heard.clear();
  }

  /** Sees to it that the SAs are heard of. What cannot be is not; the next request for it says why. */
  async hear(ids: readonly SaId[]): Promise<void> {
    const unheard = ids.filter((id) => !this.#heard.has(saKey(id)));
    if (unheard.length > 0) await this.get(unheard);
  }

  /** The answers to X_REPLAY_GET, as answers to GETAE with both thresholds. */
  async get(ids: readonly SaId[]): Promise<Result[]> {
    const answers = await this.#ask(ids);
    const unheard = ids.flatMap((id, i) => {
      const answer = answers[i];
      return this.#heard.has(saKey(id)) || !(answer && 'extensions' in answer) ? [] : [{ id, answer }];
    });
    await this.#set(unheard.map(({ id, answer }) => ({ id, answer, extensions: thresholds(answer) })));
    return answers.map((answer, i): Result => {
      if (answer instanceof ClientError) return { error: answer };
      const reply = aeventOf(ids[i] as SaId, answer);
      if (reply !== undefined) return { reply };
      return { error: new ClientError('ERR_ANSWER', 'X_REPLAY_GET', 'the answer lacks the state or the thresholds') };
    });
  }

  /** Sets what the requests set. */
  async set(wishes: readonly Request<'NEWAE'>[]): Promise<Result[]> {
    const results = await this.#setOnce(wishes);
    // Another SA may have taken the place of one that was known, with a state of another form.
    const again = wishes.flatMap((wish, i) => (results[i]?.error?.errno === EINVAL ? [{ wish, i }] : []));
    for (const { wish } of again) this.forget(wishedOf(wish));
    const second = again.length === 0 ? [] : await this.#setOnce(again.map(({ wish }) => wish));
    again.forEach(({ i }, n) => {
      results[i] = second[n] as Result;
    });
    return results;
  }

  async #setOnce(wishes: readonly Request<'NEWAE'>[]): Promise<Result[]> {
    const results = new Array<Result>(wishes.length);
    const isAsked = (wish: Request<'NEWAE'>): boolean =>
      setsThresholds(wish.attributes) || !this.#heard.has(saKey(wishedOf(wish)));
    const asked = wishes.filter(isAsked);
    const answers = await this.#ask(asked.map(wishedOf));
    const known = new Map(asked.map((wish, i) => [wish, answers[i]]));
    const sets: (SetWish & { readonly i: number })[] = [];
    wishes.forEach((wish, i) => {
      const id = wishedOf(wish);
      const answer = known.get(wish);
      if (answer instanceof ClientError) {
        results[i] = { error: answer };
        return;
      }
      const form = answer === undefined ? this.#heard.get(saKey(id)) : formOf(answer);
      try {
        if (form === undefined) throw new Error('the answer to X_REPLAY_GET lacks the state');
        const state = stateExtensions(wish.attributes, form);
        const extensions = { ...state, ...(answer === undefined ? {} : thresholds(answer, wish.attributes)) };
        sets.push({ i, id, answer, extensions });
      } catch (cause) {
        const text = `not sent: ${(cause as Error).message}`;
        results[i] = { error: new ClientError('ERR_REQUEST', 'X_REPLAY_SET', text, { cause }) };
      }
    });
    const done = await this.#set(sets);
    sets.forEach(({ i }, n) => {
      results[i] = done[n] as Result;
    });
    return results;
  }

  async #ask(ids: readonly SaId[]): Promise<(Answer | ClientError)[]> {
    const results = await this.#client.batch(ids.map((id) => ({ kind: 'X_REPLAY_GET', id })));
    return results.map((result) => ('error' in result ? result.error : (result.answer as Answer)));
  }

  async #set(wishes: readonly SetWish[]): Promise<Result[]> {
    // Without any there is nothing to be set of an SA that has no thresholds: it stays unheard.
    const sent = wishes.filter(({ extensions }) => Object.keys(extensions).length > 0);
    const results = await this.#client.batch(
      sent.map(({ id, extensions }) => ({ kind: 'X_REPLAY_SET', id, extensions })),
    );
    const ends = new Map(sent.map((wish, i) => [wish, results[i]]));
    return wishes.map((wish): Result => {
      const end = ends.get(wish);
      if (end !== undefined && 'error' in end) return { error: end.error };
      this.#note(wish);
      return {};
    });
  }

  #note({ id, answer, extensions: { replayThreshold } }: SetWish): void {
    if (replayThreshold === undefined) return;
    this.#onTimerStarted(id);
    const form = answer && formOf(answer);
    if (form === undefined || (replayThreshold.packets === 0 && replayThreshold.milliseconds === 0)) this.forget(id);
    else this.#heard.set(saKey(id), form);
  }
}

type Answer = PfkeyMessage<'X_REPLAY_GET'>;

interface SetWish {
  readonly id: SaId;
  /** What was known of it just before. */
  readonly answer: Answer | undefined;
  readonly extensions: PfkeyExtensions;
}

const formOf = ({ extensions: { replayState: state } }: Answer): ReplayForm | undefined =>
  state && { mode: state.mode, window: state.window };

const setsThresholds = ({ replayThresh, etimerThresh }: AeventValues): boolean =>
  replayThresh !== undefined || etimerThresh !== undefined;

/** The thresholds that an SA is to have: what is wished, else those that it has. None: it has none, and none are wished. */
function thresholds({ extensions: { replayThreshold: now } }: Answer, wished: AeventValues = {}): PfkeyExtensions {
  if (now === undefined) return {};
  const replayThreshold = thresholdOf(wished, now);
  const isSilent = replayThreshold.packets === 0 && replayThreshold.milliseconds === 0;
  return isSilent && !setsThresholds(wished) ? {} : { replayThreshold };
}
