import { addPages, freePages, takePages } from './node-memory.js';
import { sum, type DomainState, type HypervisorState, type SharedFrames } from './state.js';

const sameMembers = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((member, index) => member === b[index]);

/** Adds frames to those that the same domains share already. */
export const addShared = (state: HypervisorState, frames: SharedFrames): void => {
  if (sum(frames.pages) === 0) return;
  const known = state.shared.find((other) => sameMembers(other.members, frames.members));
  if (known) addPages(known.pages, frames.pages);
  else state.shared.push(frames);
};

/** Splits off up to `pages` of the frames; what is left stays. */
export const splitShared = (frames: SharedFrames, pages: number): SharedFrames => ({
  pages: takePages(frames.pages, Math.min(pages, sum(frames.pages))),
  members: frames.members,
});

/** A domain's entries to shared frames go with it; frames that were its alone are freed. */
export const leaveSharing = (state: HypervisorState, domain: DomainState): void => {
  if (domain.sharedPages === 0) return;
  const all = state.shared;
  state.shared = [];
  for (const frames of all) {
    const members = frames.members.filter((member) => member !== domain.domid);
    if (members.length > 0) addShared(state, { pages: frames.pages, members });
    else freePages(state, frames.pages);
  }
  domain.sharedPages = 0;
};
