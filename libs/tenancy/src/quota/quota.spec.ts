import {
  imageKind,
  portKind,
  virtualMachineKind,
  virtualMachineSpec,
  volumeKind,
  type Amounts,
} from '@xenolith/contracts';
import { ServiceEngine } from '@xenolith/engine';
import { uuidFrom, type CommandMessage, type JsonObject, type Reply } from '@xenolith/kernel';
import { given, MemoryBus, MemoryEventLog, VirtualClock } from '@xenolith/testing';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ensureDefaultNamespaces } from '../default-objects.js';
import { tenancyService } from '../tenancy.service.js';
import { QuotaIndex } from './quota.index.js';
import { resourceQuotaAggregate } from './resource-quota.js';
import { amountsOf } from './usage.js';

const GI = 2 ** 30;

const metadata = (name: string, namespace = 'default'): JsonObject => ({
  name,
  namespace,
  labels: {},
  annotations: {},
  finalizers: [],
  ownerReferences: [],
  managedFields: [],
});

const event = (type: string, data: JsonObject): never => ({ type, schemaVersion: 1, data }) as never;
const created = (hard: JsonObject): never =>
  event('ResourceQuotaCreated', { metadata: metadata('small'), spec: { hard } });
const counted = (objects: readonly JsonObject[] = [], part = 0, parts = 1): never =>
  event('ResourceQuotaCounted', { part, parts, objects });
const charge = (uid: string, amounts: Amounts, commandId = `make-${uid}`) => ({
  type: 'ChargeResourceQuota',
  data: { uid, commandId, amounts },
});
const settle = (uid: string, amounts: Amounts | null, commandId = `make-${uid}`) => ({
  type: 'SettleResourceQuota',
  data: { uid, commandId, amounts },
});
const data = (message: { data: object }): JsonObject => message.data as JsonObject;
const charged = (uid: string, amounts: Amounts, commandId?: string): never =>
  event('ResourceQuotaCharged', data(charge(uid, amounts, commandId)));

describe('a quota', () => {
  it('gives room up to its limits, and says in Kubernetes’ words when there is none', () => {
    const quota = [created({ 'requests.cpu': '4', 'requests.memory': '8Gi' }), counted()];
    given(resourceQuotaAggregate, quota)
      .when(charge('a', { 'requests.cpu': 4, 'requests.memory': GI }))
      .then([{ type: 'ResourceQuotaCharged' }]);
    given(resourceQuotaAggregate, [...quota, charged('a', { 'requests.cpu': 3, 'requests.memory': 2 * GI })])
      .when(charge('b', { 'requests.cpu': 2, 'requests.memory': 7 * GI, 'count/x': 1 }))
      .thenRejected(
        'quota_exceeded',
        /^exceeded quota: small, requested: requests.cpu=2,requests.memory=7Gi, used: requests.cpu=3,requests.memory=2Gi, limited: requests.cpu=4,requests.memory=8Gi$/,
      );
  });

  it('gives none before it knows what there is', () => {
    given(resourceQuotaAggregate, [created({ 'count/x': '4' })])
      .when(charge('a', { 'count/x': 1 }))
      .thenRejected('quota_not_counted', /status unknown for quota: small/);
    given(resourceQuotaAggregate, [created({ 'count/x': '4' }), counted([], 1, 2)])
      .when(charge('a', { 'count/x': 1 }))
      .thenRejected('quota_not_counted');
    const full = [
      { uid: 'a', amounts: { 'count/x': 3 } },
      { uid: 'b', amounts: { 'count/x': 2 } },
    ];
    given(resourceQuotaAggregate, [created({ 'count/x': '4' }), counted(full)])
      .when(charge('c', { 'count/x': 1 }))
      .thenRejected('quota_exceeded');
  });

  it('holds the most that an object may turn out to have, until it is known', () => {
    const quota = [created({ 'requests.cpu': '4' }), counted(), charged('a', { 'requests.cpu': 3 }, 'grow')];
    given(resourceQuotaAggregate, quota)
      .when(charge('a', { 'requests.cpu': 4 }, 'grow-more'))
      .then([{ type: 'ResourceQuotaCharged' }]);
    given(resourceQuotaAggregate, quota)
      .when(charge('a', { 'requests.cpu': 3 }, 'grow'))
      .thenNothing();
    const { state } = given(resourceQuotaAggregate, [...quota, charged('a', { 'requests.cpu': 4 }, 'grow-more')])
      .when(settle('a', { 'requests.cpu': 3 }, 'grow'))
      .then([{ type: 'ResourceQuotaSettled' }]);
    expect(resourceQuotaAggregate.toResource(state)).toMatchObject({ status: { used: { 'requests.cpu': '4' } } });
  });

  it('lowered below what there is refuses more, and lets go and change what does not grow', () => {
    const quota = [created({ 'requests.cpu': '1' }), counted([{ uid: 'a', amounts: { 'requests.cpu': 3 } }])];
    given(resourceQuotaAggregate, quota)
      .when(charge('b', { 'requests.cpu': 1 }))
      .thenRejected('quota_exceeded');
    const { state } = given(resourceQuotaAggregate, quota)
      .when(settle('a', null))
      .then([{ type: 'ResourceQuotaSettled' }]);
    expect(resourceQuotaAggregate.toResource(state)).toMatchObject({ status: { used: { 'requests.cpu': '0' } } });
  });

  it('never promises more than it has, whatever comes in which order', () => {
    const step = fc.record({
      what: fc.constantFrom('charge', 'settle', 'gone', 'drop', 'doubt'),
      uid: fc.constantFrom('a', 'b', 'c', 'd'),
      command: fc.constantFrom('1', '2'),
      cpu: fc.integer({ min: 0, max: 4 }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const events: never[] = [created({ 'requests.cpu': '6' }), counted()];
        const held = new Map<string, Map<string, number>>();
        const settled = new Map<string, number>();
        for (const { what, uid, command, cpu } of steps) {
          const commandId = `${uid}${command}`;
          const pending = held.get(uid) ?? new Map<string, number>();
          held.set(uid, pending);
          // The log tells of a command only what room was taken for.
          const amount = what === 'settle' ? (pending.get(commandId) ?? settled.get(uid) ?? 0) : cpu;
          const message =
            what === 'charge'
              ? charge(uid, { 'requests.cpu': cpu }, commandId)
              : what === 'settle'
                ? settle(uid, { 'requests.cpu': amount }, commandId)
                : what === 'gone'
                  ? settle(uid, null, commandId)
                  : {
                      type: what === 'drop' ? 'DropResourceQuotaCharge' : 'DoubtResourceQuotaCharge',
                      data: { uid, commandId },
                    };
          const decided = resourceQuotaAggregate.decide(
            { ...message, commandId: 'c', streamId: 's', at: 0, actor: 'a', data: data(message) },
            given(resourceQuotaAggregate, events).state,
          );
          if (!decided.ok) continue;
          events.push(...(decided.value as never[]));
          if (what === 'charge' && !pending.has(commandId)) pending.set(commandId, cpu);
          if (what === 'settle') settled.set(uid, amount);
          if (what === 'gone') settled.delete(uid);
          if (what !== 'charge' && what !== 'doubt') pending.delete(commandId);
        }
        const real = [...held].reduce(
          (sum, [uid, pending]) => sum + Math.max(settled.get(uid) ?? 0, ...pending.values(), 0),
          0,
        );
        const document = resourceQuotaAggregate.toResource(given(resourceQuotaAggregate, events).state);
        const { used } = document?.['status'] as { used: Record<string, string> };
        expect(Number(used['requests.cpu'])).toBe(real);
        expect(real).toBeLessThanOrEqual(6);
      }),
      { numRuns: 300 },
    );
  });
});

describe('what objects take', () => {
  const machine = (more: object): JsonObject => ({
    metadata: {},
    spec: virtualMachineSpec.parse({ memory: '2Gi', ...more }),
  });
  const images = (name: string): number => (name === 'debian' ? 3 * GI : 0);

  it('is counted for machines, their own disks and volumes, and not for parts of machines', () => {
    const disks = [
      { name: 'root', source: { image: 'debian' } },
      { name: 'scratch', size: '5Gi' },
      { name: 'data', volume: 'mine' },
    ];
    expect(amountsOf(virtualMachineKind, machine({ cpu: { vcpus: 2, max: 8 }, disks }), images)).toEqual({
      'count/virtualmachines.compute.xenolith.dev': 1,
      'requests.cpu': 2,
      'requests.memory': 2 * GI,
      'requests.storage': 8 * GI,
    });
    expect(amountsOf(volumeKind, { metadata: {}, spec: { size: '1Gi' } }, images)).toMatchObject({
      'requests.storage': GI,
    });
    const owner = { apiVersion: 'compute.xenolith.dev/v1alpha1', kind: 'VirtualMachine', name: 'web', uid: 'u' };
    expect(amountsOf(volumeKind, { metadata: { ownerReferences: [owner] }, spec: {} }, images)).toEqual({});
    expect(amountsOf(portKind, { metadata: {}, spec: {} }, images)).toEqual({ 'count/ports.network.xenolith.dev': 1 });
    expect(imageKind.namespaced).toBe(false);
  });

  it('is known of a machine whose image comes in a later page of the documents', () => {
    const disks = [{ name: 'root', source: { image: 'debian' } }];
    const stored = (category: string, name: string, document: JsonObject) => ({
      streamId: uuidFrom(category, name),
      category,
      version: 1,
      position: 1,
      document: { ...document, metadata: metadata(name) },
    });
    const index = new QuotaIndex();
    const loading = index.loading();
    loading.take([stored('virtualmachine', 'web', machine({ disks }))]);
    loading.take([stored('image', 'debian', { spec: { size: '3Gi' } })]);
    loading.end(2);
    const [web] = index.objectsOf('default').values();
    expect(web?.amounts['requests.storage']).toBe(3 * GI);
  });
});

describe('the service', () => {
  const start = async () => {
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
    for (const message of ensureDefaultNamespaces(clock.now())) await engine.handle(message);
    let sent = 0;
    const send = (type: string, streamId: string, content: JsonObject, commandId?: string): Promise<Reply> => {
      const id = commandId ?? uuidFrom('command', (sent += 1));
      const message: CommandMessage = {
        commandId: id,
        type,
        streamId,
        data: content,
        actor: 'user:tina',
        correlationId: id,
        causationId: id,
        at: clock.now(),
      };
      return engine.handle(message);
    };
    const quota = uuidFrom('quota');
    const used = async (): Promise<unknown> => {
      const { documents } = await connection.documents(['resourcequota']);
      const status = documents[0]?.document['status'] as { used?: Record<string, string> } | undefined;
      return status?.used?.['count/roles.rbac.authorization.k8s.io'];
    };
    const makeRole = (name: string, commandId: string): Promise<Reply> =>
      send('ChangeRole', commandId, { intent: 'create', metadata: metadata(name), spec: { rules: [] } }, commandId);
    const hard = { 'count/roles.rbac.authorization.k8s.io': '2' };
    const makeQuota = (): Promise<Reply> =>
      send('ChangeResourceQuota', quota, { intent: 'create', metadata: metadata('small'), spec: { hard } });
    /** What the services' timer runner does. */
    const sendDueTimers = async (): Promise<void> => {
      for (const { id, command } of log.dueTimers(clock.now())) {
        await engine.handle(command as unknown as CommandMessage);
        log.timerSent(id);
      }
    };
    return { clock, send, quota, used, makeRole, makeQuota, sendDueTimers };
  };

  const ROLE: Amounts = { 'count/roles.rbac.authorization.k8s.io': 1 };

  it('counts what was there, what came and what went', async () => {
    const { clock, send, used, makeRole, makeQuota } = await start();
    await makeRole('before', uuidFrom('before'));
    await makeQuota();
    expect(await clock.advanceUntil(async () => (await used()) === '1', 10_000)).toBe(true);
    await makeRole('uncharged', uuidFrom('uncharged'));
    expect(await clock.advanceUntil(async () => (await used()) === '2', 10_000)).toBe(true);
    await send('DeleteRole', uuidFrom('before'), {});
    expect(await clock.advanceUntil(async () => (await used()) === '1', 10_000)).toBe(true);
  });

  it('gives room back that was taken for a command of which nobody heard again, and keeps that of one that was carried out', async () => {
    const { clock, send, quota, used, makeRole, makeQuota, sendDueTimers } = await start();
    await makeQuota();
    expect(await clock.advanceUntil(async () => (await used()) === '0', 10_000)).toBe(true);
    for (const name of ['lost', 'done']) {
      const id = uuidFrom(name);
      const reply = await send('ChargeResourceQuota', quota, { uid: id, commandId: id, amounts: ROLE });
      expect(reply.ok).toBe(true);
    }
    await makeRole('done', uuidFrom('done'));
    const third = { uid: 'third', commandId: 'third', amounts: ROLE };
    expect(await send('ChargeResourceQuota', quota, third)).toMatchObject({ rejection: { code: 'quota_exceeded' } });
    await clock.advance(11 * 60_000);
    expect(await used()).toBe('2');
    await sendDueTimers();
    expect(await clock.advanceUntil(async () => (await used()) === '1', 10_000)).toBe(true);
    expect(await send('ChargeResourceQuota', quota, third)).toMatchObject({ ok: true });
    expect(await send('ChargeResourceQuota', quota, { ...third, uid: 'x', commandId: 'x' })).toMatchObject({
      ok: false,
    });
  });
});
