import {
  commandSubject,
  heartbeat,
  HEARTBEAT_TIMEOUT_MS,
  telemetrySubject,
  type DomainFiguresReport,
  type Heartbeat,
} from '@xenolith/contracts';
import {
  rootCommand,
  uuidFrom,
  type Clock,
  type JsonObject,
  type MessageBus,
  type Subscription,
  type Uuid,
} from '@xenolith/kernel';
import type { HostIndex } from './host.index.js';

/** How often silences are looked for: a host is declared unreachable at most this much late. */
const LOOK_MS = 1_000;
const COMMAND_MS = 5_000;
/** A command that nobody answered is repeated no sooner than this. */
const REPEAT_MS = 5_000;

interface Watched {
  lastHeartbeatAt: number;
  bootId: string;
  freeMemoryBytes: number;
  cpuLoad: number;
  domains: number;
  controlDomain: Heartbeat['controlDomain'];
  migrations: Heartbeat['migrations'];
  sharing: Heartbeat['sharing'];
  /** Of the last heartbeat of this boot that carried them. */
  domainFigures: readonly DomainFiguresReport[];
  /** As the last look found it. */
  ready: boolean;
  /** When a command about the host was last sent. */
  toldAt: number;
}

/** The last figures of a host, as its agent sent them. */
export interface HostFigures {
  readonly name: string;
  readonly freeMemoryBytes: number;
  readonly cpuLoad: number;
  readonly domains: number;
  readonly controlDomain: Heartbeat['controlDomain'];
  readonly migrations: Heartbeat['migrations'];
  readonly sharing: Heartbeat['sharing'];
  readonly domainFigures: readonly DomainFiguresReport[];
  readonly lastHeartbeatAt: number;
}

/**
 * Listens to heartbeats, which never enter the log, and tells a host's stream only that they ceased or came back. It begins with every host given its full
 * time, so that an outage of compute makes no host look dead.
 */
export class HeartbeatMonitor {
  private readonly watched = new Map<Uuid, Watched>();
  private subscription: Subscription | null = null;
  private cancelLook: (() => void) | null = null;

  constructor(
    private readonly hosts: HostIndex,
    private readonly ports: { readonly bus: MessageBus; readonly clock: Clock },
    /** Is told of every heartbeat. */
    private readonly onBeat: (beat: Heartbeat) => void = () => undefined,
  ) {}

  async start(): Promise<void> {
    this.subscription = await this.ports.bus.subscribe(telemetrySubject('*'), (payload) => this.onHeartbeat(payload));
    this.lookLater();
  }

  async stop(): Promise<void> {
    this.cancelLook?.();
    this.cancelLook = null;
    await this.subscription?.stop();
    this.subscription = null;
  }

  /** The newest figures of every host that still sends them. */
  figures(): readonly HostFigures[] {
    const now = this.ports.clock.now();
    return this.hosts.all().flatMap((host) => {
      const watched = this.watched.get(host.uid);
      if (watched === undefined || watched.bootId === '') return [];
      return now - watched.lastHeartbeatAt > HEARTBEAT_TIMEOUT_MS ? [] : [{ name: host.name, ...watched }];
    });
  }

  /** How long ago the ready host was heard that was heard longest ago, in milliseconds; 0: no host is ready. */
  longestSilenceMs(): number {
    const now = this.ports.clock.now();
    let longest = 0;
    for (const host of this.hosts.all())
      if (host.ready) longest = Math.max(longest, now - (this.watched.get(host.uid)?.lastHeartbeatAt ?? now));
    return longest;
  }

  private onHeartbeat(payload: JsonObject): void {
    const parsed = heartbeat.safeParse(payload);
    if (!parsed.success) return;
    const { host, bootId, freeMemoryBytes, cpuLoad, domains, virtualMachines } = parsed.data;
    const { controlDomain, migrations, sharing } = parsed.data;
    const known = this.watched.get(host);
    const earlier = known?.bootId === bootId ? known.domainFigures : [];
    this.watched.set(host, {
      lastHeartbeatAt: this.ports.clock.now(),
      bootId,
      freeMemoryBytes,
      cpuLoad,
      domains,
      controlDomain,
      migrations,
      sharing,
      domainFigures: virtualMachines ?? earlier,
      ready: known?.ready ?? false,
      toldAt: known?.toldAt ?? 0,
    });
    this.lookAtReturn(parsed.data);
    this.onBeat(parsed.data);
  }

  private lookAtReturn(beat: Heartbeat): void {
    const known = this.hosts.get(beat.host);
    // A host with another boot id is not back before it has registered, inventory and all.
    if (known === undefined || known.ready || known.powered !== 'On' || known.bootId !== beat.bootId) return;
    this.tell(beat.host, 'RecordHostReady', { bootId: beat.bootId });
  }

  private look(): void {
    const now = this.ports.clock.now();
    for (const host of this.hosts.all()) {
      const watched = this.watch(host.uid, now);
      // One that has just registered has not had time for a heartbeat: the last was before it went down.
      if (host.ready && !watched.ready) watched.lastHeartbeatAt = now;
      watched.ready = host.ready;
      if (!host.ready || now - watched.lastHeartbeatAt <= HEARTBEAT_TIMEOUT_MS) continue;
      this.tell(host.uid, 'RecordHostUnreachable', { lastHeartbeatAt: watched.lastHeartbeatAt });
    }
    for (const uid of this.watched.keys()) if (this.hosts.get(uid) === undefined) this.watched.delete(uid);
    this.lookLater();
  }

  private watch(host: Uuid, now: number): Watched {
    const known = this.watched.get(host);
    if (known) return known;
    const fresh: Watched = {
      lastHeartbeatAt: now,
      bootId: '',
      freeMemoryBytes: 0,
      cpuLoad: 0,
      domains: 0,
      controlDomain: undefined,
      migrations: undefined,
      sharing: undefined,
      domainFigures: [],
      ready: false,
      toldAt: 0,
    };
    this.watched.set(host, fresh);
    return fresh;
  }

  private lookLater(): void {
    this.cancelLook = this.ports.clock.after(LOOK_MS, () => this.look());
  }

  private tell(host: Uuid, type: string, data: JsonObject): void {
    const now = this.ports.clock.now();
    const watched = this.watch(host, now);
    if (now - watched.toldAt < REPEAT_MS) return;
    watched.toldAt = now;
    const commandId = uuidFrom('heartbeat', host, type, now);
    const message = rootCommand({ commandId, type, streamId: host, data, actor: 'system:compute', at: now });
    // Whether it arrived shows in the index; until it does, the next look sends it again.
    this.ports.bus.request(commandSubject('compute', type), message, { timeoutMs: COMMAND_MS }).catch(() => undefined);
  }
}
