import type { HostInput } from '@xenolith/xen';
import type { Announcer } from './announcer.js';
import type { CommandDesk } from './command-desk.js';
import type { DeviceFaults } from './device-faults.js';
import type { FaultRules } from './fault-rules.js';
import type { Fleet } from './fleet.js';
import { madeHostOf } from './host-making.js';
import type { JournalEntry } from './journal.js';
import type { PeerPost } from './peer-post.js';

/** What an agent consists of that its journal brings back. */
export interface RecoveredParts {
  readonly fleet: Fleet;
  readonly desk: CommandDesk;
  readonly faults: FaultRules;
  readonly deviceFaults: DeviceFaults;
  readonly announcer: Announcer;
  readonly peers: PeerPost;
}

const happened = (fleet: Fleet, at: { readonly host: string; readonly at: number }, input: HostInput): void => {
  fleet.moveTo(at.at);
  fleet.apply(fleet.slot(at.host), input, at.at);
};

/** Puts one line of the journal into effect again. The lines come in their order. */
export const recoverEntry = (parts: RecoveredParts, entry: JournalEntry): void => {
  const { fleet, desk, faults, deviceFaults, announcer, peers } = parts;
  switch (entry.k) {
    case 'born':
      fleet.born(entry);
      return;
    case 'made':
      fleet.make(entry.host, madeHostOf(entry));
      return;
    case 'opened':
      fleet.setBootTime(entry.bootTimeMs, entry.at);
      return;
    case 'accepted':
      fleet.moveTo(entry.at);
      desk.recover(entry);
      return;
    case 'applied':
      fleet.moveTo(entry.at);
      desk.recoverApplied(entry.id, entry.at);
      return;
    case 'crashed':
      if (entry.cause !== undefined) desk.recoverCrash(entry.cause);
      happened(fleet, entry, { do: 'crash' });
      return;
    case 'guest':
      happened(fleet, entry, { do: 'guestEnds', uid: entry.uid, reason: entry.reason });
      return;
    case 'answered':
      desk.recoverAnswer(entry.id, entry.reply);
      return;
    case 'rules':
      faults.put(entry.host, entry.hash, entry.list);
      return;
    case 'faults':
      fleet.moveTo(entry.at);
      deviceFaults.recover(entry);
      return;
    case 'reported':
      announcer.recoverReported(entry.id);
      return;
    case 'registered':
      announcer.recoverRegistered(entry.host);
      return;
    case 'delivered':
    case 'posted':
    case 'peerRefused':
      peers.recover(entry);
      return;
    case 'host':
      fleet.restore(entry.name, entry.state);
      deviceFaults.restore(entry.name, entry.told);
      return;
    case 'command':
      desk.restore(entry);
      return;
    case 'cancelled':
      desk.book.restoreCancelled(entry.id, entry.at);
      return;
    case 'fired':
      faults.restoreFired(entry.rule, entry);
      return;
    case 'report':
      announcer.restoreReport(entry.report);
      return;
    case 'struckDown':
      announcer.struckDown(entry.host, entry.rule, entry.count);
      return;
  }
};
