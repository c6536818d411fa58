import {
  DOMAIN_FIGURES_INTERVAL_MS,
  HEARTBEAT_INTERVAL_MS,
  inventoryDigest,
  telemetrySubject,
  type DomainFiguresReport,
  type Heartbeat,
} from '@xenolith/contracts';
import type { Clock, MessageBus } from '@xenolith/kernel';
import type { DomainFigures } from '@xenolith/xen';
import type { Announcer } from './announcer.js';
import type { Fleet, HostSlot } from './fleet.js';
import { inventoryOf } from './messages.js';

/** A fleet's heartbeats are spread over this many moments of an interval, so that 10,000 hosts do not speak at once. */
const MOMENTS = 40;
/** Figures of single domains go with each so many heartbeats. */
const DOMAIN_FIGURES_EVERY = DOMAIN_FIGURES_INTERVAL_MS / HEARTBEAT_INTERVAL_MS;

/** Lists of the model are read only, those of a message are not. */
const reported = ({ disks, nics, nodeBytes, ...figures }: DomainFigures): DomainFiguresReport => ({
  ...figures,
  ...(nodeBytes && { nodeBytes: [...nodeBytes] }),
  ...(disks === undefined ? {} : { disks: [...disks] }),
  ...(nics === undefined ? {} : { nics: [...nics] }),
});

/** Says on `telemetry.<host>` that the hosts live. */
export class Heartbeats {
  private readonly moments: number;
  private readonly digests = new Map<string, { readonly version: number; readonly digest: number }>();
  private turn = 0;
  private cancel: (() => void) | null = null;

  constructor(
    private readonly hosts: readonly HostSlot[],
    private readonly fleet: Fleet,
    private readonly announcer: Announcer,
    private readonly ports: { readonly bus: MessageBus; readonly clock: Clock },
  ) {
    this.moments = Math.max(1, Math.min(MOMENTS, hosts.length));
  }

  start(): void {
    this.next(this.ports.clock.now());
  }

  stop(): void {
    this.cancel?.();
    this.cancel = null;
  }

  private next(plannedAt: number): void {
    const now = this.ports.clock.now();
    const round = Math.floor(this.turn / this.moments);
    for (let index = this.turn % this.moments; index < this.hosts.length; index += this.moments) {
      const slot = this.hosts[index];
      if (slot && this.fleet.isUp(slot)) this.publish(slot, now, (round + index) % DOMAIN_FIGURES_EVERY === 0);
    }
    this.turn += 1;
    // A process that was held up does not catch up with what it could not say.
    const following = Math.max(now, plannedAt + HEARTBEAT_INTERVAL_MS / this.moments);
    this.cancel = this.ports.clock.after(following - now, () => this.next(following));
  }

  /** Of the domains as they are; a host to which nothing happened needs no second look. */
  private digestOf(slot: HostSlot): number {
    const known = this.digests.get(slot.name);
    if (known?.version === slot.version) return known.digest;
    const domains = inventoryOf(this.fleet, slot).domains.map((domain) => ({
      ...domain,
      runs: domain.state === 'running',
    }));
    const digest = inventoryDigest(domains);
    this.digests.set(slot.name, { version: slot.version, digest });
    return digest;
  }

  private publish(slot: HostSlot, now: number, withDomains: boolean): void {
    const heartbeat: Heartbeat = {
      host: slot.uid,
      name: slot.name,
      bootId: this.fleet.bootId(slot),
      at: now,
      ...this.fleet.figures(slot),
      ...(this.announcer.unreportedOn(slot.name) === 0 ? { inventory: this.digestOf(slot) } : {}),
      ...(withDomains ? { virtualMachines: this.fleet.domainFigures(slot).map(reported) } : {}),
    };
    this.ports.bus.publish(telemetrySubject(slot.name), heartbeat);
  }
}
