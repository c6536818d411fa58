import { uuidFrom, type Command, type NewEvent } from '@xenolith/kernel';
import { describe, expect, it } from 'vitest';
import { clusterAggregate, type ClusterState } from './cluster.js';

const uid = uuidFrom('cluster', 'default');

const told = { hostFailures: 1, tolerates: 0, state: 'Overcommitted', uncovered: ['host-0001'], message: 'too much' };

const command = (type: string, data: object): Command =>
  ({ type, commandId: uuidFrom('command', type), streamId: uid, data, actor: 'system:scheduler', at: 0 }) as never;

const place = { streamId: uid, commandId: uuidFrom('command'), index: 0, at: 0, version: 1 } as never;

const after = (...events: readonly NewEvent[]): ClusterState =>
  events.reduce<ClusterState>((state, event) => clusterAggregate.evolve(state, event, place), clusterAggregate.initial);

const event = (type: string, data: object): NewEvent => ({ type, schemaVersion: 1, data: data as never });

const created = event('ClusterCreated', {
  metadata: { name: 'default', uid, generation: 1, creationTimestamp: '2026-01-01T00:00:00Z' },
  spec: {},
});

describe('what a cluster wants of its hosts', () => {
  const wished = (spec: object) =>
    clusterAggregate.decide(
      command('ChangeCluster', {
        intent: 'create',
        metadata: {
          name: 'default',
          labels: {},
          annotations: {},
          finalizers: [],
          ownerReferences: [],
          managedFields: [],
        },
        spec,
      }),
      { phase: 'absent' },
    );
  const power = { mode: 'Automatic', hostsKept: 1, sparePercent: 20, idleSeconds: 600 };

  it('can not be both to spread machines over them and to leave some of them empty', () => {
    const balance = { rebalancing: { mode: 'balance' }, powerManagement: power };
    expect(wished(balance)).toMatchObject({
      ok: false,
      rejection: { causes: [{ field: 'spec.rebalancing.mode' }] },
    });
    expect(wished({ ...balance, powerManagement: { ...power, mode: 'Off' } }).ok).toBe(true);
    expect(wished({ ...balance, rebalancing: { mode: 'consolidate' } }).ok).toBe(true);
  });
});

describe('what a cluster says of the loss of hosts', () => {
  it('is what the scheduler told it, beside its counts of hosts', () => {
    const counted = event('ClusterHostsCounted', { hosts: 4, readyHosts: 3 });
    const state = after(created, event('ClusterAvailabilityAssessed', told), counted);
    expect(clusterAggregate.toResource(state)).toMatchObject({
      status: { hosts: 4, readyHosts: 3, highAvailability: told },
    });
  });

  it('is no event when it was told the same before', () => {
    const first = clusterAggregate.decide(command('RecordClusterAvailability', told), after(created));
    expect(first).toMatchObject({ ok: true, value: [{ type: 'ClusterAvailabilityAssessed', data: told }] });
    const state = after(created, event('ClusterAvailabilityAssessed', told));
    expect(clusterAggregate.decide(command('RecordClusterAvailability', told), state)).toEqual({ ok: true, value: [] });
  });

  it('is refused of a cluster that is not there', () => {
    const refused = clusterAggregate.decide(command('RecordClusterAvailability', told), clusterAggregate.initial);
    expect(refused.ok).toBe(false);
  });
});
