import { uuidFrom } from '@xenolith/kernel';
import { given, TEST_STREAM } from '@xenolith/testing';
import { describe, expect, it } from 'vitest';
import { hostLedgerAggregate } from './host-ledger.js';
import { placementAggregate, type Proposal } from './placement.decide.js';
import { GIB, requestFor } from './scheduler.spec-fixture.js';

const capacity = { memoryBytes: 4 * GIB, vcpus: 8, revision: 3 };
const fits: Proposal = {
  fits: true,
  host: 'host-0001',
  hostUid: 'uid-1',
  capacity,
  explanation: { considered: 1, refused: [], chosenBy: 'balance' },
};
const fitsNot: Proposal = { fits: false, message: '0/1 hosts', explanation: { considered: 1, refused: [] } };
const request = requestFor('web', { antiAffinity: 'tier' });
const place = (proposal: Proposal) => ({ type: 'PlaceVirtualMachine', data: { request, proposal } });
const event = (type: string, data: object): never => ({ type, schemaVersion: 1, data }) as never;
const requested = { name: `web-${TEST_STREAM.slice(0, 8)}`, request };
const pending = [
  event('PlacementRequested', requested),
  event('PlacementDeferred', { message: '0/1 hosts', explanation: fitsNot.explanation }),
];
const placed = [event('PlacementDecided', { host: 'host-0001', hostUid: 'uid-1', explanation: {}, requested })];

describe('a placement', () => {
  it('is decided in one event when a host fits at once', () => {
    const { state } = given(placementAggregate)
      .when(place(fits))
      .then([{ type: 'PlacementDecided', data: { host: 'host-0001', requested } }]);
    expect(placementAggregate.toResource(state)).toMatchObject({
      metadata: { name: requested.name, ownerReferences: [{ kind: 'VirtualMachine', name: 'web' }] },
      status: { phase: 'Placed', host: 'host-0001', hostUid: 'uid-1' },
    });
  });

  it('waits with an explanation when none does, and says so again only when it changes', () => {
    const { state } = given(placementAggregate)
      .when(place(fitsNot))
      .then([{ type: 'PlacementRequested' }, { type: 'PlacementDeferred' }]);
    expect(placementAggregate.toResource(state)).toMatchObject({ status: { phase: 'Pending', message: '0/1 hosts' } });
    given(placementAggregate, pending).when(place(fitsNot)).thenNothing();
    given(placementAggregate, pending)
      .when(place({ ...fitsNot, message: '0/2 hosts' }))
      .then([{ type: 'PlacementDeferred', data: { message: '0/2 hosts' } }]);
  });

  it('is decided later when a host fits then', () => {
    for (const type of ['PlaceVirtualMachine', 'ReconsiderPlacement'])
      given(placementAggregate, pending)
        .when({ ...place(fits), type })
        .then([{ type: 'PlacementDecided', data: { hostUid: 'uid-1' } }]);
  });

  it('stays where it is when it is asked for again', () => {
    given(placementAggregate, placed)
      .when(place({ ...fits, host: 'host-0002' }))
      .thenNothing();
    given(placementAggregate, placed).when({ type: 'ReconsiderPlacement', data: {} }).thenNothing();
  });

  it('is gone once released, and releasing it again does nothing', () => {
    const release = { type: 'ReleasePlacement', data: { reason: 'halted' } };
    const { state } = given(placementAggregate, placed)
      .when(release)
      .then([{ type: 'PlacementReleased', data: { reason: 'halted', hostUid: 'uid-1' } }]);
    expect(placementAggregate.toResource(state)).toBeNull();
    expect(placementAggregate.ended?.(state)).toBe(true);
    given(placementAggregate).when(release).thenNothing();
    const released = [...placed, event('PlacementReleased', { reason: '' })];
    given(placementAggregate, released).when(release).thenNothing();
    given(placementAggregate, released).when(place(fits)).thenRejected('placement_unknown');
  });

  it('moves the host’s ledger and holds its anti-affinity in the same append', () => {
    const { state } = given(placementAggregate);
    const command = {
      ...place(fits),
      commandId: uuidFrom('c'),
      streamId: TEST_STREAM,
      at: 0,
      actor: 'user:test',
    } as never;
    const decided = placementAggregate.decide(command, state);
    const first = decided.ok ? decided.value[0] : undefined;
    expect(first && placementAggregate.consequences?.(first, state, command)).toMatchObject({
      claims: [{ op: 'claim', scope: 'anti-affinity/default', value: 'tier/uid-1', holder: TEST_STREAM }],
      also: [{ category: 'hostledger', type: 'ReserveHostCapacity', data: { capacity, placement: TEST_STREAM } }],
    });
  });
});

describe('a host’s ledger', () => {
  const reserve = (placement: string, memoryBytes: number, told = capacity) => ({
    type: 'ReserveHostCapacity',
    data: { host: 'h', hostUid: 'uid-1', capacity: told, placement, virtualMachine: 'vm', vcpus: 1, memoryBytes },
  });
  const declared = event('HostCapacityDeclared', { host: 'h', hostUid: 'uid-1', capacity });
  const reserved = event('HostCapacityReserved', {
    placement: 'p1',
    virtualMachine: 'vm',
    vcpus: 1,
    memoryBytes: 3 * GIB,
  });

  it('learns the capacity with the first reservation, and with one that knows better', () => {
    given(hostLedgerAggregate)
      .when(reserve('p1', GIB))
      .then([{ type: 'HostCapacityDeclared' }, { type: 'HostCapacityReserved' }]);
    given(hostLedgerAggregate, [declared])
      .when(reserve('p1', GIB))
      .then([{ type: 'HostCapacityReserved' }]);
    given(hostLedgerAggregate, [declared])
      .when(reserve('p1', 6 * GIB, { memoryBytes: 8 * GIB, vcpus: 8, revision: 4 }))
      .then([{ type: 'HostCapacityDeclared' }, { type: 'HostCapacityReserved' }]);
  });

  it('never promises more than there is, whatever a sender with older news believes', () => {
    given(hostLedgerAggregate, [declared, reserved])
      .when(reserve('p2', GIB))
      .then([{ type: 'HostCapacityReserved' }]);
    given(hostLedgerAggregate, [declared, reserved])
      .when(reserve('p2', GIB + 1))
      .thenRejected('host_ledger_full', /1Gi and 7 vCPUs left/);
    given(hostLedgerAggregate, [declared, reserved])
      .when(reserve('p2', 2 * GIB, { memoryBytes: 100 * GIB, vcpus: 8, revision: 2 }))
      .thenRejected('host_ledger_full');
  });

  it('gives back what a placement had', () => {
    const { state } = given(hostLedgerAggregate, [declared, reserved])
      .when({ type: 'ReleaseHostCapacity', data: { placement: 'p1' } })
      .then([{ type: 'HostCapacityReleased' }]);
    expect(state).toMatchObject({ memoryBytes: 0, vcpus: 0, reservations: [] });
  });
});
