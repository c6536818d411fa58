import { hashOf, type Uuid } from '@xenolith/kernel';
import type { DeviceFault, HostEvent } from '@xenolith/xen';
import type { FaultRules } from './fault-rules.js';
import type { Fleet, HostSlot } from './fleet.js';
import type { EntryOf, JournalEntry } from './journal.js';

const NONE = hashOf([]);

export interface DeviceFaultParts {
  readonly fleet: Fleet;
  readonly faults: FaultRules;
  readonly keep: (entry: JournalEntry) => Promise<void>;
  /** Is told of each firing of a rule. */
  readonly onFired: (rule: Uuid) => void;
}

/**
 * Tells hosts what shall go wrong inside them. Each telling is an input of the host with its time, and so a line of the journal. A host that nothing has
 * happened to yet hears of it with its first command, so that a rule for all hosts wakes none of those that rest.
 */
export class DeviceFaults {
  /** What each host was told last. */
  private readonly told = new Map<string, string>();

  constructor(private readonly parts: DeviceFaultParts) {}

  /** Before a host does something: it knows what goes wrong, and how often it may yet. */
  prepare(slot: HostSlot): void {
    const { fleet, faults, keep } = this.parts;
    const wanted = faults.onDevices(slot.name);
    if (wanted.length === 0 && !this.told.has(slot.name)) return;
    const hash = hashOf(wanted);
    if ((this.told.get(slot.name) ?? NONE) === hash) return;
    const entry: EntryOf<'faults'> = { k: 'faults', at: fleet.now(), host: slot.name, faults: wanted };
    void keep(entry);
    this.recover(entry);
  }

  /** The rules changed. */
  rulesChanged(slot: HostSlot): void {
    const { faults } = this.parts;
    // A daemon that is to die does so although nothing has happened to its host.
    if (!slot.pristine || faults.killsDaemon(slot.name)) this.prepare(slot);
  }

  /** The journal has been read: what could not be told before the last end is told now. */
  goLive(slots: Iterable<HostSlot>): void {
    for (const slot of slots) this.rulesChanged(slot);
  }

  /** A host was struck by a rule. A rule that has struck as often as it may ends on all hosts at once. */
  struck(slot: HostSlot, event: HostEvent & { type: 'faultStruck' }, live: boolean): void {
    const { fleet, faults, onFired } = this.parts;
    faults.count(event.rule, slot.name, event.what);
    if (!live) return;
    onFired(event.rule);
    if (faults.isExhausted(slot.name, event.rule))
      for (const other of fleet.all()) if (this.told.has(other.name)) this.rulesChanged(other);
  }

  recover({ host, at, faults }: EntryOf<'faults'>): void {
    const { fleet } = this.parts;
    this.told.set(host, hashOf(faults));
    fleet.apply(fleet.slot(host), { do: 'setFaults', faults: faults as unknown as readonly DeviceFault[] }, at);
  }

  /** The host was brought back with what it had been told. */
  restore(host: string, told: string | undefined): void {
    if (told !== undefined) this.told.set(host, told);
  }

  toldTo(host: string): string | undefined {
    return this.told.get(host);
  }
}
