import { assert, present, uuidFrom, type Clock, type Uuid } from '@xenolith/kernel';
import {
  timingFor,
  emulatedHostModel,
  type DomainFigures,
  type DomainOrder,
  type DomainView,
  type HostEvent,
  type HostFigures,
  type HostInput,
  type HostMake,
  type EmulatedHostModel,
  type EmulatedHostState,
  type HostToolName,
  type MortalDaemon,
  type ProfileName,
  type ToolOutput,
} from '@xenolith/xen';
import { grown, type DomainSamples } from './domain-samples.js';
import type { TimerQueue } from './timer-queue.js';

/** Keeps the texts of hosts at rest small. `unpack(pack(text))` is `text`. */
export interface TextPacker {
  pack(text: string): string;
  unpack(packed: string): string;
}

/** What is asked of a host all the time, and does not change while nothing happens to it. */
interface Rest {
  readonly bootId: Uuid;
  readonly up: boolean;
  readonly off: boolean;
  readonly inventory: readonly DomainView[];
  readonly figures: HostFigures;
  readonly lostDaemons: readonly MortalDaemon[];
}

/** One emulated host. */
export interface HostSlot {
  readonly name: string;
  /** Stable over restarts, crashes and lost data folders: the host keeps its identity as hardware does. */
  readonly uid: Uuid;
  /** True until something happened to the host: such a host needs no place in a snapshot. */
  readonly pristine: boolean;
  /** Grows whenever something happens. */
  readonly version: number;
}

interface OwnSlot extends HostSlot {
  pristine: boolean;
  version: number;
  /** Null while the host is packed, and while nothing has happened to it. */
  state: EmulatedHostState | null;
  packed: string | null;
  rest: Rest | null;
  /** Figures of the domains while nothing happens. */
  still: DomainSamples | null;
  touchedAt: number;
  due: { readonly at: number; readonly cancel: () => void } | null;
}

/** What a host is; its hardware is the fleet's unless it is told. */
export type MadeHost = Omit<HostMake, 'profile'> & Partial<Pick<HostMake, 'profile'>>;

/** Between the two looks at a host that tell how its figures grow. */
const SAMPLE_SPAN_MS = 10_000;

export const hostUid = (name: string): Uuid => uuidFrom('host', name);

export interface FleetOrigin {
  readonly at: number;
  readonly seed: string;
  readonly profile: ProfileName;
}

export interface FleetPorts {
  readonly clock: Clock;
  readonly timers: TimerQueue;
  /** Absent: hosts at rest stay as they are. */
  readonly packer?: TextPacker | undefined;
}

/** The emulated hosts of one agent on their virtual time, which never goes back. */
export class Fleet {
  private readonly slots = new Map<string, OwnSlot>();
  private model: EmulatedHostModel = emulatedHostModel(timingFor(0));
  /** Hosts that are not the usual ones. */
  private readonly makes = new Map<string, MadeHost>();
  /** Null until the journal has told, or was found empty: until then there is no host to look at. */
  private origin: FleetOrigin | null = null;
  private time = 0;
  /** While the journal is read, what falls due waits for the next line or for the end. */
  private live = false;

  constructor(
    private readonly ports: FleetPorts,
    private readonly onEvent: (slot: HostSlot, event: HostEvent) => void,
  ) {}

  born(origin: FleetOrigin): void {
    this.origin = origin;
    this.time = Math.max(this.time, origin.at);
  }

  /** From `at` on guests and hosts boot in this time; what fell due before took the time that was in force then. */
  setBootTime(bootTimeMs: number, at: number): void {
    this.moveTo(at);
    for (const slot of this.slots.values())
      if (!slot.pristine) this.accept(slot, this.model.advance(this.stateOf(slot), at));
    this.model = emulatedHostModel(timingFor(bootTimeMs));
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
    return this.own(name);
  }

  private own(name: string): OwnSlot {
    const known = this.slots.get(name);
    if (known) return known;
    const slot: OwnSlot = {
      name,
      uid: hostUid(name),
      pristine: true,
      version: 0,
      state: null,
      packed: null,
      rest: null,
      still: null,
      touchedAt: 0,
      due: null,
    };
    this.slots.set(name, slot);
    return slot;
  }

  /** The host as `save` wrote it. */
  restore(name: string, saved: string): void {
    const slot = this.own(name);
    slot.packed = saved;
    slot.state = null;
    slot.rest = null;
    slot.still = null;
    slot.pristine = false;
    this.time = Math.max(this.time, this.model.timeOf(this.stateOf(slot)));
  }

  /** The host as text that does not change any more. */
  save(slot: HostSlot): string {
    const own = this.own(slot.name);
    return own.packed ?? this.packedText(this.stateOf(own));
  }

  /** Lets everything that fell due while nobody looked happen, then follows the clock. */
  goLive(): void {
    this.live = true;
    for (const slot of this.slots.values()) if (!slot.pristine) this.wake(slot);
  }

  apply(slot: HostSlot, input: HostInput, at: number): void {
    const own = this.own(slot.name);
    own.pristine = false;
    this.accept(own, this.model.apply(this.stateOf(own), input, at));
  }

  *all(): Generator<HostSlot> {
    yield* this.slots.values();
  }

  /** Packs the hosts that nothing has happened to since `before` and that nothing is about to happen to. */
  packIdle(before: number): void {
    if (!this.ports.packer) return;
    for (const slot of this.slots.values()) {
      if (slot.state === null || slot.touchedAt >= before || this.model.nextDue(slot.state) !== null) continue;
      this.restOf(slot);
      slot.still = this.samplesOf(slot);
      if (!slot.pristine) slot.packed = this.packedText(slot.state);
      slot.state = null;
    }
  }

  isUp(slot: HostSlot): boolean {
    return this.restOf(slot).up;
  }

  isOff(slot: HostSlot): boolean {
    return this.restOf(slot).off;
  }

  bootId(slot: HostSlot): Uuid {
    return this.restOf(slot).bootId;
  }

  /** Fixes what a host is, before anybody looks at it. */
  make(name: string, made: MadeHost): void {
    assert(this.own(name).state === null, `${name} was looked at before it was said what it is`);
    this.makes.set(name, made);
  }

  /** Hosts that are not the usual ones. */
  made(): Iterable<readonly [host: string, MadeHost]> {
    return this.makes;
  }

  makeOf(name: string): HostMake {
    return { hypervisor: 'xen', profile: this.begun().profile, ...this.makes.get(name) };
  }

  /** Domains that exist; those being torn down are left out. */
  inventory(slot: HostSlot): readonly DomainView[] {
    return this.restOf(slot).inventory;
  }

  /** Daemons that should run on the host and do not. */
  lostDaemons(slot: HostSlot): readonly MortalDaemon[] {
    return this.restOf(slot).lostDaemons;
  }

  figures(slot: HostSlot): HostFigures {
    return this.restOf(slot).figures;
  }

  /** As of now. A host that is put away is not taken out for this: what grows there, grows evenly. */
  domainFigures(slot: HostSlot): readonly DomainFigures[] {
    const own = this.own(slot.name);
    const now = this.now();
    if (own.state !== null) return this.model.domainFigures(own.state, now);
    own.still ??= this.samplesOf(own);
    return grown(own.still, now);
  }

  private samplesOf(own: OwnSlot): DomainSamples {
    const at = this.now();
    const state = own.state ?? (own.packed === null ? this.newborn(own.name) : this.unpacked(own.packed));
    return {
      at,
      spanMs: SAMPLE_SPAN_MS,
      first: this.model.domainFigures(state, at),
      second: this.model.domainFigures(state, at + SAMPLE_SPAN_MS),
    };
  }

  /** What a tool in the host's control domain prints. */
  tool(slot: HostSlot, tool: HostToolName, args: readonly string[]): ToolOutput {
    return this.model.tool(this.stateOf(this.own(slot.name)), { tool, args, at: this.now() });
  }

  /** What a call of a tool wants done to a domain, or the tool's refusal; null: it only looks. */
  order(slot: HostSlot, tool: HostToolName, args: readonly string[]): DomainOrder | ToolOutput | null {
    return this.model.order(this.stateOf(this.own(slot.name)), { tool, args });
  }

  private packedText(state: EmulatedHostState): string {
    const text = JSON.stringify(state);
    return this.ports.packer?.pack(text) ?? text;
  }

  private stateOf(slot: OwnSlot): EmulatedHostState {
    if (slot.state !== null) return slot.state;
    slot.touchedAt = this.time;
    slot.state = slot.packed === null ? this.newborn(slot.name) : this.unpacked(slot.packed);
    slot.packed = null;
    return slot.state;
  }

  private begun(): FleetOrigin {
    return present(this.origin, 'a host is looked at once its fleet is born');
  }

  private newborn(name: string): EmulatedHostState {
    const { seed, at } = this.begun();
    return this.model.create({ name, seed, at, ...this.makeOf(name) });
  }

  private unpacked(packed: string): EmulatedHostState {
    return JSON.parse(this.ports.packer?.unpack(packed) ?? packed) as EmulatedHostState;
  }

  private restOf(slot: HostSlot): Rest {
    const own = this.own(slot.name);
    own.rest ??= this.lookAt(this.stateOf(own));
    return own.rest;
  }

  private lookAt(state: EmulatedHostState): Rest {
    return {
      bootId: this.model.bootId(state),
      up: this.model.isUp(state),
      off: this.model.isOff(state),
      inventory: this.model.inventory(state),
      figures: this.model.figures(state),
      lostDaemons: this.model.lostDaemons(state),
    };
  }

  private wake(slot: OwnSlot): void {
    this.accept(slot, this.model.advance(this.stateOf(slot), this.now()));
  }

  private accept(slot: OwnSlot, events: readonly HostEvent[]): void {
    slot.rest = null;
    slot.still = null;
    slot.version += 1;
    slot.touchedAt = this.time;
    this.schedule(slot);
    for (const event of events) this.onEvent(slot, event);
  }

  private schedule(slot: OwnSlot): void {
    if (!this.live) return;
    const dueAt = this.model.nextDue(this.stateOf(slot));
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
