import { once } from 'node:events';
import { categoryOf, KINDS } from '@xenolith/contracts';
import { openTimeline, type Timeline, type TimelineBound, type TimelineEntry } from '@xenolith/event-store';
import { onLogDatabase } from '../backup/log-database.js';
import { dataFolder } from '../folders.js';
import { momentOf } from '../plugin/when.js';
import { readSettings } from '../settings.js';
import { say, UserError } from '../terminal.js';
import { cloudEvent, jsonLine, objectName, textLine } from './timeline-text.js';

export interface TimelineOptions {
  readonly data?: string | undefined;
  readonly from: string;
  readonly to: string;
  readonly object?: string | undefined;
  readonly actor?: string | undefined;
  readonly kind?: string | undefined;
  readonly output: 'text' | 'json' | 'cloudevents';
}

type Wanted = (entry: TimelineEntry) => boolean;

const categoryNamed = (word: string): string => {
  const kind = KINDS.find(({ kind: name, plural, singular, shortNames }) =>
    [name.toLowerCase(), plural, singular, ...shortNames].includes(word.toLowerCase()),
  );
  if (kind === undefined)
    throw new UserError(`there is no kind "${word}".`, ['Name one as kubectl does, such as vm, host or operation.']);
  return categoryOf(kind);
};

/** `vm/web-1`, `vm/default/web-1`, or a uid. */
const ofObject = (text: string): Wanted => {
  const [word = '', ...place] = text.split('/');
  if (place.length === 0) return ({ event }) => event.streamId === text;
  const [category, name] = [categoryNamed(word), place.join('/')];
  return (entry) =>
    entry.event.category === category && (entry.object?.name === name || objectName(entry) === `${category}/${name}`);
};

/** What the filters let through. Throws a UserError. */
export const wantedOf = ({ object, actor, kind }: Pick<TimelineOptions, 'object' | 'actor' | 'kind'>): Wanted => {
  const filters: Wanted[] = [];
  if (object !== undefined) filters.push(ofObject(object));
  if (actor !== undefined)
    filters.push(({ event }) => event.metadata.actor === actor || event.metadata.actor.split(':')[1] === actor);
  if (kind !== undefined) {
    const category = categoryNamed(kind);
    filters.push(({ event }) => event.category === category);
  }
  return (entry) => filters.every((wanted) => wanted(entry));
};

const boundOf = (text: string, now: number): TimelineBound => {
  const moment = momentOf(text, now);
  return /^\d+$/.test(moment) ? { position: Number(moment) } : { time: Date.parse(moment) };
};

const lineOf = (output: TimelineOptions['output'], logId: string): ((entry: TimelineEntry) => string) =>
  output === 'text' ? textLine : output === 'json' ? jsonLine : (entry) => JSON.stringify(cloudEvent(entry, logId));

const print = async (timeline: Timeline, wanted: Wanted, options: TimelineOptions): Promise<number> => {
  const now = Date.now();
  const line = lineOf(options.output, timeline.logId);
  let shown = 0;
  const reader = { gone: false };
  // Whoever reads may have seen enough, as head does.
  process.stdout.on('error', () => (reader.gone = true));
  for await (const entry of timeline.between(boundOf(options.from, now), boundOf(options.to, now))) {
    if (reader.gone) break;
    if (!wanted(entry)) continue;
    shown += 1;
    if (!process.stdout.write(`${line(entry)}\n`)) await once(process.stdout, 'drain').catch(() => undefined);
  }
  if (shown === 0) say('Nothing of that happened between the two; --from and --to say when (default: the last hour).');
  return 0;
};

/** Prints all that happened between two moments. */
export const timeline = async (options: TimelineOptions): Promise<number> => {
  const folder = dataFolder(options.data);
  const wanted = wantedOf(options);
  const settings = await readSettings(folder);
  if (settings === null || settings.database === undefined)
    throw new UserError(`there is no platform on ${folder.root}.`, ['Name its data folder with --data.']);
  return onLogDatabase({ folder, settings, purpose: 'the timeline' }, async (url) => {
    const opened = await openTimeline(url);
    try {
      return await print(opened, wanted, options);
    } finally {
      await opened.close();
    }
  });
};
