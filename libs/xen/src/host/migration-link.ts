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
import type { MigrationHost } from './migration-host.js';
import { sourcesOf, type SourceSession } from './migration-session.js';
import { planEffect } from './session-work.js';

const writerOf = (host: MigrationHost, session: SourceSession) => {
  const memoryPages = session.end?.memoryPages ?? 0;
  return {
    profile: host.sending.dirtying(session, memoryPages * PAGE_BYTES),
    memoryPages,
    throttlePercent: session.end?.precopy?.throttlePercent ?? 0,
  };
};

const sending = (host: MigrationHost): readonly SourceSession[] =>
  sourcesOf(host.state).filter(({ transfer }) => transfer !== null);

/** What each migration that sends gets of the host's link; one that begins now counts. */
const shareFor = (host: MigrationHost, migrations: number): number =>
  shareOfLink(linkPagesPerSecond(migrationBitsPerSecondOf(host.state.profile)), migrations);

/** The link is shared anew among those that send. */
const shareAnew = (host: MigrationHost, migrations: number): void => {
  const share = shareFor(host, migrations);
  for (const session of sending(host)) {
    if (session.transfer === null || session.transfer.pagesPerSecond === share) continue;
    session.transfer = retimed(session.transfer, share, host.state.nowUs, writerOf(host, session));
    planEffect(host, session, transferEndsAtUs(session.transfer));
  }
};

/** Begins to send the pages; it ends at the time that is planned. A host without time has sent them at once. */
export const beginSending = (host: MigrationHost, session: SourceSession, pages: number): void => {
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
export const endSending = (host: MigrationHost, session: SourceSession): Sent => {
  const { transfer } = session;
  const share = shareFor(host, sending(host).length);
  const dirtied =
    transfer !== null && host.timing.timedDevices ? dirtiedByTransfer(transfer, writerOf(host, session)) : 0;
  session.transfer = null;
  shareAnew(host, sending(host).length);
  return { pages: transfer?.pages ?? 0, dirtied, linkPagesPerSecond: share };
};
