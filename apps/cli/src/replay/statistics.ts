/** How full the hosts were at one moment; shares are of those hosts that held a machine. */
export interface DensitySample {
  /** Day of the trace. */
  readonly day: number;
  /** Seconds since the replay began. */
  readonly seconds: number;
  readonly machines: number;
  readonly hostsUsed: number;
  readonly cpuShare: number;
  readonly memoryShare: number;
}

export interface RefusalGroup {
  readonly reason: string;
  readonly count: number;
  /** The words of one of them. */
  readonly example: string;
}

export interface Summary {
  readonly trace: string;
  readonly machines: number;
  readonly hosts: number;
  /** How many of the trace's servers each host stands for. */
  readonly scale: number;
  readonly seconds: number;
  readonly interrupted: boolean;
  readonly accepted: number;
  readonly running: number;
  readonly refused: number;
  readonly refusals: readonly RefusalGroup[];
  /** Deleted in the trace's course. */
  readonly deleted: number;
  /** Machines brought to Running in each second. */
  readonly runningPerSecond: number;
  /** From the request to Running, in milliseconds; null when no machine ran. */
  readonly latencyMs: { readonly p50: number; readonly p90: number; readonly p99: number; readonly max: number } | null;
  readonly density: readonly DensitySample[];
}

/** The value that `share` of the sorted values do not exceed (nearest rank). */
export const percentile = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(share * sorted.length) - 1))] ?? 0;

export const latencyOf = (latencies: readonly number[]): Summary['latencyMs'] => {
  if (latencies.length === 0) return null;
  const sorted = [...latencies].sort((left, right) => left - right);
  const at = (share: number): number => Math.round(10 * percentile(sorted, share)) / 10;
  return { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1) };
};

/** Groups that are told apart; the rest are counted as one. */
const MOST_GROUPS = 12;

/** Refusals of one kind differ in names and numbers only. */
const kindOf = (message: string): string =>
  message
    .replaceAll(/"[^"]*"/g, '"…"')
    .replaceAll(/\b(?=\w*\d)[\w.-]+/g, '…')
    .slice(0, 300);

/** Counts refusals by their kind, most frequent first. */
export class Refusals {
  private readonly groups = new Map<string, { reason: string; count: number; example: string }>();

  add(reason: string, message: string): void {
    const kind = `${reason}: ${kindOf(message)}`;
    const group = this.groups.get(kind);
    if (group) group.count += 1;
    else this.groups.set(kind, { reason, count: 1, example: message });
  }

  list(): readonly RefusalGroup[] {
    const sorted = [...this.groups.values()].sort((left, right) => right.count - left.count);
    const rest = sorted.slice(MOST_GROUPS).reduce((sum, { count }) => sum + count, 0);
    const shown: RefusalGroup[] = sorted.slice(0, MOST_GROUPS);
    return rest === 0 ? shown : [...shown, { reason: 'Other', count: rest, example: 'of other kinds' }];
  }
}

/** Which machine takes how much of which host. */
export class Usage {
  private readonly hosts = new Map<string, { machines: number; vcpus: number; bytes: number }>();
  private placed = 0;

  constructor(
    private readonly capacityOf: (host: string) => { readonly vcpus: number; readonly memoryBytes: number },
  ) {}

  add(host: string, size: { readonly vcpus: number; readonly reservedBytes: number }): void {
    const used = this.hosts.get(host) ?? { machines: 0, vcpus: 0, bytes: 0 };
    used.machines += 1;
    used.vcpus += size.vcpus;
    used.bytes += size.reservedBytes;
    this.hosts.set(host, used);
    this.placed += 1;
  }

  remove(host: string, size: { readonly vcpus: number; readonly reservedBytes: number }): void {
    const used = this.hosts.get(host);
    if (!used) return;
    used.machines -= 1;
    used.vcpus -= size.vcpus;
    used.bytes -= size.reservedBytes;
    this.placed -= 1;
    if (used.machines === 0) this.hosts.delete(host);
  }

  sample(day: number, seconds: number): DensitySample {
    let [vcpus, bytes, vcpusOffered, bytesOffered] = [0, 0, 0, 0];
    for (const [host, used] of this.hosts) {
      const capacity = this.capacityOf(host);
      vcpus += used.vcpus;
      bytes += used.bytes;
      vcpusOffered += capacity.vcpus;
      bytesOffered += capacity.memoryBytes;
    }
    const share = (used: number, offered: number): number =>
      offered === 0 ? 0 : Math.round((1000 * used) / offered) / 1000;
    return {
      day,
      seconds: Math.round(10 * seconds) / 10,
      machines: this.placed,
      hostsUsed: this.hosts.size,
      cpuShare: share(vcpus, vcpusOffered),
      memoryShare: share(bytes, bytesOffered),
    };
  }
}
