import { uuidFrom, type Clock, type Uuid } from '@xenolith/kernel';
import {
  simpleHostModel,
  timingFor,
  type HostEvent,
  type HostInput,
  type HostModel,
  type HostState,
  type ProfileName,
} from '@xenolith/xen';
import type { TimerQueue } from './timer-queue.js';

/** One emulated host. */
export interface HostSlot {
  readonly name: string;
  /** Stable over restarts, crashes and lost data folders: the host keeps its identity as hardware does. */
  readonly uid: Uuid;
  state: HostState;
  /** True until something happened to the host: such a host needs no place in a snapshot. */
  pristine: boolean;
  due: { readonly at: number; readonly cancel: () => void } | null;
}

export const hostUid = (name: string): Uuid => uuidFrom('host', name);

export interface FleetOrigin {
  readonly at: number;
  readonly seed: string;
  readonly profile: ProfileName;
}

/** The emulated hosts of one agent on their virtual time, which never goes back. */
export class Fleet {
  private readonly slots = new Map<string, HostSlot>();
  private model: HostModel<HostState> = simpleHostModel(timingFor(0));
  private origin: FleetOrigin = { at: 0, seed: '', profile: '2x8-128' };
  private time = 0;
  /** While the journal is read, what falls due waits for the next line or for the end. */
  private live = false;

  constructor(
    private readonly ports: { readonly clock: Clock; readonly timers: TimerQueue },
    private readonly onEvent: (slot: HostSlot, event: HostEvent) => void,
  ) {}

  born(origin: FleetOrigin): void {
    this.origin = origin;
    this.time = Math.max(this.time, origin.at);
  }

  /** From `at` on guests and hosts boot in this time; what fell due before took the time that was in force then. */
  setBootTime(bootTimeMs: number, at: number): void {
    this.moveTo(at);
    for (const slot of this.slots.values()) {
      const { state, events } = this.model.advance(slot.state, at);
      this.accept(slot, state, events);
    }
    this.model = simpleHostModel(timingFor(bootTimeMs));
  }

  /** Virtual time in milliseconds since the epoch. */
  now(): number {
    this.time = Math.max(this.time, this.ports.clock.now());
    return this.time;
  }

  /** As `now`, while the journal is read: its times rule. */
  moveTo(at: number): void {
    this.time = Math.max(this.time, at);
  }

  slot(name: string): HostSlot {
    const known = this.slots.get(name);
    if (known) return known;
    const state = this.model.create({ name, seed: this.origin.seed, profile: this.origin.profile, at: this.origin.at });
    const slot: HostSlot = { name, uid: hostUid(name), state, pristine: true, due: null };
    this.slots.set(name, slot);
    return slot;
  }

  restore(name: string, state: HostState): void {
    const slot = this.slot(name);
    slot.state = state;
    slot.pristine = false;
    this.time = Math.max(this.time, state.at);
  }

  /** Lets everything that fell due while nobody looked happen, then follows the clock. */
  goLive(): void {
    this.live = true;
    for (const slot of this.slots.values()) this.wake(slot);
  }

  apply(slot: HostSlot, input: HostInput, at: number): void {
    slot.pristine = false;
    const { state, events } = this.model.apply(slot.state, input, at);
    this.accept(slot, state, events);
  }

  *all(): Generator<HostSlot> {
    yield* this.slots.values();
  }

  isUp(slot: HostSlot): boolean {
    return this.model.isUp(slot.state);
  }

  get view(): Pick<HostModel<HostState>, 'bootId' | 'profile' | 'inventory' | 'figures' | 'domainFigures'> {
    return this.model;
  }

  private wake(slot: HostSlot): void {
    const { state, events } = this.model.advance(slot.state, this.now());
    this.accept(slot, state, events);
  }

  private accept(slot: HostSlot, state: HostState, events: readonly HostEvent[]): void {
    slot.state = state;
    this.schedule(slot);
    for (const event of events) this.onEvent(slot, event);
  }

  private schedule(slot: HostSlot): void {
    if (!this.live) return;
    const dueAt = this.model.nextDue(slot.state);
    if (slot.due?.at === dueAt) return;
    slot.due?.cancel();
    slot.due = null;
    if (dueAt === null) return;
    const cancel = this.ports.timers.at(dueAt, () => {
      slot.due = null;
      this.wake(slot);
    });
    slot.due = { at: dueAt, cancel };
  }
}
