/**
 * Buckets of hosts by what they have free, two for each doubling of memory and of vCPUs: a host whose bucket is before a request's in either has too little,
 * and the buckets just behind it hold the tightest fits.
 */
const STEPS_PER_DOUBLING = 2;
/** 1 MiB: what is less than that fits no machine. */
const LEAST_MEMORY_EXPONENT = 20;
/** 2^48 bytes and 2^16 vCPUs: more than any host has. */
const MEMORY_ROWS = (48 - LEAST_MEMORY_EXPONENT) * STEPS_PER_DOUBLING;
const VCPU_COLUMNS = 16 * STEPS_PER_DOUBLING;

const clamped = (value: number, size: number): number => Math.min(size - 1, Math.max(0, Math.floor(value)));

export const memoryRow = (bytes: number): number =>
  bytes <= 0 ? 0 : clamped((Math.log2(bytes) - LEAST_MEMORY_EXPONENT) * STEPS_PER_DOUBLING, MEMORY_ROWS);

export const vcpuColumn = (vcpus: number): number =>
  vcpus < 1 ? 0 : clamped(Math.log2(vcpus) * STEPS_PER_DOUBLING, VCPU_COLUMNS);

export const bucketAt = (row: number, column: number): number => row * VCPU_COLUMNS + column;

export const freeBucket = (memoryBytes: number, vcpus: number): number =>
  bucketAt(memoryRow(memoryBytes), vcpuColumn(vcpus));

const DIAGONALS = MEMORY_ROWS + VCPU_COLUMNS;
/** Lists of buckets by how much wider than the request they are: the first of each diagonal, and the next one for each bucket. */
const firstOf = new Int32Array(DIAGONALS);
const nextOf = new Int32Array(MEMORY_ROWS * VCPU_COLUMNS);
const NONE = -1;

/**
 * Calls with the occupied buckets that may hold a fit, tightest first, until it answers true. A row of buckets is one word of `occupied`, as there are 32
 * columns.
 */
export const fromTightest = (
  occupied: Uint32Array,
  demand: { readonly memoryBytes: number; readonly vcpus: number },
  visit: (bucket: number) => boolean,
): void => {
  const [firstRow, firstColumn] = [memoryRow(demand.memoryBytes), vcpuColumn(demand.vcpus)];
  firstOf.fill(NONE);
  const rows = Math.min(MEMORY_ROWS, occupied.length);
  for (let row = firstRow; row < rows; row += 1) {
    let bits = (occupied[row] ?? 0) & (-1 << firstColumn);
    while (bits !== 0) {
      const column = 31 - Math.clz32(bits & -bits);
      const bucket = bucketAt(row, column);
      const diagonal = row - firstRow + column - firstColumn;
      nextOf[bucket] = firstOf[diagonal] ?? NONE;
      firstOf[diagonal] = bucket;
      bits &= bits - 1;
    }
  }
  for (let diagonal = 0; diagonal < DIAGONALS; diagonal += 1)
    for (let bucket = firstOf[diagonal] ?? NONE; bucket !== NONE; bucket = nextOf[bucket] ?? NONE)
      if (visit(bucket)) return;
};

/** The occupied buckets of hosts that have too little memory for a demand, or about as much, those of most memory first, until a row of buckets answers true. */
export const fromMostMemory = (
  occupied: Uint32Array,
  memoryBytes: number,
  row: (buckets: readonly number[]) => boolean,
): void => {
  for (let at = Math.min(memoryRow(memoryBytes), occupied.length - 1); at >= 0; at -= 1) {
    const buckets: number[] = [];
    for (let bits = occupied[at] ?? 0; bits !== 0; bits &= bits - 1)
      buckets.push(bucketAt(at, 31 - Math.clz32(bits & -bits)));
    if (buckets.length > 0 && row(buckets)) return;
  }
};

/** Hosts by how full they are, in the dimension of which they have least left; what is offered counts. The last bucket is of those that are full. */
const LOAD_STEPS = 256;
export const LOAD_BUCKETS = LOAD_STEPS + 1;

/**
 * Calls with the occupied buckets of some partitions, emptiest first, until it answers true. `next`: the first occupied bucket from one on, or a negative
 * number.
 */
export const fromEmptiest = (
  partitions: readonly number[],
  next: (bucket: number) => number,
  visit: (bucket: number) => boolean,
): void => {
  for (let step = 0; step < LOAD_BUCKETS;) {
    let following = LOAD_BUCKETS;
    for (const partition of partitions) {
      const first = partition * LOAD_BUCKETS;
      let found = next(first + step) - first;
      if (found === step) {
        if (visit(first + step)) return;
        found = next(first + step + 1) - first;
      }
      if (found > step && found < following) following = found;
    }
    step = following;
  }
};

export interface Loads {
  readonly memory: Float64Array;
  readonly usedMemory: Float64Array;
  readonly offeredMemory: Float64Array;
  readonly vcpus: Float64Array;
  readonly usedVcpus: Float64Array;
  readonly offeredVcpus: Float64Array;
}

/** 0 to 1 and above: the fuller of memory and vCPUs, with so much more on the host. */
export const loadOf = (loads: Loads, slot: number, memoryBytes: number, vcpus: number): number => {
  const memory =
    ((loads.usedMemory[slot] ?? 0) + (loads.offeredMemory[slot] ?? 0) + memoryBytes) / (loads.memory[slot] ?? 1);
  const cpu = ((loads.usedVcpus[slot] ?? 0) + (loads.offeredVcpus[slot] ?? 0) + vcpus) / (loads.vcpus[slot] ?? 1);
  return memory > cpu ? memory : cpu;
};

export const loadBucket = (loads: Loads, slot: number): number => {
  const load = loadOf(loads, slot, 0, 0);
  // A host without memory or CPUs is as full as can be.
  return load < 1 ? Math.floor(load * LOAD_STEPS) : LOAD_STEPS;
};
