import { memoryWriting, type WorkloadProfile } from '../guest/index.js';
import type { DomainSettings } from '../host-model.js';
import { PAGE_BYTES } from '../hypervisor/index.js';

// Which pages of guests are equal, and who finds out when: on hosts of either kind.

/** ksmd looks at so many pages and then sleeps for so long, in milliseconds (mm/ksm.c, `ksm_thread_pages_to_scan` and `ksm_thread_sleep_millisecs`). */
export const SCAN = { pagesToScan: 100, sleepMs: 20 } as const;
const US_PER_MS = 1_000;
const US_PER_SECOND = 1_000_000;
const PERMILLE = 1_000;

/**
 * Of the memory of guests of one image, what is the same in all of them. Assumption: what VMware tells of "many nearly identical virtual machines", of
 * whose memory sharing "might free up more than thirty percent" (vSphere Resource Management, "Memory Sharing").
 */
const EQUAL_PERMILLE = 300;

/** In so many parts a guest's first writing to its working set is looked at. */
const WRITE_STEPS = 16;

/** How long a guest has run since it was up, which tells what it has written to. One that was saved or came from elsewhere begins anew. */
interface GuestPages {
  ranUs: number;
  /** It runs since then; null: it does not. */
  sinceUs: number | null;
  /** Whole scans that have seen it. */
  scans: number;
  memoryPages: number;
}

/** The scanner of a host whose guests' equal pages are merged. */
export interface ScanState {
  /** Whole scans before the present one. */
  scans: number;
  /** Null: there is nothing to scan. */
  beganUs: number | null;
  /** Null: it finds nothing new until something changes. */
  endsUs: number | null;
  /** When it is looked at next. */
  dueUs: number | null;
  /** By domain or process, while their guests are up. */
  guests: Record<number, GuestPages>;
}

export const newScan = (): ScanState => ({ scans: 0, beganUs: null, endsUs: null, dueUs: null, guests: {} });

/** A guest that may have pages in common with others, as the scanner sees it. */
export interface ScannedGuest {
  /** Of its domain or process. */
  readonly id: number;
  /** Guests of equal content have equal pages. */
  readonly content: string;
  readonly runs: boolean;
  readonly workload: WorkloadProfile;
  /** What its balloon leaves it in the end. */
  readonly memoryPages: number;
  readonly mergedPages: number;
  /** The others that it has at the moment. */
  readonly privatePages: number;
}

/** What the guest's memory is a copy of: of its image, or of nothing that anybody else has. */
export const contentOf = ({ image, os = 'linux' }: Pick<DomainSettings, 'image' | 'os'>, id: number): string =>
  image === undefined ? `own/${id}` : `${os}/${image}`;

const ranUs = ({ ranUs: before, sinceUs }: GuestPages, nowUs: number): number =>
  before + (sinceUs === null ? 0 : nowUs - sinceUs);

/** Distinct pages that the guest writes to, at its pace, until it has written to all of its working set. */
const writingOf = ({ memoryPages, workload }: ScannedGuest) => {
  const { pagesPerSecond, workingSetPages } = memoryWriting(workload, memoryPages * PAGE_BYTES);
  const wholeUs = pagesPerSecond === 0 ? 0 : Math.ceil((workingSetPages * US_PER_SECOND) / pagesPerSecond);
  return { workingSetPages, stepUs: Math.max(1, Math.ceil(wholeUs / WRITE_STEPS)) };
};

const stepsDone = (guest: ScannedGuest, pages: GuestPages | undefined, nowUs: number): number =>
  pages === undefined ? 0 : Math.min(WRITE_STEPS, Math.floor(ranUs(pages, nowUs) / writingOf(guest).stepUs));

/** Its pages that are as the image has them. Assumption: its working set lies evenly over its memory, so that of these it takes its share. */
export const equalPages = (scan: ScanState, guest: ScannedGuest, nowUs: number): number => {
  const written = (writingOf(guest).workingSetPages * stepsDone(guest, scan.guests[guest.id], nowUs)) / WRITE_STEPS;
  return Math.max(0, Math.floor(((guest.memoryPages - written) * EQUAL_PERMILLE) / PERMILLE));
};

/** When the guest has written to more of its pages; null: it writes to no new ones. */
const nextWriteUs = (scan: ScanState, guest: ScannedGuest, nowUs: number): number | null => {
  const pages = scan.guests[guest.id];
  const steps = stepsDone(guest, pages, nowUs);
  if (!pages || pages.sinceUs === null || steps >= WRITE_STEPS) return null;
  return nowUs + (steps + 1) * writingOf(guest).stepUs - ranUs(pages, nowUs);
};

/** Keeps the guests' own time, which stands still while they do; true: one begins to run, or gets more memory. */
const followGuests = (scan: ScanState, guests: readonly ScannedGuest[], nowUs: number): boolean => {
  const known = scan.guests;
  let begins = false;
  scan.guests = {};
  for (const { id, runs, memoryPages } of guests) {
    const pages = known[id] ?? { ranUs: 0, sinceUs: null, scans: 0, memoryPages: 0 };
    const turns = runs !== (pages.sinceUs !== null);
    begins ||= (turns && runs) || memoryPages > pages.memoryPages;
    const clock = turns ? { ranUs: ranUs(pages, nowUs), sinceUs: runs ? nowUs : null } : {};
    scan.guests[id] = { ...pages, ...clock, memoryPages };
  }
  return begins;
};

const scanUs = (guests: readonly ScannedGuest[]): number => {
  const pages = guests.reduce((sum, { memoryPages }) => sum + memoryPages, 0);
  return Math.max(1, Math.ceil(pages / SCAN.pagesToScan)) * SCAN.sleepMs * US_PER_MS;
};

/** Whole scans up to now: while it finds nothing it scans all the same. */
export const scansAt = (
  { scans, beganUs, endsUs }: ScanState,
  guests: readonly ScannedGuest[],
  nowUs: number,
): number => (beganUs === null || endsUs !== null ? scans : scans + Math.floor((nowUs - beganUs) / scanUs(guests)));

/** What a scan comes to for guests of one content: how many of its pages each has merged then. */
const targetsOf = (scan: ScanState, guests: readonly ScannedGuest[], nowUs: number): readonly number[] => {
  const equal = guests.map((guest) => equalPages(scan, guest, nowUs));
  // What nobody has merged yet is merged when a second scan finds it unchanged, in two guests (mm/ksm.c, `cmp_and_merge_page`).
  const settled = guests.map(({ id }, index) => ((scan.guests[id]?.scans ?? 0) > 0 ? (equal[index] ?? 0) : 0));
  const [, second = 0] = settled.sort((a, b) => b - a);
  const found = Math.max(second, ...guests.map(({ mergedPages }) => mergedPages));
  return guests.map(({ mergedPages, privatePages }, index) =>
    Math.max(mergedPages, Math.min(equal[index] ?? 0, found, mergedPages + privatePages)),
  );
};

/** How a host carries out what its scanner finds. */
export interface Merging<Guest extends ScannedGuest> {
  /** Those that can be merged, as they are at the moment. */
  guests(): readonly Guest[];
  /** Guests of one content: each is to have the first `pages` of it merged, which are no fewer than it has. */
  merge(targets: readonly { readonly guest: Guest; readonly pages: number }[]): void;
  /** The guest writes to so many of its merged pages. */
  unmerge(guest: Guest, pages: number): void;
}

export const groupsOf = <Guest extends ScannedGuest>(guests: readonly Guest[]): readonly (readonly Guest[])[] => {
  const groups = new Map<string, Guest[]>();
  for (const guest of guests) {
    const group = groups.get(guest.content);
    if (group) group.push(guest);
    else groups.set(guest.content, [guest]);
  }
  return [...groups.values()];
};

const allMerged = (guests: readonly ScannedGuest[]): number =>
  guests.reduce((sum, { mergedPages }) => sum + mergedPages, 0);

/** A whole scan is done; true: the next one may find more. */
const endScan = <Guest extends ScannedGuest>(scan: ScanState, merging: Merging<Guest>, nowUs: number): boolean => {
  const guests = merging.guests();
  let restless = false;
  scan.scans += 1;
  for (const group of groupsOf(guests)) {
    const targets = targetsOf(scan, group, nowUs);
    const found = group.map((guest, index) => ({ guest, pages: targets[index] ?? 0 }));
    if (found.some(({ guest, pages }) => pages > guest.mergedPages)) merging.merge(found);
    for (const { id } of group) {
      const pages = scan.guests[id];
      if (!pages) continue;
      restless ||= group.length > 1 && pages.scans === 0;
      pages.scans += 1;
    }
  }
  return restless || allMerged(merging.guests()) > allMerged(guests);
};

const beginScan = (scan: ScanState, guests: readonly ScannedGuest[], nowUs: number): void => {
  scan.beganUs = guests.length === 0 ? null : nowUs;
  scan.endsUs = guests.length === 0 ? null : nowUs + scanUs(guests);
};

/** The end of the scan, or the next time that a guest writes to pages that may be merged. */
const nextLookUs = (scan: ScanState, guests: readonly ScannedGuest[], nowUs: number): number | null => {
  const writes = guests.map((guest) => (guest.mergedPages === 0 ? null : nextWriteUs(scan, guest, nowUs)));
  const all = [scan.endsUs, ...writes].filter((dueUs) => dueUs !== null);
  return all.length === 0 ? null : Math.min(...all);
};

/**
 * Looks at the host's guests after anything has happened, and when a look is due: what they wrote to becomes their own again, and at the end of a scan what was found
 * equal becomes one.
 */
export const lookAtPages = <Guest extends ScannedGuest>(
  scan: ScanState,
  merging: Merging<Guest>,
  nowUs: number,
): void => {
  const before = merging.guests();
  const begins = followGuests(scan, before, nowUs);
  for (const guest of before) {
    const written = guest.mergedPages - equalPages(scan, guest, nowUs);
    if (written > 0) merging.unmerge(guest, written);
  }
  if (scan.endsUs !== null && scan.endsUs <= nowUs) {
    const restless = endScan(scan, merging, nowUs);
    beginScan(scan, merging.guests(), nowUs);
    if (!restless) scan.endsUs = null;
  }
  const guests = merging.guests();
  if (begins && scan.endsUs === null) {
    scan.scans = scansAt(scan, guests, nowUs);
    beginScan(scan, guests, nowUs);
  }
  scan.dueUs = nextLookUs(scan, guests, nowUs);
};
