import type { LoggedEvent, Uuid } from '@xenolith/kernel';
import { DEFINITIONS } from './world.js';

/** All events of one stream, in order. */
export type History = readonly LoggedEvent[];

/** The types of the events that today's services write. */
export const eventTypes = (): readonly string[] =>
  DEFINITIONS.flatMap((define) => Object.keys(define().eventSchemas)).sort();

const historiesOf = (log: readonly LoggedEvent[]): readonly History[] => {
  const streams = new Map<Uuid, LoggedEvent[]>();
  for (const event of log) {
    const history = streams.get(event.streamId);
    if (history) history.push(event);
    else streams.set(event.streamId, [event]);
  }
  return [...streams.values()];
};

const typesOf = (history: History): ReadonlySet<string> => new Set(history.map(({ type }) => type));

const streamOf = (history: History): Uuid | undefined => history[0]?.streamId;

/**
 * Few whole histories that together hold every type of event in the logs: each time the one with the most new types for its length. No two are of one
 * stream, as runs give the same ids to different things.
 */
export const chosenHistories = (logs: readonly (readonly LoggedEvent[])[]): readonly History[] => {
  const candidates = logs.flatMap(historiesOf).map((history) => ({ history, types: typesOf(history) }));
  const wanted = new Set(candidates.flatMap(({ types }) => [...types]));
  const chosen = new Map<Uuid | undefined, History>();
  while (wanted.size > 0) {
    let best: (typeof candidates)[number] | undefined;
    let bestGain = 0;
    for (const candidate of candidates) {
      const gain = [...candidate.types].filter((type) => wanted.has(type)).length / candidate.history.length;
      if (gain <= bestGain || chosen.has(streamOf(candidate.history))) continue;
      best = candidate;
      bestGain = gain;
    }
    if (!best) break;
    chosen.set(streamOf(best.history), best.history);
    for (const type of best.types) wanted.delete(type);
  }
  return [...chosen.values()];
};

/** One event a line, stream after stream. */
export const goldenText = (histories: readonly History[]): string =>
  histories
    .flat()
    .map((event) => `${JSON.stringify(event)}\n`)
    .join('');

export const readGolden = (text: string): readonly History[] =>
  historiesOf(
    text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as LoggedEvent),
  );
