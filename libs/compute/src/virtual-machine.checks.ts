import { countDevices, isPciDevice, memorySizes, type VirtualMachineSpec } from '@xenolith/contracts';
import { bytesOf, type FieldCause } from '@xenolith/kernel';

/** The least memory that a domain can be built with: kernel, page tables and a ramdisk. */
const LEAST_MEMORY_BYTES = 16 * 2 ** 20;

const invalidField = (field: string, message: string): FieldCause => ({ field, reason: 'FieldValueInvalid', message });
export const forbiddenField = (field: string, message: string): FieldCause => ({
  field,
  reason: 'FieldValueForbidden',
  message,
});

/** Memory in bytes, with its defaults: dynamicMax is staticMax, dynamicMin is dynamicMax. */
export const memoryOf = (
  spec: VirtualMachineSpec,
): { staticMaxBytes: number; dynamicMaxBytes: number; dynamicMinBytes: number } => {
  const sizes = memorySizes(spec.memory);
  return {
    staticMaxBytes: bytesOf(sizes.staticMax),
    dynamicMaxBytes: bytesOf(sizes.dynamicMax),
    dynamicMinBytes: bytesOf(sizes.dynamicMin),
  };
};

const causesOfMemory = (spec: VirtualMachineSpec): FieldCause[] => {
  const memory = memoryOf(spec);
  const sizes = memorySizes(spec.memory);
  // The short form is one size: there is no field below it to name.
  const least = typeof spec.memory === 'string' ? 'spec.memory' : 'spec.memory.staticMax';
  const causes: FieldCause[] = [];
  if (memory.staticMaxBytes < LEAST_MEMORY_BYTES)
    causes.push(invalidField(least, `${sizes.staticMax} is less than 16Mi`));
  if (memory.dynamicMaxBytes > memory.staticMaxBytes)
    causes.push(
      invalidField('spec.memory.dynamicMax', `${sizes.dynamicMax} is more than staticMax ${sizes.staticMax}`),
    );
  if (memory.dynamicMinBytes > memory.dynamicMaxBytes)
    causes.push(
      invalidField('spec.memory.dynamicMin', `${sizes.dynamicMin} is more than dynamicMax ${sizes.dynamicMax}`),
    );
  if (memory.dynamicMinBytes <= 0) causes.push(invalidField('spec.memory.dynamicMin', 'must be more than 0'));
  return causes;
};

/** A machine can use no more than its virtual CPUs, nor than its cap lets it. */
const causesOfReservation = ({ vcpus, max = vcpus, cap, reservation = 0 }: VirtualMachineSpec['cpu']): FieldCause[] => {
  const usable = cap === 0 ? max * 100 : Math.min(cap, max * 100);
  if (reservation <= usable) return [];
  return [invalidField('spec.cpu.reservation', `${reservation} % is more than the ${usable} % that it can use`)];
};

const causesOfDisks = (spec: VirtualMachineSpec): FieldCause[] =>
  spec.disks.flatMap((disk, index) => {
    const field = `spec.disks[${index}]`;
    const causes: FieldCause[] = [];
    if (spec.disks.findIndex((other) => other.name === disk.name) !== index)
      causes.push({
        field: `${field}.name`,
        reason: 'FieldValueDuplicate',
        message: `two disks are named "${disk.name}"`,
      });
    if (disk.volume !== undefined && disk.source !== undefined)
      causes.push(
        forbiddenField(`${field}.source`, 'an existing volume has its content already: give volume or source'),
      );
    if (disk.volume !== undefined && disk.size !== undefined)
      causes.push(forbiddenField(`${field}.size`, 'an existing volume has its size already; change the volume'));
    if (disk.volume !== undefined && disk.storageDomain !== undefined)
      causes.push(forbiddenField(`${field}.storageDomain`, 'an existing volume has its place already'));
    if (disk.volume === undefined && disk.source === undefined && disk.size === undefined)
      causes.push({
        field: `${field}.size`,
        reason: 'FieldValueRequired',
        message: 'give the size of an empty disk, a source that it is a copy of, or an existing volume',
      });
    if (disk.size !== undefined && bytesOf(disk.size) <= 0)
      causes.push(invalidField(`${field}.size`, `${disk.size} is not more than 0`));
    if (disk.volume !== undefined && spec.disks.findIndex((other) => other.volume === disk.volume) !== index)
      causes.push({
        field: `${field}.volume`,
        reason: 'FieldValueDuplicate',
        message: `volume "${disk.volume}" is on two disks`,
      });
    return causes;
  });

const causesOfNics = (spec: VirtualMachineSpec): FieldCause[] =>
  spec.nics.flatMap((nic, index) => {
    const field = `spec.nics[${index}]`;
    const causes: FieldCause[] = [];
    if (spec.nics.findIndex((other) => other.name === nic.name) !== index)
      causes.push({
        field: `${field}.name`,
        reason: 'FieldValueDuplicate',
        message: `two interfaces are named "${nic.name}"`,
      });
    if (spec.disks.some((disk) => disk.name === nic.name))
      causes.push({
        field: `${field}.name`,
        reason: 'FieldValueDuplicate',
        message: `a disk is named "${nic.name}" too; hosts know devices by their names`,
      });
    if (nic.mac !== undefined && spec.nics.findIndex((other) => other.mac === nic.mac) !== index)
      causes.push({
        field: `${field}.mac`,
        reason: 'FieldValueDuplicate',
        message: `two interfaces have the address ${nic.mac}`,
      });
    return causes;
  });

const causesOfGuest = (spec: VirtualMachineSpec): FieldCause[] => {
  const causes: FieldCause[] = [];
  // Windows has no paravirtual kernel; it boots from emulated devices (xl.cfg(5), `type`).
  if (spec.guest.os === 'windows' && spec.guestType !== 'hvm')
    causes.push(invalidField('spec.guestType', `a windows guest can't run as ${spec.guestType}; use hvm`));
  if (spec.guestType !== 'hvm' && !spec.guest.pvDrivers)
    causes.push(invalidField('spec.guest.pvDrivers', `a ${spec.guestType} guest has paravirtual drivers by nature`));
  // Guests of Xen's own kinds are entered by its builder and speak to it; KVM hosts boot a firmware.
  if (spec.hypervisor === 'kvm' && spec.guestType !== 'hvm')
    causes.push(invalidField('spec.guestType', `kvm can not run ${spec.guestType} guests; use hvm`));
  return causes;
};

/** XAPI's bound (xen-api ocaml/xapi/xapi_vusb.ml, TOO_MANY_VUSBS). */
const USB_DEVICES_MAX = 6;

const causesOfDevices = (spec: VirtualMachineSpec): FieldCause[] => {
  const { devices = [], guestType, passthrough } = spec;
  const { staticMaxBytes, dynamicMinBytes } = memoryOf(spec);
  const causes = devices.flatMap(({ name }, index): FieldCause[] =>
    devices.findIndex((other) => other.name === name) === index
      ? []
      : [{ field: `spec.devices[${index}].name`, reason: 'FieldValueDuplicate', message: `two are named "${name}"` }],
  );
  if (countDevices(devices, (wish) => !isPciDevice(wish)) > USB_DEVICES_MAX)
    causes.push(invalidField('spec.devices', `a machine can have ${USB_DEVICES_MAX} USB devices at most`));
  if (!devices.some(isPciDevice) && passthrough === undefined) return causes;
  if (guestType === 'pvh')
    causes.push(invalidField('spec.guestType', 'Xen passes no PCI devices through to pvh guests; use hvm or pv'));
  if (dynamicMinBytes !== staticMaxBytes)
    causes.push(
      invalidField(
        'spec.memory',
        'a PCI device reaches all memory of its machine, which can not change then: give one size',
      ),
    );
  return causes;
};

/** Every reason for which a spec can't be had, field by field. */
export const causesOfSpec = (spec: VirtualMachineSpec): readonly FieldCause[] => [
  ...causesOfReservation(spec.cpu),
  ...(spec.cpu.max !== undefined && spec.cpu.max < spec.cpu.vcpus
    ? [invalidField('spec.cpu.max', `${spec.cpu.max} is less than vcpus ${spec.cpu.vcpus}`)]
    : []),
  ...causesOfMemory(spec),
  ...causesOfDisks(spec),
  ...causesOfNics(spec),
  ...causesOfDevices(spec),
  ...causesOfGuest(spec),
];

/** The same for a machine that is being made. */
export const causesOfNewSpec = (spec: VirtualMachineSpec): readonly FieldCause[] => [
  ...causesOfSpec(spec),
  ...(spec.powerState === 'Suspended'
    ? [invalidField('spec.powerState', 'a machine that has never run can not be suspended; use Running or Halted')]
    : []),
];
