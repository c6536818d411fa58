import type { AttachedDisk, AttachedNic, DomainHardware, VirtualMachineSpec, WishedDevice } from '@xenolith/contracts';
import { ok, sameJson, type FieldCause, type Result } from '@xenolith/kernel';
import { forbiddenField, memoryOf } from './virtual-machine.checks.js';
import { blockingOperations, checkAllowed, checkPassThrough, checkPlug, inProgress } from './virtual-machine.power.js';
import type { OperationAction, PresentMachine } from './virtual-machine.state.js';

type Disk = VirtualMachineSpec['disks'][number];
type Nic = VirtualMachineSpec['nics'][number];

/** What a domain that is built by the spec has of CPU and memory. */
export const hardwareOf = (spec: VirtualMachineSpec): DomainHardware => {
  const { vcpus, max, weight, cap, pin } = spec.cpu;
  const { dynamicMinBytes, dynamicMaxBytes } = memoryOf(spec);
  return { vcpus, maxVcpus: max ?? vcpus, weight, cap, pin, dynamicMinBytes, dynamicMaxBytes };
};

/** How a running domain is to become what the spec says. */
export interface LiveChange {
  readonly hardware: Partial<Omit<DomainHardware, 'maxVcpus'>>;
  readonly addedDisks: readonly Disk[];
  readonly addedNics: readonly Nic[];
  readonly removedDisks: readonly AttachedDisk[];
  readonly removedNics: readonly AttachedNic[];
  readonly addedDevices: readonly WishedDevice[];
  /** Names of wishes. */
  readonly removedDevices: readonly string[];
}

const CPU_FIELDS = ['vcpus', 'weight', 'cap', 'pin'] as const;
const MEMORY_FIELDS = ['dynamicMinBytes', 'dynamicMaxBytes'] as const;

const missingIn = <Item extends { readonly name: string }>(
  items: readonly Item[],
  others: readonly { readonly name: string }[],
): readonly Item[] => items.filter(({ name }) => !others.some((other) => other.name === name));

/** The difference between what the domain has and a spec. */
export const liveChangeOf = (machine: PresentMachine, spec: VirtualMachineSpec): LiveChange => {
  const { own } = machine;
  const has = own.hardware ?? hardwareOf(machine.spec);
  const wanted = hardwareOf(spec);
  const wishes = spec.devices ?? [];
  const changed = [...CPU_FIELDS, ...MEMORY_FIELDS].filter((field) => has[field] !== wanted[field]);
  return {
    hardware: Object.fromEntries(changed.map((field) => [field, wanted[field]])),
    addedDisks: missingIn(spec.disks, own.disks),
    addedNics: missingIn(spec.nics, own.nics),
    removedDisks: missingIn(own.disks, spec.disks),
    removedNics: missingIn(own.nics, spec.nics),
    addedDevices: missingIn(wishes, own.devices),
    removedDevices: [...new Set(missingIn(own.devices, wishes).map(({ name }) => name))],
  };
};

const touches = (change: LiveChange, fields: readonly (keyof LiveChange['hardware'])[]): boolean =>
  fields.some((field) => field in change.hardware);

const plugs = ({ addedDisks, addedNics, removedDisks, removedNics }: LiveChange): boolean =>
  [addedDisks, addedNics, removedDisks, removedNics].some((devices) => devices.length > 0);

const passes = ({ addedDevices, removedDevices }: LiveChange): boolean =>
  addedDevices.length + removedDevices.length > 0;

/** XAPI's operation where the change is one of them, else the platform's own for a change of several kinds; null: nothing changes. */
export const actionOf = (
  change: LiveChange,
): Extract<OperationAction, 'changing_VCPUs_live' | 'changing_dynamic_range' | 'reconfigure'> | null => {
  const [cpu, memory] = [touches(change, CPU_FIELDS), touches(change, MEMORY_FIELDS)];
  if (plugs(change) || passes(change) || (cpu && memory)) return 'reconfigure';
  if (cpu) return 'changing_VCPUs_live';
  return memory ? 'changing_dynamic_range' : null;
};

/** What a domain is built from: a change would need another domain. */
const FIXED = ['guestType', 'guest', 'hypervisor', 'placement', 'passthrough'] as const;

const HALT_FIRST = 'can not change while the machine is not halted; set powerState to Halted first';

const causesOfCpu = (machine: PresentMachine, spec: VirtualMachineSpec): FieldCause[] => {
  const built = (machine.own.hardware ?? hardwareOf(machine.spec)).maxVcpus;
  const { vcpus, max, reservation } = spec.cpu;
  if (vcpus > built)
    return [forbiddenField('spec.cpu.vcpus', `${vcpus} are more than the ${built} that the domain was built for`)];
  if (reservation !== machine.spec.cpu.reservation) return [forbiddenField('spec.cpu.reservation', HALT_FIRST)];
  return max === machine.spec.cpu.max || max === built ? [] : [forbiddenField('spec.cpu.max', HALT_FIRST)];
};

const causesOfMemory = (before: VirtualMachineSpec, after: VirtualMachineSpec): FieldCause[] =>
  memoryOf(before).staticMaxBytes === memoryOf(after).staticMaxBytes
    ? []
    : [forbiddenField(typeof after.memory === 'string' ? 'spec.memory' : 'spec.memory.staticMax', HALT_FIRST)];

const causesOfDevices = (
  field: string,
  before: readonly { readonly name: string }[],
  after: readonly { readonly name: string }[],
): FieldCause[] =>
  after.flatMap((device, index) => {
    const known = before.find(({ name }) => name === device.name);
    const message = 'can not change while the machine is not halted; remove it first, and add it again then';
    return known === undefined || sameJson(known, device) ? [] : [forbiddenField(`${field}[${index}]`, message)];
  });

/** Fields that differ and can't change before the machine is halted. */
const causesOfChange = (machine: PresentMachine, spec: VirtualMachineSpec): readonly FieldCause[] => {
  const before = machine.spec;
  return [
    ...FIXED.filter((field) => !sameJson(before[field], spec[field])).map((field) =>
      forbiddenField(`spec.${field}`, HALT_FIRST),
    ),
    ...causesOfCpu(machine, spec),
    ...causesOfMemory(before, spec),
    ...causesOfDevices('spec.disks', before.disks, spec.disks),
    ...causesOfDevices('spec.nics', before.nics, spec.nics),
    ...causesOfDevices('spec.devices', before.devices ?? [], spec.devices ?? []),
  ];
};

const PARTS = ['cpu', 'memory', 'disks', 'nics', 'devices', ...FIXED] as const;

/** Whether the domain of the machine would have to differ: `1Gi`, `1024Mi` and `{ staticMax: 1Gi }` are one size of memory. */
export const touchesDomain = (before: VirtualMachineSpec, after: VirtualMachineSpec): boolean =>
  PARTS.some((part) =>
    part === 'memory' ? !sameJson(memoryOf(before), memoryOf(after)) : !sameJson(before[part], after[part]),
  );

/** Every reason for which a machine that is not halted can't become what the spec says, field by field. */
export const causesOfLiveChange = (machine: PresentMachine, spec: VirtualMachineSpec): readonly FieldCause[] => {
  if (!touchesDomain(machine.spec, spec)) return [];
  const wish =
    spec.powerState === machine.spec.powerState
      ? []
      : [forbiddenField('spec.powerState', 'can not change together with what the running domain has')];
  return [...causesOfChange(machine, spec), ...wish];
};

/** Whether XAPI would allow every part of the change now. */
export const checkLiveChange = (machine: PresentMachine, change: LiveChange): Result<null> => {
  if (blockingOperations(machine).length > 0) return inProgress(machine, 'a change');
  if (touches(change, CPU_FIELDS)) {
    const allowed = checkAllowed(machine, 'changing_VCPUs_live');
    if (!allowed.ok) return allowed;
  }
  if (touches(change, MEMORY_FIELDS)) {
    const allowed = checkAllowed(machine, 'changing_dynamic_range');
    if (!allowed.ok) return allowed;
  }
  if (plugs(change)) {
    const allowed = checkPlug(machine);
    if (!allowed.ok) return allowed;
  }
  return passes(change) ? checkPassThrough(machine) : ok(null);
};

/** The spec with what a change that failed had changed as it was before. */
export const withoutChange = (spec: VirtualMachineSpec, former: VirtualMachineSpec): VirtualMachineSpec => {
  const { devices: _devices, ...rest } = spec;
  const { cpu, memory, disks, nics, devices } = former;
  return { ...rest, cpu, memory, disks, nics, ...(devices && { devices }) };
};

/** Devices that the machine has from a former run and that its spec does not name any more. */
export const obsoleteDevices = ({
  own,
  spec,
}: Pick<PresentMachine, 'own' | 'spec'>): { disks: readonly AttachedDisk[]; nics: readonly AttachedNic[] } => ({
  disks: missingIn(own.disks, spec.disks),
  nics: missingIn(own.nics, spec.nics),
});
