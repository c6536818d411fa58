import type { Rejection } from '@xenolith/kernel';
import { assignFunction, attachUsb, type PassthroughState } from '../devices/index.js';
import type { GivenDevice, HostInput } from '../host-model.js';
import { answer, refuse } from '../host/answers.js';
import { freshPassthrough, isCard, usbController, withGiven } from '../host/passed-devices.js';
import type { Errno } from '../outcome.js';
import type { HostDevices } from '../xen-setup.js';
import { deviceFailed, deviceFault, hasNamed, ROOT_PORTS, takeNamed, UNPLUG_WAIT_MS } from './kvm-devices.js';
import { listen } from './kvm-guest.js';
import { planIn, type KvmHost, type KvmMachine } from './kvm-state.js';

/** What is bound to vfio-pci when the host has booted. Every machine that is emulated has an IOMMU unless it is switched off. */
export const freshDevices = ({ devices = [], iommu }: HostDevices): PassthroughState =>
  freshPassthrough(devices, iommu !== false);

/** libvirt's words (src/qemu/qemu_hostdev.c, src/hypervisor/virhostdev.c, src/util/virpci.c, src/conf/domain_addr.c). */
const SENTENCES: Partial<Record<Errno, string>> = {
  EOPNOTSUPP: "host doesn't support passthrough of host PCI devices",
  EBUSY: 'it is in use by driver QEMU, or one of its IOMMU group is',
  ENODEV: 'Device not found',
  ENOSPC: 'No free USB ports',
};

const errnoOf = ({ state: { passthrough } }: KvmHost, machine: KvmMachine, device: GivenDevice): Errno | null => {
  const { pid: domid, settings } = machine;
  if (!passthrough) return 'ENODEV';
  // VFIO pins all memory of the guest, so that nothing of it is filled on demand.
  const domain = { domid, guestType: 'hvm', populateOnDemand: false } as const;
  const given = isCard(device)
    ? assignFunction(passthrough, device.address, domain)
    : attachUsb(passthrough, device.address, domid, [usbController(settings)]);
  return given.ok ? null : given.errno;
};

/** Why the process can't have one device; null: it has it. */
const giveOne = (host: KvmHost, machine: KvmMachine, device: GivenDevice): { readonly rejection: Rejection } | null => {
  const errno = errnoOf(host, machine, device);
  if (errno === null) return null;
  return deviceFailed(host, machine, device.name, `${device.kind} ${device.address}: ${SENTENCES[errno] ?? errno}`);
};

/** Gives a new process all that its machine is to have; or why it can't have it. */
export const giveDevices = (host: KvmHost, machine: KvmMachine): { readonly rejection: Rejection } | null => {
  for (const device of machine.settings.devices ?? []) {
    const refused = giveOne(host, machine, device);
    if (refused) return refused;
  }
  return null;
};

const obstacle = (host: KvmHost, machine: KvmMachine, name: string): string | null => {
  if (machine.phase !== 'up') return 'it is not up';
  const { disks, nics, devices = [] } = machine.settings;
  if (disks.length + nics.length + devices.filter(isCard).length >= ROOT_PORTS) return 'no more available PCI slots';
  return deviceFault(host, machine, name);
};

/** `device_add` of vfio-pci or usb-host: it is there at once, whether the guest looks or not. */
export const give = (
  host: KvmHost,
  machine: KvmMachine,
  { ticket, name, devices }: HostInput & { do: 'give' },
): void => {
  const has = machine.settings.devices ?? [];
  const wanted = devices.filter(
    (device) => device.name === name && !has.some(({ address }) => address === device.address),
  );
  const why = wanted.length === 0 ? null : obstacle(host, machine, name);
  if (why !== null) {
    refuse(host, ticket, deviceFailed(host, machine, name, why));
    return;
  }
  for (const device of wanted) {
    const refused = giveOne(host, machine, device);
    if (refused === null) {
      machine.settings = withGiven(machine.settings, [device]);
      continue;
    }
    takeNamed(host, machine, name);
    refuse(host, ticket, refused);
    return;
  }
  answer(host, ticket, {});
};

/** `device_del`: of a function the guest is asked by ACPI, and lets go when it runs. */
export const take = (host: KvmHost, machine: KvmMachine, { ticket, name }: HostInput & { do: 'take' }): void => {
  const { any, cards } = hasNamed(machine, name);
  if (!any || !cards) {
    takeNamed(host, machine, name);
    answer(host, ticket, {});
    return;
  }
  machine.waiting.push({ ticket, for: 'take', name });
  planIn(host, UNPLUG_WAIT_MS, { do: 'giveUp', uid: machine.uid, ticket, timeoutMs: UNPLUG_WAIT_MS });
  listen(host, machine);
};
