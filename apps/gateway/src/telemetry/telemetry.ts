import {
  DOMAIN_FIGURES_INTERVAL_MS,
  heartbeat,
  HEARTBEAT_TIMEOUT_MS,
  telemetrySubject,
  type Heartbeat,
} from '@xenolith/contracts';
import type { JsonObject, MessageBus, Subscription } from '@xenolith/kernel';

/** More than an API serves; whoever says more names than this on the bus fills no memory here. */
const MOST_HOSTS = 20_000;
/** Figures that nobody has renewed for so long are let go of. */
const KEEP_MS = 60_000;
/** Figures of domains may miss two turns: telemetry may be lost. */
const DOMAIN_FIGURES_LIMIT_MS = 3 * DOMAIN_FIGURES_INTERVAL_MS;

interface Arrived {
  readonly at: number;
  readonly payload: JsonObject;
}

/** Heartbeats as they came, and when. A fleet says thousands a second and few are ever looked at: only those are parsed. */
interface Heard extends Arrived {
  readonly withDomains: Arrived | null;
  /** The one before that, so that rates can be told. */
  readonly before: Arrived | null;
}

export type DomainReports = NonNullable<Heartbeat['virtualMachines']>;

/** What a host said last. Times are those of arrival, in milliseconds. */
export interface HostTelemetry {
  readonly beat: Heartbeat;
  readonly domains: DomainReports;
  /** When the host took the figures of its domains. */
  readonly domainsAt: number;
  readonly before: TakenFigures | null;
}

/** `silentMs`: how long ago the host was last heard; null: not within this gateway's memory. */
export type Hearing = { readonly heard: HostTelemetry } | { readonly heard: null; readonly silentMs: number | null };

const parse = (payload: JsonObject): Heartbeat | null => {
  const parsed = heartbeat.safeParse(payload);
  return parsed.success ? parsed.data : null;
};

interface TakenFigures {
  /** When the host took them. */
  readonly at: number;
  readonly domains: DomainReports;
}

/** Figures of domains; null where they are of another boot, in which other domains had the same machines. */
const ofBoot = ({ payload }: Arrived, bootId: string): TakenFigures | null => {
  const beat = parse(payload);
  return beat?.bootId === bootId ? { at: beat.at, domains: beat.virtualMachines ?? [] } : null;
};

/** The newest figures of hosts and their domains, from heartbeats; in memory only, lossy, and forgotten when they get old. */
export class Telemetry {
  /** By the host's name, those heard longest ago first. */
  private readonly hosts = new Map<string, Heard>();
  private subscription: Subscription | null = null;

  constructor(private readonly now: () => number) {}

  async start(bus: MessageBus): Promise<void> {
    this.subscription = await bus.subscribe(telemetrySubject('*'), (payload) => this.hear(payload));
  }

  async stop(): Promise<void> {
    await this.subscription?.stop();
    this.subscription = null;
  }

  get size(): number {
    return this.hosts.size;
  }

  hear(payload: JsonObject): void {
    const { name } = payload;
    if (typeof name !== 'string') return;
    const at = this.now();
    const known = this.hosts.get(name);
    const carries = Array.isArray(payload['virtualMachines']);
    this.hosts.delete(name);
    this.hosts.set(name, {
      at,
      payload: carries ? { ...payload, virtualMachines: [] } : payload,
      withDomains: carries ? { at, payload } : (known?.withDomains ?? null),
      before: carries ? (known?.withDomains ?? null) : (known?.before ?? null),
    });
    this.forget(at);
  }

  host(name: string): Hearing {
    const known = this.hosts.get(name);
    if (known === undefined) return { heard: null, silentMs: null };
    const now = this.now();
    const beat = parse(known.payload);
    if (beat === null || now - known.at > HEARTBEAT_TIMEOUT_MS) return { heard: null, silentMs: now - known.at };
    const { withDomains, before } = known;
    const fresh = withDomains !== null && now - withDomains.at <= DOMAIN_FIGURES_LIMIT_MS;
    const latest = fresh ? ofBoot(withDomains, beat.bootId) : null;
    return {
      heard: {
        beat,
        domains: latest?.domains ?? [],
        domainsAt: latest?.at ?? beat.at,
        before: before === null ? null : ofBoot(before, beat.bootId),
      },
    };
  }

  private forget(now: number): void {
    for (const [name, { at }] of this.hosts) {
      if (this.hosts.size <= MOST_HOSTS && now - at <= KEEP_MS) return;
      this.hosts.delete(name);
    }
  }
}
