import {
  categoryOf,
  networkKind,
  operationKind,
  portKind,
  virtualMachineKind,
  volumeKind,
  type KindDefinition,
} from '@xenolith/contracts';
import { ServiceEngine, type Dispatch } from '@xenolith/engine';
import { uuidFrom, type JsonObject, type LoggedEvent } from '@xenolith/kernel';
import { given, MemoryBus, MemoryEventLog, VirtualClock } from '@xenolith/testing';
import { describe, expect, it } from 'vitest';
import {
  Collector,
  CollectorIndex,
  ensureDefaultNamespaces,
  NAMESPACE_FINALIZER,
  namespaceAggregate,
  tenancyService,
} from './index.js';

const metadata = (name: string): JsonObject => ({
  name,
  labels: {},
  annotations: {},
  finalizers: [],
  ownerReferences: [],
  managedFields: [],
});
const created = (name: string): never =>
  ({
    type: 'NamespaceCreated',
    schemaVersion: 1,
    data: { metadata: { ...metadata(name), finalizers: [NAMESPACE_FINALIZER] }, spec: { finalizers: [] } },
  }) as never;
const remove = { type: 'DeleteNamespace', data: { propagationPolicy: 'Background' } };

describe('a namespace', () => {
  it('is Active once made, and Terminating while it is emptied', () => {
    const { state } = given(namespaceAggregate)
      .when({
        type: 'ChangeNamespace',
        data: { intent: 'create', metadata: metadata('team'), spec: { finalizers: [] } },
      })
      .then([{ type: 'NamespaceCreated' }]);
    expect(namespaceAggregate.toResource(state)).toMatchObject({ status: { phase: 'Active' } });
    const going = given(namespaceAggregate, [created('team')])
      .when(remove)
      .then([{ type: 'NamespaceDeletionRequested' }]);
    expect(namespaceAggregate.toResource(going.state)).toMatchObject({ status: { phase: 'Terminating' } });
  });

  it('of the platform cannot be deleted', () => {
    given(namespaceAggregate, [created('default')])
      .when(remove)
      .thenRejected('namespace_protected');
  });

  it('takes nothing new from the moment its deletion is asked for', () => {
    const command = {
      type: 'DeleteNamespace',
      commandId: uuidFrom('c'),
      streamId: uuidFrom('s'),
      at: 0,
      actor: 'user:test',
      data: {},
    };
    const { state } = given(namespaceAggregate, [created('team')]);
    const event = { type: 'NamespaceDeletionRequested', schemaVersion: 1, data: {} };
    expect(namespaceAggregate.consequences?.(event, state, command).claims).toEqual([
      { op: 'release', scope: 'namespace/active', value: 'team', holder: command.streamId },
    ]);
  });
});

/** A little world of objects, whose changes the collector sees. */
interface Put {
  readonly owners?: string[];
  readonly deleting?: boolean;
  readonly finalizers?: string[];
  readonly phase?: string;
  /** The index has seen it, the reaction has not come so far. */
  readonly ahead?: boolean;
}

const world = (): {
  readonly put: (kind: KindDefinition, name: string, more?: Put) => readonly string[];
  readonly drop: (kind: KindDefinition, name: string) => readonly string[];
  /** What is asked when an event is shown once more: the last one, or one so many before it. */
  readonly again: (before?: number) => readonly Dispatch[];
} => {
  const index = new CollectorIndex();
  index.load([]);
  const reaction = new Collector(index).reaction();
  const shown: LoggedEvent[] = [];
  let position = 0;
  const show = (kind: KindDefinition, name: string, document: JsonObject | null, ahead = false): readonly string[] => {
    position += 1;
    const event = {
      type: 'X',
      category: categoryOf(kind),
      streamId: uuidFrom(name),
      eventId: uuidFrom('event', position),
      position,
      version: position,
      document,
    } as unknown as LoggedEvent;
    index.apply(event);
    shown.push(event);
    return ahead
      ? []
      : reaction.react(event).map((dispatch) => `${dispatch.type} ${nameOf.get(dispatch.streamId) ?? ''}`);
  };
  const nameOf = new Map<string, string>();
  show(namespaceKind, 'team', { kind: 'Namespace', metadata: { name: 'team' } });
  return {
    put: (kind, name, { owners = [], deleting = false, finalizers = [], phase, ahead = false } = {}) => {
      nameOf.set(uuidFrom(name), name);
      return show(
        kind,
        name,
        {
          kind: kind.kind,
          metadata: {
            name,
            ...(kind.namespaced ? { namespace: 'team' } : {}),
            finalizers,
            ownerReferences: owners.map((owner) => ({ uid: uuidFrom(owner), blockOwnerDeletion: true })),
            ...(deleting ? { deletionTimestamp: '2026-01-01T00:00:00Z' } : {}),
          },
          status: { phase },
        },
        ahead,
      );
    },
    drop: (kind, name) => show(kind, name, null),
    again: (before = 0) => reaction.react(shown.at(-1 - before) as LoggedEvent),
  };
};

const namespaceKind = tenancyService().kinds[0] as KindDefinition;

describe('the collector', () => {
  it('deletes what a deleted object owned, but not what somebody else owns too', () => {
    const { put, drop } = world();
    put(virtualMachineKind, 'web');
    put(virtualMachineKind, 'db');
    put(portKind, 'web-eth0', { owners: ['web'] });
    put(portKind, 'shared', { owners: ['web', 'db'] });
    expect(drop(virtualMachineKind, 'web')).toEqual(['DeletePort web-eth0']);
    expect(drop(virtualMachineKind, 'db')).toEqual(['DeletePort shared']);
  });

  it('deletes what is born to an owner that is gone', () => {
    const { put } = world();
    expect(put(portKind, 'late', { owners: ['gone'] })).toEqual(['DeletePort late']);
  });

  it('lets dependents go first in the foreground', () => {
    const { put, drop } = world();
    put(virtualMachineKind, 'web');
    put(portKind, 'eth0', { owners: ['web'] });
    expect(put(virtualMachineKind, 'web', { deleting: true, finalizers: ['foregroundDeletion'] })).toEqual([
      'DeletePort eth0',
    ]);
    expect(drop(portKind, 'eth0')).toEqual(['ReleaseVirtualMachine web']);
  });

  it('cuts dependents loose before their owner goes, when asked to orphan them', () => {
    const { put } = world();
    put(virtualMachineKind, 'web');
    put(portKind, 'eth0', { owners: ['web'] });
    expect(put(virtualMachineKind, 'web', { deleting: true, finalizers: ['orphan'] })).toEqual(['ReleasePort eth0']);
    put(portKind, 'eth0');
    expect(put(virtualMachineKind, 'web', { deleting: true, finalizers: ['orphan'] })).toEqual([
      'ReleaseVirtualMachine web',
    ]);
  });

  it('never let a volume go that was deleted while the event before it was shown again', () => {
    const { put, again } = world();
    put(virtualMachineKind, 'web', { deleting: true, finalizers: ['orphan'] });
    put(volumeKind, 'root', { owners: ['web'] });
    const first = again();
    put(volumeKind, 'root', { deleting: true, finalizers: ['orphan'], ahead: true });
    const later = again(1);
    expect([first, later].map((dispatches) => dispatches.map(({ type, data }) => ({ type, data })))).toEqual([
      [{ type: 'ReleaseVolume', data: { owner: uuidFrom('web') } }],
      expect.arrayContaining([{ type: 'ReleaseVolume', data: { finalizer: 'orphan' } }]),
    ]);
    const release = later.find(({ type }) => type === 'ReleaseVolume');
    expect(release?.commandId).not.toBe(first[0]?.commandId);
  });

  it('forgot what did not fit among the commands of one event', () => {
    const { put, drop } = world();
    for (const machine of ['web', 'db']) {
      put(virtualMachineKind, machine);
      for (let number = 0; number < 50; number += 1) put(portKind, `${machine}-${number}`, { owners: [machine] });
    }
    put(virtualMachineKind, 'db', { deleting: true, finalizers: ['foregroundDeletion'], ahead: true });
    const asked = new Set([...drop(virtualMachineKind, 'web'), ...put(virtualMachineKind, 'other')]);
    expect(asked.size).toBe(100);
  });

  it('empties a namespace, then lets it go', () => {
    const { put, drop } = world();
    put(namespaceKind, 'team', { finalizers: [NAMESPACE_FINALIZER] });
    put(networkKind, 'lan');
    expect(put(namespaceKind, 'team', { deleting: true, finalizers: [NAMESPACE_FINALIZER] })).toEqual([
      'DeleteNetwork lan',
    ]);
    expect(put(networkKind, 'lan', { deleting: true })).toEqual([]);
    expect(drop(networkKind, 'lan')).toEqual(['ReleaseNamespace team']);
  });

  it('does not cancel an operation that tears something down, and removes it once it has ended', () => {
    const { put } = world();
    put(namespaceKind, 'team', { deleting: true, finalizers: [NAMESPACE_FINALIZER] });
    expect(put(operationKind, 'deprovision', { phase: 'Running' })).toEqual([]);
    expect(put(operationKind, 'deprovision', { phase: 'Succeeded' })).toEqual(['DeleteOperation deprovision']);
  });
});

describe('the service', () => {
  it('makes the default namespaces once, however often it starts, and deletes an empty namespace whole', async () => {
    const clock = new VirtualClock();
    const log = new MemoryEventLog(clock);
    const bus = new MemoryBus(clock);
    const connection = log.connect();
    const engine = new ServiceEngine(tenancyService(), {
      log: connection,
      feed: connection,
      bus: bus.connect(),
      clock,
    });
    await engine.start();
    for (let start = 0; start < 2; start += 1)
      for (const message of ensureDefaultNamespaces(clock.now())) await engine.handle(message);
    expect(log.log.map((event) => event.type)).toEqual(['NamespaceCreated']);
    const [first] = ensureDefaultNamespaces(clock.now());
    if (!first) throw new Error('there is a default namespace');
    const streamId = uuidFrom('team');
    await engine.handle({
      ...first,
      commandId: uuidFrom('a'),
      streamId,
      data: { intent: 'create', metadata: metadata('team'), spec: { finalizers: [] } },
    });
    await engine.handle({
      ...first,
      commandId: uuidFrom('b'),
      streamId,
      type: 'DeleteNamespace',
      data: { propagationPolicy: 'Background' },
    });
    expect(await clock.advanceUntil(() => log.log.at(-1)?.type === 'NamespaceDeleted', 10_000)).toBe(true);
    expect(log.claimHolder('name//Namespace/', 'team')).toBeNull();
  });
});
