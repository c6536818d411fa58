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

/** The flavours of the machines that run, and what of a host's free capacity none of them could use. (FGD, USENIX ATC'23.) */
export class FlavourMix {
  private readonly flavours = new Map<string, Counted>();
  private shares = new Float64Array(0);
  private memory = new Float64Array(0);
  private vcpus = new Float64Array(0);
  private changes = 0;
  private machines = 0;
  private sorted = false;

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
  fragmentation(free: { memoryBytes: number; vcpus: number }, host: { memoryBytes: number; vcpus: number }): number {
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
    this.sorted = true;
    this.changes = 0;
  }
}
