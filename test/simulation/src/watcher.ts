import { hostLedgerAggregate, type HostLedgerState } from '@xenolith/scheduling';
import type { JsonObject, LoggedEvent, Uuid } from '@xenolith/kernel';
import { AdmissionWatch } from './admission.js';
import type { Evidence } from './evidence.js';

interface Shown {
  readonly kind?: string;
  readonly metadata?: { readonly name?: string; readonly namespace?: string };
  readonly status?: { readonly mac?: string; readonly ips?: readonly string[]; readonly networkUid?: Uuid };
}

/** What an object shows that no other may show at the same time. */
const uniqueKeys = (category: string, document: JsonObject): readonly string[] => {
  const { kind, metadata, status } = document as unknown as Shown;
  const name = kind === undefined ? [] : [`${kind} ${metadata?.namespace ?? ''}/${metadata?.name ?? ''}`];
  if (category !== 'port') return name;
  const ips = (status?.ips ?? []).map((ip) => `IP ${ip} of network ${status?.networkUid ?? ''}`);
  return [...name, ...(status?.mac === undefined ? [] : [`MAC ${status.mac}`]), ...ips];
};

/** Follows the log event by event and says what must hold at every moment and does not. */
export class Watcher {
  private seen = 0;
  private readonly versions = new Map<Uuid, number>();
  private readonly events = new Set<Uuid>();
  private readonly holders = new Map<string, Uuid>();
  private readonly keys = new Map<Uuid, readonly string[]>();
  private readonly ledgers = new Map<Uuid, HostLedgerState>();
  /** Machines of which an operation failed during this run: it may have had its effect all the same. */
  private readonly uncertain = new Set<Uuid>();
  /** Hosts that were powered off and have not come back yet. */
  private readonly off = new Set<Uuid>();
  private hostDeleted = false;

  private readonly admission: AdmissionWatch;

  constructor(private readonly evidence: Evidence) {
    this.admission = new AdmissionWatch(evidence);
  }

  /** What broke since the last look. */
  look(): readonly string[] {
    const { log, defects } = this.evidence;
    const news = log.log.slice(this.seen);
    this.seen = log.log.length;
    return [
      ...defects.splice(0),
      ...news.flatMap((event) => this.follow(event)),
      ...this.admission.look(news, this.ledgers),
      ...this.lookAtHosts(),
    ];
  }

  /** The state of every ledger, by its own id. */
  get hostLedgers(): ReadonlyMap<Uuid, HostLedgerState> {
    return this.ledgers;
  }

  private follow(event: LoggedEvent): readonly string[] {
    const broken: string[] = [];
    const { streamId, version, category, document } = event;
    // An event's id comes from its command's: twice the same is a command that happened twice.
    if (this.events.has(event.eventId))
      broken.push(`command ${event.metadata.commandId} happened twice: ${event.type}`);
    this.events.add(event.eventId);
    const before = this.versions.get(streamId) ?? 0;
    if (version !== before + 1) broken.push(`${category} ${streamId} goes from version ${before} to ${version}`);
    this.versions.set(streamId, version);
    if (category === hostLedgerAggregate.category) broken.push(...this.followLedger(event));
    broken.push(...this.followSurprise(event), ...this.followPower(event));
    if (document !== undefined) broken.push(...this.followDocument(streamId, category, document));
    return broken;
  }

  /** Hosts surprise the platform only where an operation failed, or a host was taken out: what heals must not hide what broke. */
  private followSurprise(event: LoggedEvent): readonly string[] {
    const { type, streamId, data } = event;
    if (type === 'HostDeleted') this.hostDeleted = true;
    if (type === 'VirtualMachineStarted') this.uncertain.delete(streamId);
    if (type === 'VirtualMachineOperationEnded' && data['outcome'] !== 'succeeded') this.uncertain.add(streamId);
    const surprise =
      type === 'VirtualMachineObserved' || (type === 'VirtualMachineHalted' && data['reason'] === 'vanished');
    if (!surprise || this.hostDeleted || this.uncertain.has(streamId)) return [];
    return [`machine ${streamId} had another domain than it knew of, and no operation of it had failed (${type})`];
  }

  /** A host that is off by will is not missed, and has not crashed when it comes back. */
  private followPower({ type, streamId }: LoggedEvent): readonly string[] {
    if (type === 'HostPoweredOff') this.off.add(streamId);
    else if (type === 'HostWoken' || type === 'HostDeleted') this.off.delete(streamId);
    const missed = (type === 'HostBecameUnreachable' || type === 'HostCrashed') && this.off.has(streamId);
    return missed ? [`host ${streamId} was powered off, and is taken for lost (${type})`] : [];
  }

  private followLedger(event: LoggedEvent): readonly string[] {
    const place = { ...event, at: event.metadata.at, actor: event.metadata.actor };
    const ledger = hostLedgerAggregate.evolve(
      this.ledgers.get(event.streamId) ?? hostLedgerAggregate.initial,
      event,
      place,
    );
    this.ledgers.set(event.streamId, ledger);
    if (ledger.phase === 'undeclared') return [];
    const { memoryBytes, vcpus, capacity } = ledger;
    if (memoryBytes <= capacity.memoryBytes && vcpus <= capacity.vcpus) return [];
    return [
      `ledger ${event.streamId} promises ${memoryBytes} bytes of ${capacity.memoryBytes}, ${vcpus} vCPUs of ${capacity.vcpus}`,
    ];
  }

  private followDocument(uid: Uuid, category: string, document: JsonObject | null): readonly string[] {
    for (const key of this.keys.get(uid) ?? []) if (this.holders.get(key) === uid) this.holders.delete(key);
    const keys = document === null ? [] : uniqueKeys(category, document);
    this.keys.set(uid, keys);
    return keys.flatMap((key) => {
      const other = this.holders.get(key);
      this.holders.set(key, uid);
      return other === undefined ? [] : [`${key} belongs to ${other} and ${uid}`];
    });
  }

  private lookAtHosts(): readonly string[] {
    const places = new Map<Uuid, string>();
    const broken: string[] = [];
    for (const host of this.evidence.hosts()) {
      let used = 0;
      for (const { virtualMachine, memoryBytes, standsStill } of host.domains) {
        used += memoryBytes;
        // The source of a migration keeps its copy, which takes no step, until the other host has the machine for certain.
        if (standsStill) continue;
        const other = places.get(virtualMachine);
        if (other !== undefined) broken.push(`machine ${virtualMachine} runs on ${other} and ${host.name}`);
        places.set(virtualMachine, host.name);
      }
      if (used > host.allocatableBytes)
        broken.push(`host ${host.name} gives ${used} bytes of ${host.allocatableBytes}`);
    }
    return broken;
  }
}
