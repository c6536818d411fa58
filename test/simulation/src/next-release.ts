import type { ServiceDefinition } from '@xenolith/engine';
import {
  ok,
  type AnyAggregate,
  type Command,
  type EventPlace,
  type JsonObject,
  type NewEvent,
  type Result,
  type Upcaster,
} from '@xenolith/kernel';
import { z } from 'zod';

/** What the next release says in each event, and this one does not: who wrote it. */
const MEMBER = 'writtenBy';

const nextData = z.looseObject({ [MEMBER]: z.enum(['this release', 'the next release']) });

const FROM_THIS: readonly Upcaster[] = [{ from: 1, upcast: (data) => ({ ...data, [MEMBER]: 'this release' }) }];

/** As the rules of this release know it: the next one's are the same but for what they say. */
const known = (event: NewEvent): NewEvent => {
  const { [MEMBER]: _, ...data } = event.data;
  return { ...event, schemaVersion: 1, data };
};

const told = (event: NewEvent): NewEvent => ({
  ...event,
  schemaVersion: 2,
  data: { ...event.data, [MEMBER]: 'the next release' },
});

const nextAggregate = (aggregate: AnyAggregate, types: readonly string[]): AnyAggregate => {
  const { consequences } = aggregate;
  return {
    ...aggregate,
    decide: (command: Command, state: unknown): Result<readonly NewEvent[]> => {
      const decided = aggregate.decide(command, state) as Result<readonly NewEvent[]>;
      return decided.ok ? ok(decided.value.map(told)) : decided;
    },
    evolve: (state: unknown, event: NewEvent, place: EventPlace): unknown =>
      aggregate.evolve(state, known(event), place) as unknown,
    ...(consequences && {
      consequences: (event: NewEvent, before: unknown, command: Command) => consequences(known(event), before, command),
    }),
    upcasters: Object.fromEntries(types.map((type) => [type, FROM_THIS])),
  };
};

/** Checks what this release knows of an event by its own schema, and leaves what is new. */
const nextSchema = (schema: z.ZodType): z.ZodType =>
  nextData.transform(({ [MEMBER]: writtenBy, ...data }) => ({
    ...(schema.parse(data) as JsonObject),
    [MEMBER]: writtenBy,
  }));

/**
 * A service as a release after this one may have it: every event has a member more and the next schema version, and what this release wrote is brought to that
 * shape. Beside it a process of this release can read no stream that it has written to.
 */
export const nextRelease = (definition: ServiceDefinition): ServiceDefinition => {
  const types = Object.keys(definition.eventSchemas);
  // Services have members of their own, by which their companions know them.
  return {
    ...definition,
    aggregates: definition.aggregates.map((aggregate) => nextAggregate(aggregate, types)),
    eventSchemas: Object.fromEntries(
      Object.entries(definition.eventSchemas).map(([type, schema]) => [type, nextSchema(schema)]),
    ),
  };
};
