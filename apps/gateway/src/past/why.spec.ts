import { assert, uuidFrom, type JsonObject, type LoggedEvent } from '@xenolith/kernel';
import { MemoryPast } from '@xenolith/testing';
import { expect, it } from 'vitest';
import { describeEvent } from '../describe-event.js';
import { findServedKind } from '../discovery/index.js';
import { Explanation } from './why.js';

const MACHINE = uuidFrom('machine');
const HOST = uuidFrom('host');
const RULE = uuidFrom('rule');

interface Step {
  readonly of: string;
  readonly category: string;
  readonly type: string;
  readonly data?: JsonObject;
  readonly actor: string;
  /** Events of one write have the same number. */
  readonly command: number;
  readonly causePosition?: number;
  readonly document?: JsonObject;
}

const named = (name: string, more: JsonObject): JsonObject => ({ metadata: { name, namespace: 'default' }, ...more });
const machine = (powerState: string, memory = '1Gi'): JsonObject =>
  named('web-1', { spec: { memory }, status: { powerState } });

const logOf = (steps: readonly Step[]): readonly LoggedEvent[] =>
  steps.map((step, index) => {
    const commandId = uuidFrom('command', step.command);
    const { causePosition, document } = step;
    return {
      streamId: step.of,
      version: steps.slice(0, index + 1).filter(({ of }) => of === step.of).length,
      eventId: uuidFrom('event', index),
      category: step.category,
      type: step.type,
      schemaVersion: 1,
      data: step.data ?? {},
      metadata: {
        commandId,
        correlationId: commandId,
        causationId: commandId,
        actor: step.actor,
        at: 0,
        ...(causePosition !== undefined && { causePosition }),
      },
      position: index + 1,
      ...(document && { document }),
    };
  });

const ask = async (steps: readonly Step[], field: string): Promise<JsonObject> => {
  const log = logOf(steps);
  const past = new MemoryPast({ log, recordedAt: log.map((_, index) => (index + 1) * 1000), head: () => log.length });
  const kind = findServedKind('compute.xenolith.dev', 'v1alpha1', 'virtualmachines');
  assert(kind !== undefined, 'virtual machines are served');
  const request = {
    method: 'GET',
    path: '',
    query: new URLSearchParams({ field }),
    id: uuidFrom('request'),
    headers: {},
    user: { name: 'ada', groups: [] },
    sourceAddress: '::1',
    receivedAt: 0,
    body: () => Promise.resolve(Buffer.alloc(0)),
  };
  const answer = await new Explanation(
    { past, describeEvent, authorize: () => true },
    { kind, namespace: 'default', name: 'web-1', subresource: 'why' },
    request,
    { position: log.length, head: log.length, time: 0 },
  ).read();
  return JSON.parse(String('body' in answer ? answer.body : '')) as JsonObject;
};

const CRASH: readonly Step[] = [
  {
    of: RULE,
    category: 'faultrule',
    type: 'FaultRuleCreated',
    actor: 'user:admin',
    command: 1,
    document: named('crash-3', {}),
  },
  { of: HOST, category: 'host', type: 'HostCreated', actor: 'host:host-3', command: 2, document: named('host-3', {}) },
  {
    of: MACHINE,
    category: 'virtualmachine',
    type: 'VirtualMachineStarted',
    data: { domid: 1, host: 'host-3' },
    actor: 'process:operations',
    command: 3,
    document: machine('Running'),
  },
  {
    of: HOST,
    category: 'host',
    type: 'HostCrashed',
    data: { bootId: 'b' },
    actor: 'host:host-3',
    command: 4,
    causePosition: 1,
    document: named('host-3', {}),
  },
  {
    of: MACHINE,
    category: 'virtualmachine',
    type: 'VirtualMachineHalted',
    data: { reason: 'host_crash', message: 'host host-3 crashed and booted again' },
    actor: 'process:tell-machines-of-lost-domains',
    command: 5,
    causePosition: 4,
  },
  {
    of: MACHINE,
    category: 'virtualmachine',
    type: 'VirtualMachineOperationStarted',
    data: { name: 'web-1-start', action: 'start' },
    actor: 'process:tell-machines-of-lost-domains',
    command: 5,
    causePosition: 4,
    document: machine('Halted'),
  },
];

const UNSCHEDULABLE: Step = {
  of: MACHINE,
  category: 'virtualmachine',
  type: 'VirtualMachineUnschedulable',
  data: { message: '0/4 hosts: 4 are unschedulable' },
  actor: 'process:operations',
  command: 6,
  document: machine('Halted'),
};

it('tells whose fault it was, and that high availability found no capacity since', async () => {
  const told = await ask([...CRASH, UNSCHEDULABLE], 'status.powerState');
  expect(told['sentence']).toBe(
    'status.powerState of virtualmachine web-1 is Halted since 1970-01-01T00:00:05.000Z: virtualmachine web-1: host host-3 crashed and booted again, ' +
      'because host host-3: the host booted again (boot b); what ran there is gone, because faultrule crash-3: fault rule created (by admin); ' +
      'nothing came of what was tried since: virtualmachine web-1: 0/4 hosts: 4 are unschedulable.',
  );
  expect(told['hindrance']).toMatchObject({ position: 7, type: 'VirtualMachineUnschedulable' });
});

it('says nothing of trouble that is over, or that came before', async () => {
  expect(await ask(CRASH, 'status.powerState')).not.toHaveProperty('hindrance');
  const restarted: Step = {
    of: MACHINE,
    category: 'virtualmachine',
    type: 'VirtualMachineStarted',
    data: { domid: 2, host: 'host-4' },
    actor: 'process:operations',
    command: 7,
    document: machine('Running'),
  };
  const told = await ask([...CRASH, UNSCHEDULABLE, restarted], 'status.powerState');
  expect(told['value']).toBe('Running');
  expect(told).not.toHaveProperty('hindrance');
});

it('names what was changed, not who owns which field since then', async () => {
  const changed = { of: MACHINE, category: 'virtualmachine', actor: 'user:ada', command: 8 };
  const told = await ask(
    [
      ...CRASH,
      { ...changed, type: 'VirtualMachineMetadataChanged' },
      { ...changed, type: 'VirtualMachineSpecChanged', document: machine('Halted', '2Gi') },
    ],
    'spec.memory',
  );
  expect(told['sentence']).toContain('virtualmachine web-1: virtual machine spec changed (by ada)');
});
