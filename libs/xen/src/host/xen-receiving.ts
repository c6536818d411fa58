import type { Uuid } from '@xenolith/kernel';
import type { HostAnswer, HostInput } from '../host-model.js';
import { buildMs, jittered } from '../host-timing.js';
import { migrationNames } from '../migration/protocol.js';
import { admissionRefused } from './addressing.js';
import { refuse, US_PER_MS } from './answers.js';
import { beginAdd, beginRemove } from './device-control.js';
import { deviceModelCarried, startDeviceModel } from './device-model.js';
import { askWhatWasAsked, makeHome } from './domain-store.js';
import { newGuest, type Host, type Machine, type MachineDevice } from './host-state.js';
import { devicesOf, renewedDevice } from './machine-devices.js';
import type { Planner, Receiving, ReceivingEffect } from './migration-host.js';
import { type Carried, type TargetSession } from './migration-session.js';
import { planEffect } from './session-work.js';
import { guestIn } from './suspend.js';
import { beginTeardown, makeDomain, runningAnswer, unbuildable, unpauseDomain } from './toolstack.js';
import { rename } from './xen-sending.js';

/** The domain has its memory: it gets its home, and its interfaces, whose scripts fail before the switch if they must. */
const shellBuilt = (host: Host, machine: Machine): void => {
  makeHome(host, machine);
  machine.devices = devicesOf(host, machine);
  for (const device of machine.devices) if (device.kind === 'nic') beginAdd(host, machine, device);
};

const restoreDomain = (session: TargetSession, machine: Machine): Carried => {
  const guest = guestIn(session.content ?? '');
  if (guest === null) return 'failed';
  machine.wakes = { guest, readingUs: 0 };
  return 'done';
};

const isPlugged = ({ task, back }: MachineDevice): boolean => task === null && back !== null;

/** Disks are opened where the machine is: not before the switch. One that failed is tried anew, as the device model of a guest that needs one is. */
const restoreDevices = (host: Host, machine: Machine): Carried => {
  if (deviceModelCarried(host, machine) === 'failed') startDeviceModel(host, machine);
  machine.devices = machine.devices.map((device) => (isPlugged(device) ? device : renewedDevice(device)));
  for (const device of machine.devices) if (!isPlugged(device)) beginAdd(host, machine, device);
  return 'underWay';
};

const unpause = (host: Host, session: TargetSession, machine: Machine): Carried => {
  // It goes on without devices that did not come up.
  machine.devices = machine.devices.filter(isPlugged);
  machine.phase = 'up';
  askWhatWasAsked(host, machine);
  if (!machine.paused) unpauseDomain(host, machine);
  session.runsUs = host.state.nowUs;
  return 'done';
};

/** Whether devices of a kind are there. Those that failed are taken away again. */
const devicesUp = (host: Host, machine: Machine, kinds: readonly MachineDevice['kind'][]): Carried => {
  const wanted = machine.devices.filter(({ kind }) => kinds.includes(kind));
  for (const device of wanted)
    if (device.task?.action === 'add' && device.task.phase === 'done' && device.task.rc !== 0)
      beginRemove(host, machine, device);
  if (wanted.some(({ task }) => task !== null && task.phase !== 'done')) return 'underWay';
  const failed = wanted.some(({ task }) => task?.action === 'remove');
  for (const device of wanted) if (device.task?.action === 'add') device.task = null;
  return failed ? 'failed' : 'done';
};

/** Whether all devices are there, and the device model where the guest needs one. */
const devicesRestored = (host: Host, machine: Machine): Carried => {
  const both = [devicesUp(host, machine, ['disk', 'nic']), deviceModelCarried(host, machine)];
  if (both.includes('underWay')) return 'underWay';
  return both.includes('failed') ? 'failed' : 'done';
};

/** What Xen's toolstack does to a domain that comes. */
export class XenReceiving implements Receiving {
  constructor(
    private readonly host: Host,
    private readonly planner: Planner,
  ) {}

  understands(content: string): boolean {
    return guestIn(content) !== null;
  }

  admit(input: HostInput & { do: 'receive' }): boolean {
    const { host } = this;
    const { uid, incarnation, settings, ticket } = input;
    if (admissionRefused(host, input)) return false;
    const machine: Machine = {
      uid,
      incarnation,
      domid: -1,
      createdUs: host.state.nowUs,
      phase: 'arriving',
      restart: null,
      asked: null,
      paused: false,
      settings,
      guest: newGuest(),
      wakes: null,
      image: null,
      devices: [],
      waiting: [],
    };
    const errno = makeDomain(host, machine, migrationNames(uid).target);
    if (errno !== null) refuse(host, ticket, unbuildable(host, machine, errno));
    return errno === null;
  }

  carryOut(session: TargetSession, effect: ReceivingEffect): Carried {
    const { host } = this;
    const machine = this.machineOf(session);
    if (machine === null) return 'failed';
    switch (effect.do) {
      case 'buildShell':
        return this.buildShell(session, machine);
      case 'restoreDomain':
        return restoreDomain(session, machine);
      case 'restoreDevices':
        return restoreDevices(host, machine);
      case 'unpauseDomain':
        return unpause(host, session, machine);
      case 'renameDomain':
        return rename(host, machine, effect);
      case 'destroyDomain':
        beginTeardown(host, machine);
        return 'underWay';
    }
  }

  due(session: TargetSession): void {
    const machine = this.machineOf(session);
    if (session.doing === 'buildShell' && machine) shellBuilt(this.host, machine);
  }

  progress(session: TargetSession): Carried {
    const machine = this.machineOf(session);
    if (machine === null) return 'failed';
    if (session.doing === 'buildShell' && session.effectDueUs === null) return devicesUp(this.host, machine, ['nic']);
    return session.doing === 'restoreDevices' ? devicesRestored(this.host, machine) : 'underWay';
  }

  tearDown(session: TargetSession): void {
    const machine = this.machineOf(session);
    if (machine) beginTeardown(this.host, machine);
  }

  answerOf(uid: Uuid): HostAnswer {
    const machine = this.host.state.machines[uid];
    return machine ? runningAnswer(this.host, machine) : {};
  }

  private machineOf({ uid, toIncarnation }: TargetSession): Machine | null {
    const machine = this.host.state.machines[uid];
    return machine?.incarnation === toIncarnation ? machine : null;
  }

  private buildShell(session: TargetSession, machine: Machine): Carried {
    const { host } = this;
    const duration = buildMs(host.timing, machine.settings.dynamicMaxBytes);
    const ms = jittered(duration, host.state.seed, `${machine.uid}/${machine.domid}/build`);
    planEffect(this.planner, session, host.state.nowUs + ms * US_PER_MS);
    return 'underWay';
  }
}
