import { memorySizes, type Condition } from '@xenolith/contracts';
import { formatBytes, type JsonObject } from '@xenolith/kernel';
import { placedRun, powerStateOf, type CurrentOperation, type PresentMachine } from './virtual-machine.state.js';
import { allowedOperations, isStarting } from './virtual-machine.power.js';

const STOPPING: ReadonlySet<string> = new Set(['clean_shutdown', 'shutdown', 'hard_shutdown']);

const beginningWord = ({ action }: CurrentOperation): 'Resuming' | 'Starting' =>
  action === 'resume' ? 'Resuming' : 'Starting';

/** What the machine is doing, for people. */
export const phaseWord = (machine: PresentMachine): string => {
  const { own, meta } = machine;
  if (meta.deletionTimestamp !== undefined) return 'Deleting';
  const starting = own.operations.find(isStarting);
  if (starting !== undefined) return own.unschedulable === null ? beginningWord(starting) : 'Pending';
  if (own.operations.some(({ action }) => action === 'suspend')) return 'Suspending';
  if (own.operations.some(({ action }) => action === 'pool_migrate')) return 'Migrating';
  if (own.operations.some(({ action }) => action === 'revert')) return 'Reverting';
  if (own.operations.some((operation) => STOPPING.has(operation.action))) return 'Stopping';
  return powerStateOf(own.run);
};

type Ready = Omit<Condition, 'type' | 'lastTransitionTime'>;

/** Of a machine that is on no host; `rests`: why, when nothing else is to be said. */
const readyWithoutHost = (machine: PresentMachine, rests: Ready): Ready => {
  const { own, meta } = machine;
  if (meta.deletionTimestamp !== undefined)
    return { status: 'False', reason: 'Deleting', message: 'the machine is being torn down' };
  if (own.unschedulable !== null) return { status: 'False', ...own.unschedulable };
  const starting = own.operations.find(isStarting);
  if (starting !== undefined) {
    const reason = beginningWord(starting);
    return { status: 'False', reason, message: `the machine is ${reason.toLowerCase()}` };
  }
  if (own.problem !== null) return { status: 'False', reason: 'OperationFailed', message: own.problem };
  return rests;
};

const DIED = 'its device model has died; a hard reboot starts another';

/** Since when the domain that the machine has now lacks its device model; null: it does not. */
const lacksDeviceModelSince = ({ own }: PresentMachine): string | null => {
  const run = placedRun(own.run);
  const lost = own.deviceModelLost;
  return lost?.incarnation === run?.incarnation && lost?.domid === run?.domid ? (lost?.since ?? null) : null;
};

/** Absent while nothing is wrong. */
const deviceModelCondition = (machine: PresentMachine): JsonObject[] => {
  const since = lacksDeviceModelSince(machine);
  return since === null
    ? []
    : [
        {
          type: 'DeviceModel',
          status: 'False',
          reason: 'DeviceModelDied',
          message: `${DIED}; until then it can not be saved, migrated or given devices`,
          lastTransitionTime: since,
        },
      ];
};

const readyOf = (machine: PresentMachine): Ready => {
  const { run } = machine.own;
  switch (run.phase) {
    case 'halted':
      return readyWithoutHost(machine, { status: 'False', reason: 'Halted', message: run.message });
    case 'suspended':
      return readyWithoutHost(machine, { status: 'False', reason: 'Suspended', message: 'the guest is saved' });
    case 'running':
    case 'paused': {
      if (!run.hostAnswers)
        return {
          status: 'Unknown',
          reason: 'HostUnreachable',
          message: `host ${run.host} does not answer; the machine may still run there`,
        };
      const where = `domain ${run.domid} on host ${run.host}`;
      if (!machine.spec.guest.pvDrivers && lacksDeviceModelSince(machine) !== null)
        return { status: 'False', reason: 'DeviceModelDied', message: `${where} stands still: ${DIED}` };
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

/** What was decided, never what the balloon has reached: that is a figure, and not in the log. */
const memoryTarget = ({ own, spec }: PresentMachine): string => {
  const reached = placedRun(own.run) === null ? null : own.hardware;
  return reached === null ? memorySizes(spec.memory).dynamicMax : formatBytes(reached.dynamicMaxBytes);
};

/** Those of the spec, and those that the domain still has. */
const disksOf = ({ own, spec }: PresentMachine): JsonObject[] => {
  const runs = placedRun(own.run) !== null;
  const left = runs ? own.disks.filter(({ name }) => !spec.disks.some((disk) => disk.name === name)) : [];
  return [...spec.disks, ...left].map(({ name }) => {
    const known = own.disks.find((disk) => disk.name === name);
    return { name, ...(known ? { volume: known.volume } : {}), attached: runs && known !== undefined };
  });
};

const nicsOf = ({ own, spec }: PresentMachine): JsonObject[] => {
  const runs = placedRun(own.run) !== null;
  const left = runs ? own.nics.filter(({ name }) => !spec.nics.some((nic) => nic.name === name)) : [];
  return [...spec.nics, ...left].map(({ name }) => {
    const known = own.nics.find((nic) => nic.name === name);
    const attached = runs && known !== undefined;
    return known
      ? { name, port: known.port, mac: known.mac, ips: [...known.ips], attached }
      : { name, ips: [], attached };
  });
};

/** Wishes with what was found for them. */
const devicesOf = ({ own, spec }: PresentMachine): JsonObject[] => {
  const had = placedRun(own.run) === null ? [] : own.devices;
  const open = (spec.devices ?? []).filter(({ name }) => !had.some((device) => device.name === name));
  return [
    ...had.map(({ name, kind, address, model }) => ({ name, kind, address, model, attached: true })),
    ...open.map(({ name, kind }) => ({ name, kind, attached: false })),
  ];
};

export const virtualMachineStatus = (machine: PresentMachine): JsonObject => {
  const { own, spec, meta } = machine;
  const run = placedRun(own.run);
  const devices = devicesOf(machine);
  return {
    powerState: powerStateOf(own.run),
    phase: phaseWord(machine),
    ...(run === null ? {} : { host: run.host, hostUid: run.hostUid, domid: run.domid, startTime: run.startTime }),
    memory: memorySizes(spec.memory).staticMax,
    vcpus: (run === null ? null : own.hardware?.vcpus) ?? spec.cpu.vcpus,
    memoryTarget: memoryTarget(machine),
    // Of a run that has come to be: one that is being begun may come to nothing.
    incarnation: own.run.phase === 'halted' ? own.incarnation : own.run.incarnation,
    ...(own.run.phase !== 'suspended' || own.image === null
      ? {}
      : { suspendImage: { volume: own.image.volume, size: formatBytes(own.image.sizeBytes) } }),
    observedGeneration: meta.generation,
    allowedOperations: [...allowedOperations(machine)],
    currentOperations: Object.fromEntries(own.operations.map((operation) => [operation.name, operation.action])),
    disks: disksOf(machine),
    nics: nicsOf(machine),
    ...(devices.length === 0 ? {} : { devices }),
    conditions: [{ ...own.ready }, ...deviceModelCondition(machine)],
  };
};
