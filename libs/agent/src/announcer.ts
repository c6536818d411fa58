import { commandSubject } from '@xenolith/contracts';
import { uuidFrom, type Uuid } from '@xenolith/kernel';
import type { HostEvent } from '@xenolith/xen';
import type { CommandRecord } from './command-book.js';
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
  /** Firings of rules that made hosts crash of whose next boot compute has not heard, by host. */
  private readonly struckDownBy = new Map<string, { readonly rule: Uuid; readonly count: number }>();
  /** How many ends of guests among the reports each host has. */
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
    return [
      ...[...this.reports.values()].map((report): JournalEntry => ({ k: 'report', report })),
      ...[...this.struckDownBy].map(([host, by]): JournalEntry => ({ k: 'struckDown', host, ...by })),
    ];
  }

  /** Something happened by itself that compute is to hear of. */
  happened(slot: HostSlot, event: ReportedEvent): void {
    this.tell(reportOf(slot, event));
  }

  /** Somebody ended a guest on the host itself, or rebooted it, which then runs as `domid`. */
  endedDirectly(slot: HostSlot, command: CommandRecord, done: { readonly domid?: number; readonly at: number }): void {
    const { id, uid, type, direct = '' } = command;
    const rebooted = type === 'RebootDomain' && done.domid !== undefined;
    const data = {
      incarnation: command.data['incarnation'] as number,
      host: slot.name,
      reason: rebooted ? 'reboot' : 'poweroff',
      direct: { command: direct, hard: type === 'DestroyDomain' },
      ...(rebooted ? { domid: done.domid } : {}),
    };
    const report = { id: uuidFrom('ReportDomainStopped', slot.uid, id), type: 'ReportDomainStopped', uid, data };
    this.tell({ ...report, at: done.at, host: slot.name });
  }

  private tell(report: Report): void {
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

  /** The rule has just struck, and the host crashes. */
  struckDown(host: string, rule: Uuid, count = this.parts.faults.fired(rule).count): void {
    this.struckDownBy.set(host, { rule, count });
  }

  recoverRegistered(host: string): void {
    this.struckDownBy.delete(host);
  }

  private causeOf(host: string): Uuid | undefined {
    const by = this.struckDownBy.get(host);
    return by && this.firingId(by.rule, by.count);
  }

  private firingId(rule: Uuid, count: number): Uuid {
    return uuidFrom('RecordFaultFired', rule, this.bornAt, count);
  }

  /** A host that the rule makes crash registers next because of that. */
  reportFired(rule: Uuid, crashing?: string): void {
    if (crashing !== undefined) this.struckDown(crashing, rule);
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
          cause: this.causeOf(slot.name),
        });
      },
      answered: (reply) => {
        if (!reply.ok) return REFUSED_PAUSE_MS;
        this.registeredBoots.set(slot.name, said.bootId);
        if (this.struckDownBy.delete(slot.name)) void this.parts.keep({ k: 'registered', host: slot.name });
        this.parts.observer.registered?.(slot.name);
        return null;
      },
    });
  }
}
