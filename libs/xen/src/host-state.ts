import { memoryOverheadBytes, uuidFrom, type Uuid } from '@xenolith/kernel';
import { allocatableBytesOf, HARDWARE_PROFILES, type ProfileName } from './hardware-profile.js';
import type { DomainSettings, GuestEnd, HostEvent, HostInput, Ticket } from './host-model.js';

/** A host of the simple model, as JSON. */
export interface HostState {
  readonly name: string;
  readonly seed: string;
  readonly profile: ProfileName;
  /** When it booted for the first time; part of its boot ids, so that a host that lost its memory is another one. */
  readonly bornAt: number;
  readonly boots: number;
  /** Differs after every boot. */
  readonly bootId: Uuid;
  /** No input or due event lies before this. */
  readonly at: number;
  /** Set while the host boots after a crash. */
  readonly upAt: number | null;
  /** What came while the host was down, in order. */
  readonly waiting: readonly HostInput[];
  readonly nextDomid: number;
  readonly usedBytes: number;
  readonly domains: Readonly<Record<Uuid, DomainState>>;
  /** The youngest run of each machine that ended here: it and older ones never start again. */
  readonly ended: Readonly<Record<Uuid, number>>;
}

export interface DomainState {
  readonly uid: Uuid;
  readonly incarnation: number;
  readonly domid: number;
  /** `ending`: it is being torn down. `shutdown`: its guest ended and it is preserved. */
  readonly phase: 'building' | 'up' | 'ending' | 'shutdown';
  readonly paused: boolean;
  readonly settings: DomainSettings;
  /** With overhead; held until the domain is gone. */
  readonly memoryBytes: number;
  readonly waiting: readonly Waiting[];
  readonly tasks: readonly Task[];
}

/** Somebody waits for the domain to be up (`start`, `reboot`) or gone (`end`). */
export interface Waiting {
  readonly ticket: Ticket;
  readonly for: 'start' | 'reboot' | 'end';
}

/** What happens to a domain at `due` unless something comes between. */
export type Task =
  | { readonly due: number; readonly do: 'built' }
  | { readonly due: number; readonly do: 'booted' }
  /** The guest stops; `asked` when a clean request made it, which counts as long as somebody waits for it. */
  | { readonly due: number; readonly do: 'guestEnds'; readonly reason: GuestEnd }
  | { readonly due: number; readonly do: 'giveUp'; readonly ticket: Ticket; readonly timeoutMs: number }
  | { readonly due: number; readonly do: 'gone' };

/** A step in the making: the newest state and what has come of it so far. */
export interface Draft {
  host: HostState;
  readonly events: HostEvent[];
}

/** Domain ids from here on are Xen's own (public/xen.h, DOMID_FIRST_RESERVED). */
const DOMID_FIRST_RESERVED = 0x7ff0;

/** Ended runs that a host remembers; a command that comes after so many others have ended is refused by its own age elsewhere. */
const ENDED_REMEMBERED = 1_000;

export const bootIdOf = (host: { name: string; seed: string; bornAt: number }, boots: number): Uuid =>
  uuidFrom('boot', host.seed, host.name, host.bornAt, boots);

export const freeBytes = (host: HostState): number =>
  allocatableBytesOf(HARDWARE_PROFILES[host.profile]) - host.usedBytes;

/** Guest memory with what Xen and the toolstack need for it. */
export const domainBytes = (settings: DomainSettings): number =>
  settings.staticMaxBytes +
  memoryOverheadBytes({
    guestType: settings.guestType,
    vcpus: settings.vcpus,
    staticMaxBytes: settings.staticMaxBytes,
  });

export const putDomain = (draft: Draft, domain: DomainState): void => {
  const before = draft.host.domains[domain.uid]?.memoryBytes ?? 0;
  draft.host = {
    ...draft.host,
    usedBytes: draft.host.usedBytes - before + domain.memoryBytes,
    domains: { ...draft.host.domains, [domain.uid]: domain },
  };
};

/** Takes the domain away and remembers that its run has ended. */
export const removeDomain = (draft: Draft, domain: DomainState): void => {
  const { [domain.uid]: _gone, ...domains } = draft.host.domains;
  draft.host = { ...draft.host, domains, usedBytes: draft.host.usedBytes - domain.memoryBytes };
  rememberEnded(draft, domain.uid, domain.incarnation);
};

export const rememberEnded = (draft: Draft, uid: Uuid, incarnation: number): void => {
  const { [uid]: known, ...others } = draft.host.ended;
  const ended: Record<Uuid, number> = { ...others, [uid]: Math.max(known ?? 0, incarnation) };
  const uids = Object.keys(ended);
  for (const oldest of uids.slice(0, Math.max(0, uids.length - ENDED_REMEMBERED)))
    Reflect.deleteProperty(ended, oldest);
  draft.host = { ...draft.host, ended };
};

/** Domain ids grow from 1 and are used again only after all others were. */
export const takeDomid = (draft: Draft): number => {
  const used = new Set(Object.values(draft.host.domains).map((domain) => domain.domid));
  let domid = draft.host.nextDomid;
  while (used.has(domid)) domid = domid + 1 < DOMID_FIRST_RESERVED ? domid + 1 : 1;
  draft.host = { ...draft.host, nextDomid: domid + 1 < DOMID_FIRST_RESERVED ? domid + 1 : 1 };
  return domid;
};
