import { migrationBitsPerSecondOf } from '../hardware-profile.js';
import { PAGE_BYTES } from '../hypervisor/index.js';
import {
  beginTransfer,
  dirtiedByTransfer,
  linkPagesPerSecond,
  retimed,
  shareOfLink,
  transferEndsAtUs,
} from '../migration/rounds.js';
import { dirtyingOf } from './guest-work.js';
import type { Host } from './host-state.js';
import { planEffect, sourcesOf, type SourceSession } from './migration-session.js';

/** Pages of the machine's domain now. */
export const pagesNow = (host: Host, session: SourceSession): number => {
  const machine = host.state.machines[session.uid];
  const pages = host.hypervisor.memory.totalPages(machine?.domid ?? -1, host.state.nowUs);
  return pages.ok ? pages.value : 0;
};

const writerOf = (host: Host, session: SourceSession) => {
  const machine = host.state.machines[session.uid];
  const memoryPages = session.end?.memoryPages ?? 0;
  const idle = { pagesPerSecond: 0, workingSetPages: 0 };
  return {
    profile: machine ? dirtyingOf(host, machine, memoryPages * PAGE_BYTES) : idle,
    memoryPages,
    throttlePercent: session.end?.precopy?.throttlePercent ?? 0,
  };
};

const sending = (host: Host): readonly SourceSession[] =>
  sourcesOf(host.state).filter(({ transfer }) => transfer !== null);

/** What each migration that sends gets of the host's link; one that begins now counts. */
const shareFor = (host: Host, migrations: number): number =>
  shareOfLink(linkPagesPerSecond(migrationBitsPerSecondOf(host.state.profile)), migrations);

/** The link is shared anew among those that send. */
const shareAnew = (host: Host, migrations: number): void => {
  const share = shareFor(host, migrations);
  for (const session of sending(host)) {
    if (session.transfer === null || session.transfer.pagesPerSecond === share) continue;
    session.transfer = retimed(session.transfer, share, host.state.nowUs, writerOf(host, session));
    planEffect(host, session, transferEndsAtUs(session.transfer));
  }
};

/** Begins to send the pages; it ends at the time that is planned. A host without time has sent them at once. */
export const beginSending = (host: Host, session: SourceSession, pages: number): void => {
  const migrations = sending(host).length + 1;
  shareAnew(host, migrations);
  session.transfer = beginTransfer(pages, shareFor(host, migrations), host.state.nowUs);
  const { timedDevices } = host.timing;
  planEffect(host, session, timedDevices ? transferEndsAtUs(session.transfer) : host.state.nowUs);
};

export interface Sent {
  readonly pages: number;
  /** Distinct pages that the guest wrote to meanwhile. */
  readonly dirtied: number;
  readonly linkPagesPerSecond: number;
}

/** What was sent is there, or is given up. */
export const endSending = (host: Host, session: SourceSession): Sent => {
  const { transfer } = session;
  const share = shareFor(host, sending(host).length);
  const dirtied =
    transfer !== null && host.timing.timedDevices ? dirtiedByTransfer(transfer, writerOf(host, session)) : 0;
  session.transfer = null;
  shareAnew(host, sending(host).length);
  return { pages: transfer?.pages ?? 0, dirtied, linkPagesPerSecond: share };
};
