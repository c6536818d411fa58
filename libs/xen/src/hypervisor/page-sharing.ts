import { done, fail, type Outcome } from '../outcome.js';
import { planFor, settleBalloons, shiftBalloon, totalPages } from './balloon-motion.js';
import { addPages, freePages, givePages, takePages } from './node-memory.js';
import { addShared, splitShared } from './shared-frames.js';
import { domainOf, knownDomain, sum, type DomainState, type HypervisorState } from './state.js';

/** Pages that sharing spares and the frames that stand for them, as `xl info` prints them (xen/arch/x86/mm/mem_sharing.c, its two counters). */
export interface SharingCounts {
  readonly freedPages: number;
  readonly usedFrames: number;
}

/** Memory sharing between HVM guests: equal pages have one frame until one of them writes. Which pages are equal, the caller says. */
export class PageSharing {
  constructor(private readonly state: HypervisorState) {}

  private sharer(domid: number): Outcome<DomainState> {
    const domain = domainOf(this.state, domid);
    if (!domain.ok) return domain;
    if (domain.value.dying !== 'alive') return fail('EINVAL');
    // Only with hardware-assisted paging, and never with pass-through: a device does not take page faults.
    if (!domain.value.hap) return fail('ENODEV');
    return domain.value.iommu ? fail('EXDEV') : domain;
  }

  /**
   * `pages` private pages of each of the domains have the same content and become one frame each; the frames of all but the first domain are freed. EINVAL:
   * fewer than two domains, one of them has fewer pages, or is dying. ENODEV: one is not HVM with hardware-assisted paging. EXDEV: one may have
   * pass-through devices.
   */
  share(domids: readonly number[], pages: number, nowUs: number): Outcome<null> {
    const members = [...new Set(domids)].sort((a, b) => a - b);
    if (members.length < 2 || pages < 1) return fail('EINVAL');
    settleBalloons(this.state, nowUs);
    for (const domid of members) {
      const domain = this.sharer(domid);
      if (!domain.ok) return domain;
      if (totalPages(domain.value, nowUs) < pages) return fail('EINVAL');
    }
    const first = domids[0];
    for (const domid of members) {
      const domain = knownDomain(this.state, domid);
      const frames = takePages(domain.pages, pages);
      shiftBalloon(domain, -pages);
      domain.sharedPages += pages;
      if (domid === first) addShared(this.state, { pages: frames, members });
      else freePages(this.state, frames);
    }
    return done(null);
  }

  /**
   * Private pages of the domain, `pages` at most, have the content of frames that `sharer` has and the domain has not: it gets entries to those, and its own frames
   * are freed. Frames that most domains have come first. Answers how many it joined. EINVAL: it has fewer pages, or either is dying. ENODEV, EXDEV: as of share.
   */
  join(domid: number, sharer: number, pages: number, nowUs: number): Outcome<number> {
    for (const member of [domid, sharer]) {
      const found = this.sharer(member);
      if (!found.ok) return found;
    }
    settleBalloons(this.state, nowUs);
    const domain = knownDomain(this.state, domid);
    if (totalPages(domain, nowUs) < pages) return fail('EINVAL');
    const offered = this.state.shared
      .filter(({ members }) => members.includes(sharer) && !members.includes(domid))
      .sort((a, b) => b.members.length - a.members.length);
    let joined = 0;
    for (const frames of offered) {
      const part = splitShared(frames, pages - joined);
      joined += sum(part.pages);
      addShared(this.state, { ...part, members: [...part.members, domid].sort((a, b) => a - b) });
    }
    this.state.shared = this.state.shared.filter((frames) => sum(frames.pages) > 0);
    freePages(this.state, takePages(domain.pages, joined));
    shiftBalloon(domain, -joined);
    domain.sharedPages += joined;
    return done(joined);
  }

  /**
   * The domain writes to `pages` of its shared pages: each becomes private, with a new frame unless nobody else is left on it; those that the fewest domains have come first. EINVAL: it
   * has not so many. ENOMEM: the host has no frames; nothing changed.
   */
  breakSharing(domid: number, pages: number, nowUs: number): Outcome<null> {
    const found = domainOf(this.state, domid);
    if (!found.ok) return found;
    const domain = found.value;
    if (pages > domain.sharedPages) return fail('EINVAL');
    settleBalloons(this.state, nowUs);
    let [remaining, copied] = [pages, 0];
    const touched: { readonly index: number; readonly pages: number }[] = [];
    const own = [...this.state.shared.entries()]
      .filter(([, { members }]) => members.includes(domid))
      .sort(([, a], [, b]) => a.members.length - b.members.length);
    for (const [index, frames] of own) {
      if (remaining === 0) break;
      const part = Math.min(remaining, sum(frames.pages));
      touched.push({ index, pages: part });
      remaining -= part;
      if (frames.members.length > 1) copied += part;
    }
    const plan = planFor(this.state, domain, copied, 0);
    if (plan.pages < copied) return fail('ENOMEM');
    givePages(this.state, domain, plan);
    const split = touched.flatMap((part) => {
      const frames = this.state.shared[part.index];
      return frames ? [splitShared(frames, part.pages)] : [];
    });
    for (const { pages: frames, members } of split) {
      const others = members.filter((member) => member !== domid);
      if (others.length > 0) addShared(this.state, { pages: frames, members: others });
      else addPages(domain.pages, frames);
    }
    this.state.shared = this.state.shared.filter((frames) => sum(frames.pages) > 0);
    domain.sharedPages -= pages;
    shiftBalloon(domain, pages);
    return done(null);
  }

  counts(): SharingCounts {
    let [freedPages, usedFrames] = [0, 0];
    for (const { pages, members } of this.state.shared) {
      usedFrames += sum(pages);
      freedPages += sum(pages) * (members.length - 1);
    }
    return { freedPages, usedFrames };
  }
}
