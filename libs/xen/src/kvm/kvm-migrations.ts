import { reject, type Uuid } from '@xenolith/kernel';
import type { HostAnswer, HostInput, MigrationPolicyName } from '../host-model.js';
import { jittered } from '../host-timing.js';
import { plan } from '../host/agenda.js';
import { refuse, US_PER_MS } from '../host/answers.js';
import { memoryWriting } from '../guest/index.js';
import { workloadOf } from '../host/device-work.js';
import type {
  MigrationHost,
  MovingDomain,
  Planner,
  Receiving,
  ReceivingEffect,
  Sending,
  SendingEffect,
} from '../host/migration-host.js';
import { type Carried, type SourceSession, type TargetSession } from '../host/migration-session.js';
import { planEffect } from '../host/session-work.js';
import { PAGE_BYTES } from '../hypervisor/index.js';
import { CONVERGENCE_SCHEDULES, QEMU_SCHEDULE, type PrecopyPolicy } from '../migration/policies.js';
import type { DirtyRate } from '../migration/rounds.js';
import { refuseStale } from '../host/runs.js';
import { admissionRefused, living, newProcess } from './kvm-admission.js';
import { deviceFault } from './kvm-devices.js';
import { goOn, holdClock, quit } from './kvm-guest.js';
import { contentOf, guestIn } from './kvm-save.js';
import { runningAnswer, runs, waitingFor, type KvmHost, type KvmMachine } from './kvm-state.js';

/** Assumption: QEMU loads the state of devices and vCPUs. */
const LOADING_US = 20_000;

const PHASES: Readonly<Record<KvmMachine['phase'], MovingDomain['phase']>> = {
  starting: 'elsewhere',
  arriving: 'arriving',
  up: 'up',
  saving: 'elsewhere',
  finishing: 'still',
  ending: 'ending',
  shutdown: 'elsewhere',
};

const movingDomain = ({ settings, pid, phase }: KvmMachine): MovingDomain => ({
  name: settings.name,
  domid: pid,
  phase: PHASES[phase],
});

const runOf = (host: KvmHost, uid: Uuid, incarnation: number): KvmMachine | null => {
  const machine = host.state.machines[uid];
  return machine?.incarnation === incarnation ? machine : null;
};

/** The guest goes on elsewhere and is not stopped: who asked it to stop or to reboot hears so. */
const refuseStopping = (host: KvmHost, machine: KvmMachine, peer: string): void => {
  for (const { ticket } of waitingFor(machine, ({ for: what }) => what === 'end' || what === 'reboot')) {
    const message = `the guest of ${machine.settings.name} was asked to stop on ${host.state.name} and did not before it went to ${peer}`;
    refuse(host, ticket, reject('guest_ignored_shutdown', message));
  }
};

/** Pages that the guest writes to in a second, and the set that it writes to again and again. */
export const dirtyingOf = (host: KvmHost, machine: KvmMachine, memoryBytes: number): DirtyRate =>
  runs(machine) && machine.guest.phase === 'up'
    ? memoryWriting(workloadOf(host.state, machine), memoryBytes)
    : { pagesPerSecond: 0, workingSetPages: 0 };

/** What QEMU does to a guest that leaves: nobody asks it, and it keeps its memory. */
class KvmSending implements Sending {
  constructor(private readonly host: KvmHost) {}

  policy(name: MigrationPolicyName = 'qemu'): PrecopyPolicy | null {
    if (name === 'xen-v2' || name === 'xen-legacy') return null;
    return { name: 'convergence', schedule: name === 'qemu' ? QEMU_SCHEDULE : CONVERGENCE_SCHEDULES[name] };
  }

  obstacleTo(uid: Uuid): string | null {
    const machine = this.host.state.machines[uid];
    if (machine?.phase === 'saving') return 'it is being saved';
    if (machine === undefined || !runs(machine)) return 'it does not run';
    const plugging = machine.waiting.some(({ for: what }) => what === 'plug' || what === 'unplug');
    return plugging ? 'a device is given to it or taken from it' : null;
  }

  pages({ uid, incarnation }: SourceSession): number {
    const machine = runOf(this.host, uid, incarnation);
    return machine ? Math.floor(machine.settings.dynamicMaxBytes / PAGE_BYTES) : 0;
  }

  dirtying({ uid, incarnation }: SourceSession, memoryBytes: number): DirtyRate {
    const machine = runOf(this.host, uid, incarnation);
    return machine ? dirtyingOf(this.host, machine, memoryBytes) : { pagesPerSecond: 0, workingSetPages: 0 };
  }

  content({ uid, incarnation }: SourceSession): string | null {
    const machine = runOf(this.host, uid, incarnation);
    return machine && contentOf(machine);
  }

  carryOut({ uid, incarnation, peer }: SourceSession, effect: SendingEffect): Carried {
    const { host } = this;
    const machine = runOf(host, uid, incarnation);
    if (machine === null) return 'done';
    switch (effect.do) {
      case 'suspendDomain':
        if (machine.phase !== 'up') return 'failed';
        holdClock(host, machine);
        machine.phase = 'finishing';
        return 'done';
      case 'resumeDomain':
        if (machine.phase === 'finishing') goOn(host, machine);
        return 'done';
      case 'destroyDomain':
        refuseStopping(host, machine, peer);
        quit(host, machine);
        return 'underWay';
      case 'squashMemory':
      case 'restoreMemoryRange':
      case 'renameDomain':
        // Xen's: here the balloon stays as it is, and libvirt knows by its record of the migration whose the domain is.
        return 'done';
    }
  }

  waitsOn(): boolean {
    return false;
  }

  withdraw(): void {
    // Nobody asks a guest that could take its time.
  }
}

/** What QEMU does to a guest that comes: the process waits for it (`-incoming`), with its devices and its memory. */
class KvmReceiving implements Receiving {
  constructor(
    private readonly host: KvmHost,
    private readonly planner: Planner,
  ) {}

  understands(content: string): boolean {
    return guestIn(content) !== null;
  }

  admit(input: HostInput & { do: 'receive' }): boolean {
    if (admissionRefused(this.host, input)) return false;
    newProcess(this.host, input, 'arriving');
    return true;
  }

  carryOut(session: TargetSession, effect: ReceivingEffect): Carried {
    const { host } = this;
    const machine = runOf(host, session.uid, session.toIncarnation);
    if (machine === null) return 'failed';
    switch (effect.do) {
      case 'buildShell': {
        const label = `${machine.uid}/${machine.pid}/spawn`;
        return this.takes(session, jittered(host.timing.createMs, host.state.seed, label) * US_PER_MS);
      }
      case 'restoreDomain': {
        const arrived = guestIn(session.content ?? '');
        if (arrived === null) return 'failed';
        machine.guest = arrived.guest;
        machine.paused = arrived.paused;
        return this.takes(session, host.timing.timedDevices ? LOADING_US : 0);
      }
      case 'unpauseDomain':
        goOn(host, machine);
        session.runsUs = host.state.nowUs;
        return 'done';
      case 'destroyDomain':
        quit(host, machine);
        return 'underWay';
      case 'restoreDevices':
      case 'renameDomain':
        // The process has had its devices since it was started.
        return 'done';
    }
  }

  due(): void {
    // Nothing but time has passed: `progress` finds that it is done.
  }

  progress({ uid, toIncarnation, doing, effectDueUs }: TargetSession): Carried {
    const { host } = this;
    const machine = runOf(host, uid, toIncarnation);
    if (machine === null || (doing !== 'buildShell' && doing !== 'restoreDomain') || effectDueUs !== null)
      return 'underWay';
    const broken =
      doing === 'buildShell' && machine.devices.some(({ name }) => deviceFault(host, machine, name) !== null);
    return broken ? 'failed' : 'done';
  }

  tearDown({ uid, toIncarnation }: TargetSession): void {
    const machine = runOf(this.host, uid, toIncarnation);
    if (machine) quit(this.host, machine);
  }

  answerOf(uid: Uuid): HostAnswer {
    const machine = this.host.state.machines[uid];
    return machine ? runningAnswer(this.host, machine) : {};
  }

  private takes(session: TargetSession, durationUs: number): Carried {
    planEffect(this.planner, session, this.host.state.nowUs + durationUs);
    return 'underWay';
  }
}

/** A KVM host, as its live migrations see it. */
export const kvmMigrations = (host: KvmHost): MigrationHost => {
  const { state, timing, events } = host;
  const planner: Planner = { plan: (dueUs, task) => plan(state.agenda, dueUs, task) };
  return {
    ...planner,
    state,
    timing,
    events,
    sending: new KvmSending(host),
    receiving: new KvmReceiving(host, planner),
    domain: (uid, incarnation) => {
      const machine = runOf(host, uid, incarnation);
      return machine && movingDomain(machine);
    },
    living: (input) => {
      const machine = living(host, input);
      return machine && movingDomain(machine);
    },
    refuseStale: (input) => refuseStale(host, input),
  };
};
