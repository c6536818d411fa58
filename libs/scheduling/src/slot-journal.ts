/** Changes that are kept: of more it is as quick to look at every host again, as the largest fleets have that many. */
const CHANGES_KEPT = 2 ** 16;

/** Which slots changed last, so that what was found of all hosts at one revision is made true again by a look at few. */
export class SlotJournal {
  private readonly slots = new Int32Array(CHANGES_KEPT);
  private newest: number;

  /** Changes up to revision `begun` are not known here. */
  constructor(private readonly begun = 0) {
    this.newest = begun;
  }

  /** Grows with each change. */
  get revision(): number {
    return this.newest;
  }

  note(slot: number): void {
    this.slots[this.newest % CHANGES_KEPT] = slot;
    this.newest += 1;
  }

  /** Whether all changes after a revision are still known. */
  knows(revision: number): boolean {
    return revision >= this.begun && this.newest - revision <= CHANGES_KEPT;
  }

  /** Calls with the slot of each change after a revision that is known, the oldest first; one that changed often comes as often. */
  since(revision: number, visit: (slot: number) => void): void {
    for (let change = revision; change < this.newest; change += 1) visit(this.slots[change % CHANGES_KEPT] ?? 0);
  }
}
