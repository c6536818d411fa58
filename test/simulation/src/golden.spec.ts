import { KINDS, categoryOf } from '@xenolith/contracts';
import { LoadedStreams, type ServiceDefinition } from '@xenolith/engine';
import type { LoggedEvent } from '@xenolith/kernel';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { readGolden, type History } from './golden.js';
import { DEFINITIONS } from './world.js';

/** Histories as earlier releases wrote them, one file each; never edited. */
const FOLDER = new URL('../golden/', import.meta.url);
const releases = readdirSync(FOLDER).map((file) => ({
  release: file.replace('.jsonl', ''),
  histories: readGolden(readFileSync(new URL(file, FOLDER), 'utf8')),
}));

const services: readonly ServiceDefinition[] = DEFINITIONS.map((define) => define());

const ownerOf = (category: string) => {
  for (const { aggregates, eventSchemas } of services) {
    const aggregate = aggregates.find((each) => each.category === category);
    if (aggregate) return { aggregate, eventSchemas };
  }
  throw new Error(`no service owns ${category}`);
};

/** The document that a service of today makes of a history. */
const readAgain = async (history: History): Promise<unknown> => {
  const [{ category, streamId }] = history as [LoggedEvent];
  const { aggregate, eventSchemas } = ownerOf(category);
  const log = { readStream: async () => Promise.resolve(history), snapshot: async () => Promise.resolve(null) };
  const { state } = await new LoadedStreams(log, eventSchemas).load(aggregate, streamId);
  return aggregate.ended?.(state) === true ? null : aggregate.toResource(state);
};

describe.each(releases)('what release $release wrote', ({ histories }) => {
  it('is read by today’s services, and shows at least what it showed', async () => {
    expect(histories.length).toBeGreaterThan(30);
    for (const history of histories) {
      const shown = history.findLast(({ document }) => document !== undefined)?.document ?? null;
      const again = await readAgain(history);
      if (shown === null) expect(again).toBeNull();
      else expect(again).toMatchObject(shown);
    }
  });

  it('has objects that today’s schemas accept', () => {
    const kinds = new Map(KINDS.map((kind) => [categoryOf(kind), kind]));
    for (const { category, document } of histories.flat()) {
      if (document === undefined || document === null) continue;
      kinds.get(category)?.spec.parse(document['spec']);
    }
  });

  it('is followed by every index', () => {
    const events = histories.flat().toSorted((one, other) => one.position - other.position);
    for (const { indexes } of services)
      for (const index of indexes) {
        index.load([], 0);
        for (const event of events) if (index.categories.includes(event.category)) index.apply(event);
      }
    expect(events.length).toBeGreaterThan(200);
  });
});
