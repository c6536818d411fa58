/** Flavours that a host's leftover is judged by: the ones most asked for make up nearly all that comes. */
const FLAVOURS_JUDGED = 8;
/** Flavours that are counted; of more, those with few machines are dropped. */
const FLAVOURS_COUNTED = 4_096;
/** The mix moves slowly: it is sorted again after so many changes. */
const CHANGES_PER_SORT = 4_096;

interface Counted {
  readonly vcpus: number;
  readonly memoryBytes: number;
  machines: number;
}

interface Room {
  readonly memoryBytes: number;
  readonly vcpus: number;
}

/** What a host's fragmentation was found from, and it: free memory and vCPUs, the host's own, the share. */
const REMEMBERED = 5;

/** The flavours of the machines that run, and what of a host's free capacity none of them could use. (FGD, USENIX ATC'23.) */
export class FlavourMix {
  private readonly flavours = new Map<string, Counted>();
  private shares = new Float64Array(0);
  private memory = new Float64Array(0);
  private vcpus = new Float64Array(0);
  private changes = 0;
  private machines = 0;
  private sorted = false;
  /** By slot: most hosts are as they were when they were looked at last. */
  private remembered = new Float64Array(64 * REMEMBERED).fill(Number.NaN);

  count(flavour: { readonly vcpus: number; readonly memoryBytes: number }, change: 1 | -1): void {
    const { vcpus, memoryBytes } = flavour;
    const key = `${vcpus}/${memoryBytes}`;
    const known = this.flavours.get(key);
    if (known) {
      known.machines += change;
      if (known.machines <= 0) this.flavours.delete(key);
    } else if (change > 0 && this.flavours.size < FLAVOURS_COUNTED)
      this.flavours.set(key, { vcpus, memoryBytes, machines: 1 });
    this.changes += 1;
    this.machines += change;
    // A small mix is sorted soon, one of many machines seldom.
    if (this.changes >= CHANGES_PER_SORT || this.changes * 8 > this.machines) this.sorted = false;
  }

  /**
   * Share of a host, 0 to 1, that is free and of no use to the mix: for each flavour what is left when as many of it as fit are there, weighed by how many
   * machines of it run.
   */
  fragmentation(free: Room, host: Room): number {
    if (!this.sorted) this.sort();
    let stranded = 0;
    for (let flavour = 0; flavour < this.shares.length; flavour += 1) {
      const [memory, vcpus] = [this.memory[flavour] ?? 1, this.vcpus[flavour] ?? 1];
      const byMemory = Math.floor(free.memoryBytes / memory);
      const byVcpus = Math.floor(free.vcpus / vcpus);
      const fit = byMemory < byVcpus ? byMemory : byVcpus;
      const left = (free.memoryBytes - fit * memory) / host.memoryBytes + (free.vcpus - fit * vcpus) / host.vcpus;
      stranded += (this.shares[flavour] ?? 0) * left;
    }
    return stranded / 2;
  }

  /** The same of a host as it is, which changes less often than it is asked for. */
  fragmentationOf(slot: number, free: Room, host: Room): number {
    if (!this.sorted) this.sort();
    const at = slot * REMEMBERED;
    if (at >= this.remembered.length) this.grow(at);
    const { remembered } = this;
    const same =
      remembered[at] === free.memoryBytes &&
      remembered[at + 1] === free.vcpus &&
      remembered[at + 2] === host.memoryBytes &&
      remembered[at + 3] === host.vcpus;
    if (same) return remembered[at + 4] ?? 0;
    const found = this.fragmentation(free, host);
    remembered.set([free.memoryBytes, free.vcpus, host.memoryBytes, host.vcpus, found], at);
    return found;
  }

  private grow(at: number): void {
    const larger = new Float64Array(at * 2).fill(Number.NaN);
    larger.set(this.remembered);
    this.remembered = larger;
  }

  private sort(): void {
    const top = [...this.flavours.values()]
      .sort(
        (left, right) =>
          right.machines - left.machines || left.memoryBytes - right.memoryBytes || left.vcpus - right.vcpus,
      )
      .slice(0, FLAVOURS_JUDGED);
    const machines = top.reduce((sum, flavour) => sum + flavour.machines, 0);
    this.shares = Float64Array.from(top, (flavour) => flavour.machines / machines);
    this.memory = Float64Array.from(top, (flavour) => flavour.memoryBytes);
    this.vcpus = Float64Array.from(top, (flavour) => flavour.vcpus);
    this.remembered.fill(Number.NaN);
    this.sorted = true;
    this.changes = 0;
  }
}
