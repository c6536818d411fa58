import { categoryOf, virtualMachineKind, virtualMachineSnapshotKind } from '@xenolith/contracts';
import type { JsonObject, Random, StoredDocument } from '@xenolith/kernel';
import type { Users } from './users.js';

/** Names are few, so that users meet. */
const NAMES = 6;

const CATEGORY = categoryOf(virtualMachineSnapshotKind);
const MACHINE_CATEGORY = categoryOf(virtualMachineKind);

const hasState = ({ document }: StoredDocument): boolean => {
  const { powerState, disks } = document['status'] as { powerState: string; disks: readonly unknown[] };
  return powerState !== 'Halted' && disks.length > 0;
};

const machineOf = ({ document }: StoredDocument): unknown => (document['spec'] as JsonObject)['virtualMachine'];

const nameOf = ({ document }: StoredDocument): string => (document['metadata'] as { name: string }).name;

/** What the dice make users do with snapshots: take them, put machines back to them, delete them. */
export class SnapshotDice {
  constructor(
    private readonly users: Users,
    private readonly random: Random,
  ) {}

  act(): void {
    const drawn = this.random.below(10);
    const snapshot = this.pick(CATEGORY, () => true);
    if (snapshot === undefined || drawn < 4) this.take();
    else if (drawn < 9) this.revert(snapshot);
    else this.users.delete(virtualMachineSnapshotKind, snapshot.streamId, 'Background');
  }

  private take(): void {
    const { random } = this;
    // Mostly of what has a memory, and disks that can be taken.
    const wanted = random.chance(0.8) ? hasState : () => true;
    const machine = this.pick(MACHINE_CATEGORY, wanted);
    if (!machine) return;
    const name = random.chance(0.3) ? { name: `snapshot-${random.below(NAMES)}` } : {};
    this.users.act(machine, random.pick(['snapshot', 'checkpoint', 'checkpoint']), name);
  }

  private revert(snapshot: StoredDocument): void {
    const machine = this.users.documents(MACHINE_CATEGORY).find((stored) => nameOf(stored) === machineOf(snapshot));
    if (machine) this.users.act(machine, 'revert', { to: nameOf(snapshot) });
  }

  private pick(category: string, wanted: (stored: StoredDocument) => boolean): StoredDocument | undefined {
    const all = this.users.documents(category).filter(wanted);
    return all.length === 0 ? undefined : this.random.pick(all);
  }
}
