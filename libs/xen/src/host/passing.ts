import { reject, type Rejection } from '@xenolith/kernel';
import { versionParts } from '../dom0/index.js';
import type { GivenDevice, HostInput, Ticket } from '../host-model.js';
import { living } from './addressing.js';
import { plan } from './agenda.js';
import { answer, refuse } from './answers.js';
import { releaseOfHost, type Host, type Machine } from './host-state.js';
import {
  giveOne,
  isCard,
  refusal,
  rewriteFunctions,
  takeOne,
  withGiven,
  withoutNamed,
  writeFunctions,
} from './passed-devices.js';

/** libxl waits so long until QEMU says that the guest has let go of a function (tools/libs/light/libxl_pci.c, `pci_remove_timeout`, after LIBXL_QMP_CMD_TIMEOUT). */
const TAKE_TIMEOUT_US = 10_000_000;

/** Since 4.13 a domain has IOMMU mappings from its birth or never; before, they were made with its first function (xen/common/domain.c, XEN_DOMCTL_CDF_iommu). */
const MAPPED_AT_BIRTH_SINCE = 13;

/** Whether the IOMMU can let a function at the domain's memory. A PV guest is trusted with its devices. */
const isMapped = (host: Host, { domid, settings }: Machine): boolean => {
  const { major, minor } = versionParts(releaseOfHost(host));
  const later = major === 4 && minor < MAPPED_AT_BIRTH_SINCE;
  return later || settings.guestType !== 'hvm' || host.state.hypervisor.domains[domid]?.iommu === true;
};

/** Why the domain can't get the device before anybody tries; null: nothing is in the way. */
const obstacle = (host: Host, machine: Machine, device: GivenDevice): { readonly rejection: Rejection } | null => {
  const no = (why: string): { readonly rejection: Rejection } => refusal(host, machine.settings, device, why);
  if (machine.phase !== 'up') return no('its domain is not up');
  if (!isCard(device) || host.state.passthrough?.iommu !== true || isMapped(host, machine)) return null;
  return no(
    `PCI device ${device.address} cannot be assigned - no IOMMU: the domain was built without PCI devices, and without spec.passthrough, for which it must be halted`,
  );
};

/** `xl pci-attach`, `xl usbdev-attach`: the toolstack's and the device model's work; the guest finds the device when it looks. */
export const give = (host: Host, { ticket, name, devices, ...on }: HostInput & { do: 'give' }): void => {
  const machine = living(host, { ticket, ...on });
  if (!machine) return;
  const has = machine.settings.devices ?? [];
  const wanted = devices.filter(
    (device) => device.name === name && !has.some(({ address }) => address === device.address),
  );
  const given: GivenDevice[] = [];
  for (const device of wanted) {
    const refused = obstacle(host, machine, device) ?? giveOne(host, machine, device);
    if (refused === null) {
      given.push(device);
      continue;
    }
    for (const taken of given) takeOne(host, machine, taken);
    refuse(host, ticket, refused);
    return;
  }
  machine.settings = withGiven(machine.settings, given);
  if (given.some(isCard)) writeFunctions(host, machine);
  answer(host, ticket, {});
};

const namedOf = ({ settings }: Machine, name: string): readonly GivenDevice[] =>
  (settings.devices ?? []).filter((device) => device.name === name);

/** A function goes when the guest's driver has let go of it, as ACPI or pciback asks it to; USB may be pulled at any time. */
const letsGo = ({ paused, phase, guest }: Machine, devices: readonly GivenDevice[]): boolean =>
  !devices.some(isCard) || (phase === 'up' && !paused && guest.phase === 'up');

const takeNow = (host: Host, machine: Machine, name: string): void => {
  const devices = namedOf(machine, name);
  for (const device of devices) takeOne(host, machine, device);
  machine.settings = withoutNamed(machine.settings, name);
  if (devices.some(isCard)) rewriteFunctions(host, machine);
};

/** `xl pci-detach`, `xl usbdev-detach`. */
export const take = (host: Host, { ticket, name, ...on }: HostInput & { do: 'take' }): void => {
  const machine = living(host, { ticket, ...on });
  if (!machine) return;
  machine.waiting.push({ ticket, for: 'take', device: name });
  plan(host.state.agenda, host.state.nowUs + TAKE_TIMEOUT_US, { do: 'takeTimer', uid: machine.uid, ticket });
  continueTakes(host, machine);
};

/** The guest may be able to let go now. */
export const continueTakes = (host: Host, machine: Machine): void => {
  for (const waiting of machine.waiting) {
    if (waiting.for !== 'take' || !letsGo(machine, namedOf(machine, waiting.device))) continue;
    takeNow(host, machine, waiting.device);
    machine.waiting = machine.waiting.filter((other) => other !== waiting);
    answer(host, waiting.ticket, {});
  }
};

/** Somebody has waited long enough for a guest to let go. */
export const takeTimerEnds = (host: Host, machine: Machine, ticket: Ticket): void => {
  const waiting = machine.waiting.find((candidate) => candidate.ticket === ticket);
  const [device] = waiting?.for === 'take' ? namedOf(machine, waiting.device) : [];
  if (device === undefined) return;
  machine.waiting = machine.waiting.filter((candidate) => candidate !== waiting);
  const why = machine.paused ? 'its guest is paused and does not let go' : 'its guest does not let go';
  const { kind, name, address } = device;
  const message = `${kind} device ${name} (${address}) of ${machine.settings.name} on ${host.state.name}: ${why}`;
  refuse(host, ticket, reject('host_device_failed', message, { details: { device: name } }));
};
