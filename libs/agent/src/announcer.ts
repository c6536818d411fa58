import { commandSubject } from '@xenolith/contracts';
import { uuidFrom, type Uuid } from '@xenolith/kernel';
import type { HostEvent } from '@xenolith/xen';
import type { FaultRules } from './fault-rules.js';
import type { Fleet, HostSlot } from './fleet.js';
import type { JournalEntry, Report } from './journal.js';
import { messageFrom, registrationOf } from './messages.js';
import type { AgentObserver } from './observer.js';
import type { Outbox } from './outbox.js';

/** Pause before a registration that compute refused is tried again: a rule said no, and only people change rules. */
const REFUSED_PAUSE_MS = 30_000;

/** Only an end of a guest is something that compute may miss in an inventory. */
const isEnd = ({ type }: Report): boolean => type === 'ReportDomainStopped';

type ReportedEvent = Extract<HostEvent, { type: 'guestEnded' | 'migrationRound' | 'deviceModelLost' }>;

const reportOf = ({ uid: hostUid, name: host }: HostSlot, event: ReportedEvent): Report => {
  switch (event.type) {
    case 'guestEnded': {
      const { uid, incarnation, reason, endedDomid, domid, at } = event;
      const id = uuidFrom('ReportDomainStopped', hostUid, uid, incarnation, reason, at);
      const data = { incarnation, host, reason, endedDomid, ...(domid === undefined ? {} : { domid }) };
      return { id, type: 'ReportDomainStopped', uid, data, at, host };
    }
    case 'migrationRound': {
      const { type: _type, at, operation, uid, ...figures } = event;
      const id = uuidFrom('ReportMigrationRound', hostUid, operation, uid, event.round, at);
      return { id, type: 'ReportMigrationRound', uid: operation, data: { host, ...figures }, at, host };
    }
    case 'deviceModelLost': {
      const { uid, incarnation, domid, at } = event;
      const id = uuidFrom('ReportDeviceModelLost', hostUid, uid, incarnation, domid, at);
      return { id, type: 'ReportDeviceModelLost', uid, data: { incarnation, host, domid }, at, host };
    }
  }
};

export interface AnnouncerParts {
  readonly fleet: Fleet;
  readonly faults: FaultRules;
  readonly outbox: Outbox;
  readonly observer: AgentObserver;
  readonly agentVersion: string;
  readonly keep: (entry: JournalEntry) => Promise<void>;
}

/** What the agent has to tell compute: that its hosts are there and what they run, which guests ended, which fault rules struck. */
export class Announcer {
  private readonly reports = new Map<Uuid, Report>();
  /** How many of them each host has. */
  /** Commands that tell of the firings of rules that made hosts crash, by host. */
  private readonly struckDownBy = new Map<string, Uuid>();
  private readonly unreported = new Map<string, number>();
  /** Found answered in the journal before the host had come to the moment that they are about. */
  private readonly reported = new Set<Uuid>();
  private readonly registeredBoots = new Map<string, Uuid>();
  private registrations = 0;
  private bornAt = 0;
  private live = false;

  constructor(private readonly parts: AnnouncerParts) {}

  /** Those of the hosts whose registration compute has answered since they booted or the bus came back, or that are off and have nothing to say. */
  registeredOf(hosts: readonly string[]): number {
    const { fleet } = this.parts;
    return hosts.filter((host) => this.registeredBoots.has(host) || fleet.isOff(fleet.slot(host))).length;
  }

  /** Ends of guests on the host that compute has not been told of yet. */
  unreportedOn(host: string): number {
    return this.unreported.get(host) ?? 0;
  }

  forgetRegistrations(): void {
    this.registeredBoots.clear();
  }

  /** The journal has been read: everything that is not answered is said now. */
  goLive(bornAt: number): void {
    this.bornAt = bornAt;
    this.live = true;
    this.reported.clear();
    for (const report of this.reports.values()) this.post(report);
  }

  restoreReport(report: Report): void {
    this.hold(report);
  }

  recoverReported(id: Uuid): void {
    this.reported.add(id);
    this.letGo(id);
  }

  snapshot(): JournalEntry[] {
    return [...this.reports.values()].map((report) => ({ k: 'report', report }));
  }

  /** Something happened by itself that compute is to hear of. */
  happened(slot: HostSlot, event: ReportedEvent): void {
    const report = reportOf(slot, event);
    if (this.reported.has(report.id)) return;
    this.hold(report);
    if (this.live) this.post(report);
  }

  private hold(report: Report): void {
    if (isEnd(report) && !this.reports.has(report.id))
      this.unreported.set(report.host, this.unreportedOn(report.host) + 1);
    this.reports.set(report.id, report);
  }

  private letGo(id: Uuid): void {
    const report = this.reports.get(id);
    if (report === undefined) return;
    this.reports.delete(id);
    if (!isEnd(report)) return;
    const left = this.unreportedOn(report.host) - 1;
    if (left > 0) this.unreported.set(report.host, left);
    else this.unreported.delete(report.host);
  }

  private post(report: Report): void {
    const { id, type, uid, data, at, host } = report;
    this.parts.outbox.post({
      key: id,
      subject: commandSubject('compute', type),
      message: () => messageFrom({ name: host }, { id, type, streamId: uid, data, at }),
      answered: () => {
        this.letGo(id);
        void this.parts.keep({ k: 'reported', id });
        return null;
      },
    });
  }

  private firingId(rule: Uuid, count: number): Uuid {
    return uuidFrom('RecordFaultFired', rule, this.bornAt, count);
  }

  /** A host that the rule makes crash registers next because of that; known until then, or until this process ends. */
  reportFired(rule: Uuid, crashing?: string): void {
    if (crashing !== undefined)
      this.struckDownBy.set(crashing, this.firingId(rule, this.parts.faults.fired(rule).count));
    const said = { count: 0 };
    this.parts.outbox.post({
      key: `fired/${rule}`,
      subject: commandSubject('compute', 'RecordFaultFired'),
      message: () => {
        const fired = this.parts.faults.fired(rule);
        said.count = fired.count;
        return messageFrom(
          { name: fired.host },
          {
            id: this.firingId(rule, fired.count),
            type: 'RecordFaultFired',
            streamId: rule,
            data: { host: fired.host, command: fired.command, fired: fired.count },
            at: this.parts.fleet.now(),
          },
        );
      },
      answered: () => (this.parts.faults.fired(rule).count > said.count ? 0 : null),
    });
  }

  register(slot: HostSlot): void {
    const said = { bootId: '' };
    this.parts.outbox.post({
      key: `register/${slot.name}`,
      subject: commandSubject('compute', 'RegisterHost'),
      message: () => {
        if (!this.parts.fleet.isUp(slot)) return null;
        const data = registrationOf(this.parts.fleet, slot, this.parts.agentVersion);
        said.bootId = data.bootId;
        this.registrations += 1;
        // Each attempt is a command of its own, as its inventory is of its own moment.
        const id = uuidFrom('RegisterHost', slot.uid, data.bootId, this.parts.fleet.now(), this.registrations);
        return messageFrom(slot, {
          id,
          type: 'RegisterHost',
          streamId: slot.uid,
          data: data,
          at: this.parts.fleet.now(),
          cause: this.struckDownBy.get(slot.name),
        });
      },
      answered: (reply) => {
        if (!reply.ok) return REFUSED_PAUSE_MS;
        this.registeredBoots.set(slot.name, said.bootId);
        this.struckDownBy.delete(slot.name);
        this.parts.observer.registered?.(slot.name);
        return null;
      },
    });
  }
}
