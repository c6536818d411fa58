import { ok, type Rejection, type Uuid } from '@xenolith/kernel';
import type { HostAnswer, HostEvent, Ticket } from '../host-model.js';

export const US_PER_MS = 1_000;

/** A host of either kind, as far as it says something at a moment. */
export interface SpeakingHost {
  readonly state: { readonly nowUs: number };
  readonly events: HostEvent[];
}

/** Milliseconds since the epoch, as the outside counts. */
export const nowMs = ({ state }: SpeakingHost): number => Math.floor(state.nowUs / US_PER_MS);

export const answer = (host: SpeakingHost, ticket: Ticket, value: HostAnswer): void => {
  host.events.push({ type: 'answered', ticket, at: nowMs(host), result: ok(value) });
};

export const refuse = (host: SpeakingHost, ticket: Ticket, refusal: { readonly rejection: Rejection }): void => {
  host.events.push({ type: 'answered', ticket, at: nowMs(host), result: { ok: false, ...refusal } });
};

/** Ended runs that a host remembers; a command that comes after so many others have ended is refused by its own age elsewhere. */
const ENDED_REMEMBERED = 1_000;

/** The run has ended on the host: it and older ones never start there again. */
export const rememberEnded = (
  { state: { ended } }: { readonly state: { readonly ended: Record<Uuid, number> } },
  uid: Uuid,
  incarnation: number,
): void => {
  const known = ended[uid] ?? 0;
  // The youngest end comes last, so that the oldest is forgotten first.
  Reflect.deleteProperty(ended, uid);
  ended[uid] = Math.max(known, incarnation);
  const uids = Object.keys(ended);
  for (const oldest of uids.slice(0, Math.max(0, uids.length - ENDED_REMEMBERED)))
    Reflect.deleteProperty(ended, oldest);
};
