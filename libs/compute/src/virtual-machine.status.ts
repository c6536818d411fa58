import { memorySizes, type Condition } from '@xenolith/contracts';
import type { JsonObject } from '@xenolith/kernel';
import { powerStateOf, type PresentMachine } from './virtual-machine.state.js';
import { allowedOperations, isStarting } from './virtual-machine.power.js';

const STOPPING: ReadonlySet<string> = new Set(['clean_shutdown', 'shutdown', 'hard_shutdown']);

/** What the machine is doing, for people. */
export const phaseWord = (machine: PresentMachine): string => {
  const { own, meta } = machine;
  if (meta.deletionTimestamp !== undefined) return 'Deleting';
  if (own.operations.some(isStarting)) return own.unschedulable === null ? 'Starting' : 'Pending';
  if (own.operations.some((operation) => STOPPING.has(operation.action))) return 'Stopping';
  return powerStateOf(own.run);
};

type Ready = Omit<Condition, 'type' | 'lastTransitionTime'>;

const readyOfHalted = (machine: PresentMachine): Ready => {
  const { own, meta } = machine;
  if (meta.deletionTimestamp !== undefined)
    return { status: 'False', reason: 'Deleting', message: 'the machine is being torn down' };
  if (own.unschedulable !== null) return { status: 'False', ...own.unschedulable };
  if (own.operations.some(isStarting))
    return { status: 'False', reason: 'Starting', message: 'the machine is starting' };
  if (own.problem !== null) return { status: 'False', reason: 'OperationFailed', message: own.problem };
  return { status: 'False', reason: 'Halted', message: own.run.phase === 'halted' ? own.run.message : '' };
};

const readyOf = (machine: PresentMachine): Ready => {
  const { run } = machine.own;
  switch (run.phase) {
    case 'halted':
      return readyOfHalted(machine);
    case 'running':
    case 'paused': {
      if (!run.hostAnswers)
        return {
          status: 'Unknown',
          reason: 'HostUnreachable',
          message: `host ${run.host} does not answer; the machine may still run there`,
        };
      const where = `domain ${run.domid} on host ${run.host}`;
      return run.phase === 'paused'
        ? { status: 'False', reason: 'DomainPaused', message: `${where} is paused` }
        : { status: 'True', reason: 'DomainRunning', message: `${where} runs` };
    }
  }
};

/** The Ready condition without its time. */
export const readyCondition = (machine: PresentMachine): Omit<Condition, 'lastTransitionTime'> => ({
  type: 'Ready',
  ...readyOf(machine),
});

export const virtualMachineStatus = (machine: PresentMachine): JsonObject => {
  const { own, spec, meta } = machine;
  const { run } = own;
  return {
    powerState: powerStateOf(run),
    phase: phaseWord(machine),
    ...(run.phase === 'halted' ? {} : { host: run.host, hostUid: run.hostUid, domid: run.domid }),
    memory: memorySizes(spec.memory).staticMax,
    incarnation: own.incarnation,
    observedGeneration: meta.generation,
    allowedOperations: [...allowedOperations(machine)],
    currentOperations: Object.fromEntries(own.operations.map((operation) => [operation.name, operation.action])),
    disks: spec.disks.map((disk) => {
      const attached = own.disks.find((known) => known.name === disk.name);
      return attached ? { name: disk.name, volume: attached.volume } : { name: disk.name };
    }),
    nics: spec.nics.map((nic) => {
      const attached = own.nics.find((known) => known.name === nic.name);
      return attached
        ? { name: nic.name, port: attached.port, mac: attached.mac, ips: [...attached.ips] }
        : { name: nic.name, ips: [] };
    }),
    conditions: [own.ready],
  };
};
