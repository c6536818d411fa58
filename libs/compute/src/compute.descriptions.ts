import {
  hostEvents,
  operationEvents,
  virtualMachineEvents,
  type HostEvent,
  type OperationEvent,
  type VirtualMachineEvent,
} from '@xenolith/contracts';
import { WAIT_REASONS } from './operation.waits.js';
import type { NewEvent } from '@xenolith/kernel';

/** What `kubectl get events` shows of an event of the log. */
export interface EventDescription {
  readonly reason: string;
  readonly message: string;
  readonly type: 'Normal' | 'Warning';
}

const normal = (reason: string, message: string): EventDescription => ({ reason, message, type: 'Normal' });
const warning = (reason: string, message: string): EventDescription => ({ reason, message, type: 'Warning' });

/** Ends of a run that nobody asked for. */
const UNASKED: ReadonlySet<string> = new Set(['guest_crash', 'host_crash', 'vanished', 'start_failed']);

const rebooted = ({
  domid,
  direct,
}: Extract<VirtualMachineEvent, { type: 'VirtualMachineRebooted' }>['data']): EventDescription =>
  direct === undefined
    ? normal('Rebooted', `the guest rebooted as domain ${domid}`)
    : warning('Rebooted', `was rebooted on its host with ${direct}, as domain ${domid}`);

const describeMachine = (event: VirtualMachineEvent): EventDescription | null => {
  switch (event.type) {
    case 'VirtualMachineCreated':
      return normal('Created', 'the virtual machine was created');
    case 'VirtualMachineDeletionRequested':
      return normal('Deleting', 'the virtual machine is being torn down');
    case 'VirtualMachineOperationStarted':
      return normal('OperationStarted', `operation ${event.data.name} (${event.data.action}) began`);
    case 'VirtualMachineOperationEnded':
      if (event.data.outcome === 'failed') return warning('OperationFailed', event.data.message);
      return event.data.outcome === 'cancelled' ? normal('OperationCancelled', event.data.message) : null;
    case 'VirtualMachineUnschedulable':
      return warning(WAIT_REASONS[event.data.code ?? ''] ?? 'Unschedulable', event.data.message);
    case 'VirtualMachineStarted':
      return normal('Started', `domain ${event.data.domid} runs on host ${event.data.host}`);
    case 'VirtualMachineDeviceModelLost':
      return warning(
        'DeviceModelDied',
        `the device model of domain ${event.data.domid} on host ${event.data.host} has died`,
      );
    case 'VirtualMachinePaused':
      return normal('Paused', 'the domain is paused');
    case 'VirtualMachineSuspended':
      return normal('Suspended', `the guest is saved in volume ${event.data.image.volume}`);
    case 'VirtualMachineMigrated':
      return normal(
        'Migrated',
        `from host ${event.data.from}: domain ${event.data.domid} runs on host ${event.data.host}`,
      );
    case 'VirtualMachineSnapshotTaken': {
      const { disks, image } = event.data.content;
      return normal('SnapshotTaken', `of ${disks.length} disks${image ? ' and the guest’s memory' : ''}`);
    }
    case 'VirtualMachineReverted':
      return normal(
        'Reverted',
        event.data.image ? 'its disks and its guest are what they were' : 'its disks are what they were',
      );
    case 'VirtualMachineReconfigured':
      return normal(
        'Reconfigured',
        `the domain has ${event.data.hardware.vcpus} virtual CPUs, ${event.data.disks.length} disks and ${event.data.nics.length} interfaces`,
      );
    case 'VirtualMachineUnpaused':
      return normal('Unpaused', 'the domain runs again');
    case 'VirtualMachineRebooted':
      return rebooted(event.data);
    case 'VirtualMachineHalted':
      return (UNASKED.has(event.data.reason) ? warning : normal)('Halted', event.data.message);
    case 'VirtualMachineObserved':
      return warning(
        'Observed',
        `host ${event.data.host} has it as domain ${event.data.domid}, ${event.data.paused ? 'paused' : 'running'}: an operation had its effect, though it failed, or somebody acted on the host itself`,
      );
    case 'VirtualMachineHostLost':
      return warning('HostUnreachable', `host ${event.data.host} does not answer; the machine may still run there`);
    case 'VirtualMachineHostRegained':
      return normal('HostReady', `host ${event.data.host} answers again`);
    case 'VirtualMachineMetadataChanged':
    case 'VirtualMachineSpecChanged':
    case 'VirtualMachineDeleted':
    case 'VirtualMachineOperationSuperseded':
    case 'VirtualMachineSchedulable':
    case 'VirtualMachineEndedEarly':
    case 'VirtualMachineMissed':
    case 'VirtualMachineSnapshotForgotten':
      return null;
  }
};

const describeHost = (event: HostEvent): EventDescription | null => {
  switch (event.type) {
    case 'HostCreated':
      return normal('Registered', 'the host registered for the first time');
    case 'HostRegistered': {
      const { lostDaemons = [] } = event.data;
      return lostDaemons.length === 0 ? null : warning('DaemonsDied', `${lostDaemons.join(' and ')} died`);
    }
    case 'HostBecameReady':
      return normal('Ready', 'the agent answers');
    case 'HostBecameUnreachable':
      return warning('Unreachable', 'heartbeats ceased; what runs there may still run');
    case 'HostCrashed':
      return warning('Crashed', `the host booted again (boot ${event.data.bootId}); what ran there is gone`);
    case 'HostInventoryDiffered': {
      // Those of before had no `changed`.
      const { missing, strays, changed } = hostEvents.HostInventoryDiffered.parse(event.data);
      return warning(
        'InventoryDiffered',
        `${missing.length} domains are missing, ${strays.length} are not expected, ${changed.length} are otherwise than was known`,
      );
    }
    case 'HostStrayDomainSettled':
      return event.data.destroyed
        ? warning('StrayDomainDestroyed', `a domain of ${event.data.virtualMachine} that nobody expected was destroyed`)
        : null;
    case 'HostEvacuationProgressed': {
      const { remaining, blocked } = event.data;
      if (remaining === 0) return normal('Evacuated', 'no virtual machine is left on the host');
      const [first] = blocked;
      if (first === undefined) return null;
      const { namespace, name } = first.virtualMachine;
      const more = blocked.length > 1 ? `; ${blocked.length - 1} more can't move` : '';
      return warning('EvacuationBlocked', `${namespace}/${name} can't move: ${first.message}${more}`);
    }
    case 'HostParkingBegun':
      return normal('Parking', `it is emptied and then powered off: ${event.data.reason}`);
    case 'HostParkingEnded':
      return normal('ParkingEnded', `it stays on: ${event.data.reason}`);
    case 'HostShutdownBegun':
      return normal('ShuttingDown', 'its power is being switched off');
    case 'HostPoweredOff':
      return normal('PoweredOff', 'it is powered off');
    case 'HostWakeBegun':
      return normal('Waking', `it is powered on: ${event.data.reason}`);
    case 'HostWoken':
      return normal('Woken', `it is up again (boot ${event.data.bootId})`);
    case 'HostPowerFailed':
      return warning('PowerFailed', `${event.data.message}; it is tried again`);
    case 'HostPoweredOn':
    case 'HostStrayDomainConfirmed':
    case 'HostMetadataChanged':
    case 'HostSpecChanged':
    case 'HostDeletionRequested':
    case 'HostDeleted':
      return null;
  }
};

const describeOperation = (event: OperationEvent): EventDescription | null => {
  switch (event.type) {
    case 'OperationSucceeded':
      return normal('Succeeded', 'all steps are done');
    case 'OperationFailed':
      return warning('Failed', event.data.message);
    case 'OperationCancelled':
      return normal('Cancelled', event.data.message);
    case 'OperationCompensationStarted':
      return warning('Compensating', event.data.because);
    case 'OperationNeededOperator':
      return warning('NeedsOperator', `${event.data.message}; status.choices says what can be done about it`);
    case 'OperationOperatorChose':
      return normal('OperatorChose', `${event.data.by} chose ${event.data.choice}`);
    case 'OperationStepDeferred':
      return normal('StepDeferred', `${event.data.name}: ${event.data.rejection.message}`);
    case 'OperationStepUnanswered':
      return warning('StepUnanswered', `${event.data.name} is not answered: ${event.data.message}`);
    case 'OperationUndoFailed':
      return warning('UndoFailed', `${event.data.name}: ${event.data.rejection.message}`);
    case 'OperationRequested':
    case 'OperationStarted':
    case 'OperationMetadataChanged':
    case 'OperationSpecChanged':
    case 'OperationDeletionRequested':
    case 'OperationDeleted':
    case 'OperationStepsSucceeded':
    case 'OperationStepRefused':
    case 'OperationCancelRequested':
    case 'OperationCancelAnswered':
    case 'OperationMigrationRoundEnded':
    case 'OperationStepsUndone':
      return null;
  }
};

/** What people are shown of an event of this service; null: nothing worth their while, or another service's. */
export const describeComputeEvent = (event: Pick<NewEvent, 'type' | 'data'>): EventDescription | null => {
  if (event.type in virtualMachineEvents) return describeMachine(event as VirtualMachineEvent);
  if (event.type in hostEvents) return describeHost(event as HostEvent);
  if (event.type in operationEvents) return describeOperation(event as OperationEvent);
  if (event.type !== 'FaultRuleFired') return null;
  const { host, command } = event.data as { host: string; command: string };
  return warning('Fired', `struck ${command} on host ${host}`);
};
