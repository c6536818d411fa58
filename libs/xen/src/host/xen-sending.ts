import type { Uuid } from '@xenolith/kernel';
import type { MigrationPolicyName } from '../host-model.js';
import { DEFAULT_BALLOON_RATE, PAGE_BYTES } from '../hypervisor/index.js';
import { CONVERGENCE_SCHEDULES, type PrecopyPolicy } from '../migration/policies.js';
import type { MigrationEffect } from '../migration/protocol.js';
import { SUSPEND_ACK_TIMEOUT_US, SUSPEND_TIMEOUT_US } from '../migration/save.js';
import type { DirtyRate } from '../migration/rounds.js';
import { memoryTargetPath } from '../xenstore/index.js';
import { dirtyingOf } from './guest-work.js';
import { wantsImage, type Host, type Machine } from './host-state.js';
import { hasFrontends } from './machine-devices.js';
import type { Planner, Sending, SendingEffect } from './migration-host.js';
import { type Carried, type SourceSession } from './migration-session.js';
import { planEffect } from './session-work.js';
import { transact } from './store-access.js';
import { askToSuspend, contentOf, resumeInPlace, withdrawSuspend } from './suspend.js';
import { beginTeardown, refuseStopping } from './toolstack.js';

/** A guest that gives memory back before it goes is waited for no longer than this: what it has not given is sent. */
const SQUASH_PATIENCE_US = 20_000_000;

const US_PER_SECOND = 1_000_000;
const KIBIBYTE = 1024;

const pagesOf = (host: Host, domid: number): number => host.hypervisor.memory.guestPages(domid, host.state.nowUs);

const setTarget = (host: Host, { domid }: Machine, bytes: number): void =>
  transact(host, 0, [{ op: 'write', path: memoryTargetPath(domid), value: String(bytes / KIBIBYTE) }]);

/** Changes the domain's name, unless it has another. */
export const rename = (host: Host, { domid }: Machine, effect: MigrationEffect & { do: 'renameDomain' }): Carried => {
  if (host.state.hypervisor.domains[domid]?.handle === effect.from) host.hypervisor.domains.setHandle(domid, effect.to);
  return 'done';
};

/** What Xen's toolstack does to a domain that leaves. */
export class XenSending implements Sending {
  constructor(
    private readonly host: Host,
    private readonly planner: Planner,
  ) {}

  policy(name: MigrationPolicyName = 'xen-v2'): PrecopyPolicy | null {
    if (name === 'qemu') return null;
    return name === 'xen-v2' || name === 'xen-legacy'
      ? { name }
      : { name: 'convergence', schedule: CONVERGENCE_SCHEDULES[name] };
  }

  obstacleTo(uid: Uuid): string | null {
    const machine = this.host.state.machines[uid];
    if (machine?.phase !== 'up' || machine.paused) return 'it does not run';
    if (machine.waiting.some(wantsImage)) return 'it is being saved';
    if (machine.settings.devices?.length) return 'it has devices of this host';
    return hasFrontends(machine) ? null : 'its guest has no drivers to suspend it';
  }

  pages(session: SourceSession): number {
    return pagesOf(this.host, this.machineOf(session)?.domid ?? -1);
  }

  dirtying(session: SourceSession, memoryBytes: number): DirtyRate {
    const machine = this.machineOf(session);
    return machine ? dirtyingOf(this.host, machine, memoryBytes) : { pagesPerSecond: 0, workingSetPages: 0 };
  }

  content(session: SourceSession): string | null {
    const machine = this.machineOf(session);
    return machine && contentOf(machine);
  }

  carryOut(session: SourceSession, effect: SendingEffect): Carried {
    const { host } = this;
    const machine = this.machineOf(session);
    if (machine === null) return 'done';
    switch (effect.do) {
      case 'squashMemory':
        return this.squash(session, machine);
      case 'restoreMemoryRange':
        if (machine.phase === 'up' || machine.phase === 'suspended')
          setTarget(host, machine, machine.settings.dynamicMaxBytes);
        return 'done';
      case 'suspendDomain':
        return this.suspend(session, machine);
      case 'resumeDomain':
        if (machine.phase === 'suspended') resumeInPlace(host, machine);
        return 'done';
      case 'renameDomain':
        return rename(host, machine, effect);
      case 'destroyDomain':
        refuseStopping(host, machine, `went to ${session.peer}`);
        beginTeardown(host, machine);
        return 'underWay';
    }
  }

  /** The first patience is for the guest's acknowledgement; where that came, another is for standing still. */
  waitsOn(session: SourceSession): boolean {
    const { nowUs } = this.host.state;
    const acknowledged = this.machineOf(session)?.guest.stopping === 'suspend';
    const patienceUs = SUSPEND_ACK_TIMEOUT_US + SUSPEND_TIMEOUT_US;
    if (!acknowledged || nowUs >= session.roundBeganUs + patienceUs) return false;
    planEffect(this.planner, session, nowUs + SUSPEND_TIMEOUT_US);
    return true;
  }

  withdraw(session: SourceSession): void {
    const machine = this.machineOf(session);
    if (machine) withdrawSuspend(this.host, machine);
  }

  private machineOf({ uid, incarnation }: SourceSession): Machine | null {
    const machine = this.host.state.machines[uid];
    return machine?.incarnation === incarnation ? machine : null;
  }

  private squash(session: SourceSession, machine: Machine): Carried {
    const { host } = this;
    const { dynamicMinBytes, dynamicMaxBytes } = machine.settings;
    if (dynamicMinBytes >= dynamicMaxBytes || !hasFrontends(machine) || !host.timing.timedDevices) return 'done';
    setTarget(host, machine, dynamicMinBytes);
    const pages = pagesOf(host, machine.domid) - dynamicMinBytes / PAGE_BYTES;
    const neededUs = Math.ceil((pages * US_PER_SECOND) / DEFAULT_BALLOON_RATE) + US_PER_SECOND;
    planEffect(this.planner, session, host.state.nowUs + Math.min(SQUASH_PATIENCE_US, neededUs));
    return 'underWay';
  }

  private suspend(session: SourceSession, machine: Machine): Carried {
    const { host } = this;
    if (machine.phase === 'suspended') return 'done';
    session.roundBeganUs = host.state.nowUs;
    planEffect(this.planner, session, host.state.nowUs + SUSPEND_ACK_TIMEOUT_US);
    askToSuspend(host, machine);
    return 'underWay';
  }
}
