import type { ServiceDefinition } from '@xenolith/engine';
import {
  ok,
  type AnyAggregate,
  type Command,
  type CommandMessage,
  type MessageBus,
  type NewEvent,
  type Result,
} from '@xenolith/kernel';
import type { StoreGuard } from '@xenolith/testing';

/**
 * A guard of the platform taken out on purpose. The simulation must notice each of them; one that it does not notice is a guard that no test needs, or a
 * hole in the invariants.
 */
export interface Mutant {
  readonly name: string;
  readonly what: string;
  /** A seed that shows it: tried first, so that looking is quick. */
  readonly shownBy: number;
  readonly store?: StoreGuard;
  readonly service?: (definition: ServiceDefinition) => ServiceDefinition;
  /** What the agent hears, changed on its way. */
  readonly agentBus?: (bus: MessageBus) => MessageBus;
  /** The agent's journal forgets when it is restarted. */
  readonly forgetfulJournal?: boolean;
}

const storeMutant = (store: StoreGuard, what: string, shownBy: number): Mutant => ({
  name: store,
  what,
  shownBy,
  store,
});

const withAggregate = (
  definition: ServiceDefinition,
  category: string,
  change: (aggregate: AnyAggregate) => AnyAggregate,
): ServiceDefinition => ({
  ...definition,
  aggregates: definition.aggregates.map((aggregate) =>
    aggregate.category === category ? change(aggregate) : aggregate,
  ),
});

/** A bus whose messages are changed on their way in. */
export const onMessages = (bus: MessageBus, change: (message: CommandMessage) => CommandMessage): MessageBus => ({
  request: (subject, message, options) => bus.request(subject, message, options),
  publish: (subject, payload) => bus.publish(subject, payload),
  subscribe: (subject, handler) => bus.subscribe(subject, handler),
  serve: (subject, handler, options) =>
    bus.serve(subject, (message, context) => handler(change(message), context), options),
});

let serial = 0;

export const MUTANTS: readonly Mutant[] = [
  storeMutant('expected_version', 'an append does not look at the version that it expects', 4),
  storeMutant('command_deduplication', 'a command that comes twice happens twice', 5),
  storeMutant('claims', 'names and addresses may be taken twice', 1),
  storeMutant('cancels', 'a do that comes after its undo happens', 1),
  {
    name: 'compensation',
    what: 'a failed operation takes nothing back',
    shownBy: 1,
    service: (definition) => ({
      ...definition,
      processes: definition.processes.map((process) => ({
        ...process,
        due: (state, place) => {
          const due = process.due(state, place);
          return {
            ...due,
            dispatches: due.dispatches.map((dispatch) =>
              dispatch.undoes === undefined ? dispatch : { ...dispatch, type: 'CancelNothing' },
            ),
          };
        },
        record: (dispatch, outcome, now) =>
          process.record(dispatch, dispatch.type === 'CancelNothing' ? { kind: 'reply', reply: ok({}) } : outcome, now),
      })),
    }),
  },
  {
    name: 'ledger_capacity',
    what: 'a host’s ledger promises more than the host has',
    shownBy: 29,
    service: (definition) =>
      withAggregate(definition, 'hostledger', (aggregate) => ({
        ...aggregate,
        decide: (command: Command, state: unknown) => {
          const decided = aggregate.decide(command, state) as Result<readonly NewEvent[]>;
          if (decided.ok || command.type !== 'ReserveHostCapacity') return decided;
          const { placement, virtualMachine, vcpus, memoryBytes } = command.data as {
            placement: string;
            virtualMachine: string;
            vcpus: number;
            memoryBytes: number;
          };
          return ok([
            { type: 'HostCapacityReserved', schemaVersion: 1, data: { placement, virtualMachine, vcpus, memoryBytes } },
          ]);
        },
      })),
  },
  {
    name: 'agent_deduplication',
    what: 'an agent acts again on a command that it knows',
    shownBy: 3,
    agentBus: (bus) =>
      onMessages(bus, (message) => ({
        ...message,
        commandId: `${message.commandId.slice(0, 24)}${String((serial += 1)).padStart(12, '0')}`,
      })),
  },
  {
    name: 'inventory',
    what: 'nobody compares what a host says that it runs with the log',
    shownBy: 10,
    service: (definition) => ({
      ...definition,
      routes: definition.routes.map((route) =>
        route.type === 'RegisterHost' || route.type === 'RecordInventoryDifference'
          ? { ...route, prepare: (message) => ok({ ...message.data, missing: [], strays: [], changed: [] }) }
          : route,
      ),
    }),
  },
  {
    name: 'agent_fencing',
    what: 'an agent takes every run for the youngest',
    shownBy: 14,
    agentBus: (bus) =>
      onMessages(bus, (message) =>
        'incarnation' in message.data ? { ...message, data: { ...message.data, incarnation: 1 } } : message,
      ),
  },
  {
    name: 'agent_journal',
    what: 'an agent forgets what it had accepted when it is restarted',
    shownBy: 42,
    forgetfulJournal: true,
  },
];
