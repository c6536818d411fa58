import { eventOf } from '@xenolith/contracts';
import type { NewEvent } from '@xenolith/kernel';
import { given } from '@xenolith/testing';
import { machineSpec, metadata } from './platform.spec-fixture.js';
import { virtualMachineAggregate } from './virtual-machine.js';
import type { OperationAction } from './virtual-machine.state.js';

export const machine = (events: readonly NewEvent[]) => given(virtualMachineAggregate, events);

export const created = (spec: object = {}): NewEvent =>
  eventOf('VirtualMachineCreated', {
    metadata: { ...metadata('web'), finalizers: ['compute.xenolith.dev/teardown'] },
    spec: machineSpec(spec),
  });

export const begun = (action: OperationAction, more: object = {}): NewEvent =>
  eventOf('VirtualMachineOperationStarted', {
    operation: action,
    name: `web-${action}`,
    action,
    parameters: {},
    ...more,
  });

export const started = (incarnation = 1, more: object = {}): NewEvent =>
  eventOf('VirtualMachineStarted', {
    operation: 'provision',
    incarnation,
    host: 'host-1',
    hostUid: 'uid-1',
    domid: 1,
    paused: false,
    disks: [],
    nics: [],
    ...more,
  });

export const HALTED = [created({ powerState: 'Halted' })];
export const STARTING = [created(), begun('provision', { incarnation: 1 })];
export const RUNNING = [...STARTING, started()];
export const PAUSED = [...RUNNING, eventOf('VirtualMachinePaused', {})];

export const act = (action: string) => ({ type: 'StartOperation', data: { action, parameters: {} } });
export const create = (spec: object) => ({
  type: 'ChangeVirtualMachine',
  data: { intent: 'create', metadata: metadata('web'), spec: { ...machineSpec(), ...spec } },
});
export const change = (spec: object) => ({
  type: 'ChangeVirtualMachine',
  data: { intent: 'update', metadata: metadata('web'), spec: machineSpec(spec) },
});

export const recordEnded = (operation: string, outcome = 'failed') => ({
  type: 'RecordOperationEnded',
  data: { operation, outcome, message: outcome },
});
