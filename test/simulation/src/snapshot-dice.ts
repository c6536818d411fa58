import { virtualMachineKind, virtualMachineSnapshotKind } from '@xenolith/contracts';
import type { JsonObject, Random, StoredDocument } from '@xenolith/kernel';
import type { Users } from './users.js';

/** Names are few, so that users meet. */
const NAMES = 6;

const CATEGORY = 'virtualmachinesnapshot';

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
    if (drawn < 5) this.take();
    else if (drawn < 9) this.revert();
    else this.delete();
  }

  private take(): void {
    const machine = this.pick(virtualMachineKind.kind.toLowerCase());
    if (!machine) return;
    const { random } = this;
    const name = random.chance(0.3) ? { name: `snapshot-${random.below(NAMES)}` } : {};
    this.users.act(machine, random.pick(['snapshot', 'checkpoint', 'checkpoint']), name);
  }

  private revert(): void {
    const snapshot = this.pick(CATEGORY);
    if (!snapshot) return;
    const machine = this.users
      .documents(virtualMachineKind.kind.toLowerCase())
      .find((stored) => nameOf(stored) === machineOf(snapshot));
    if (machine) this.users.act(machine, 'revert', { to: nameOf(snapshot) });
  }

  private delete(): void {
    const snapshot = this.pick(CATEGORY);
    if (snapshot) this.users.delete(virtualMachineSnapshotKind, snapshot.streamId, 'Background');
  }

  private pick(category: string): StoredDocument | undefined {
    const all = this.users.documents(category);
    return all.length === 0 ? undefined : this.random.pick(all);
  }
}
