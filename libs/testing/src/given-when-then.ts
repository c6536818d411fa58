import { uuidFrom, type Aggregate, type Command, type NewEvent, type Rejection, type Uuid } from '@xenolith/kernel';
import { expect } from 'vitest';
import { VIRTUAL_EPOCH_MS } from './virtual-clock.js';

/** What `when` found, for `then` to be asked about. */
export interface Decided<State, Event extends NewEvent> {
  /** Exactly these events, in this order. Data is compared as a subset, so that a test names what matters. */
  then(events: readonly { readonly type: Event['type']; readonly data?: object }[]): Decided<State, Event>;
  thenNothing(): void;
  thenRejected(code: string, message?: RegExp): Rejection;
  readonly state: State;
}

/** The stream that given/when/then tests speak of unless they say otherwise. */
export const TEST_STREAM: Uuid = uuidFrom('test', 'stream');

/** Decider tests: `given(aggregate, events).when(command).then(events)`. */
export const given = <State, Event extends NewEvent, Cmd extends Command>(
  aggregate: Aggregate<State, Event, Cmd>,
  events: readonly Event[] = [],
  streamId: Uuid = TEST_STREAM,
): {
  when(command: { type: string; data: object; at?: number; actor?: string }): Decided<State, Event>;
  readonly state: State;
} => {
  const fold = (start: State, added: readonly Event[], from: number): State =>
    added.reduce<State>(
      (state, event, index) =>
        aggregate.evolve(state, event, {
          streamId,
          version: from + index + 1,
          at: VIRTUAL_EPOCH_MS,
          actor: 'user:test',
        }),
      start,
    );
  const before = fold(aggregate.initial, events, 0);
  return {
    state: before,
    when: (command) => {
      const whole = {
        commandId: uuidFrom(streamId, command.type, events.length),
        streamId,
        at: VIRTUAL_EPOCH_MS,
        actor: 'user:test',
        ...command,
      };
      const decided = aggregate.decide(whole as unknown as Cmd, before);
      const after = decided.ok ? fold(before, decided.value, events.length) : before;
      const answer: Decided<State, Event> = {
        state: after,
        then: (wanted) => {
          if (!decided.ok) expect.fail(`refused: ${decided.rejection.code}: ${decided.rejection.message}`);
          expect(decided.value.map((event) => event.type)).toEqual(wanted.map((event) => event.type));
          wanted.forEach((event, index) => {
            if (event.data) expect(decided.value[index]?.data).toMatchObject(event.data);
          });
          return answer;
        },
        thenNothing: () => {
          expect(decided).toEqual({ ok: true, value: [] });
        },
        thenRejected: (code, message) => {
          if (decided.ok) expect.fail(`accepted: ${decided.value.map((event) => event.type).join(', ')}`);
          expect(decided.rejection.code).toBe(code);
          if (message) expect(decided.rejection.message).toMatch(message);
          return decided.rejection;
        },
      };
      return answer;
    },
  };
};
