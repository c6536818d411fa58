import type { Uuid } from '@xenolith/kernel';
import type { Demand, HostTable } from './host-table.js';

/** Offers under way; one whose command came to nothing is dropped beyond this many. They only lean scores, so a lost one costs little. */
const OFFERS_MAX = 4_096;

interface Offer {
  slot: number | null;
  demand: Demand;
  /** Hosts that refused this placement's command in earlier attempts. */
  readonly refusedBy: Set<number>;
}

/** Hosts that were proposed and not confirmed yet, so that commands side by side spread and a second attempt tries another host. */
export class OfferBook {
  private readonly offers = new Map<Uuid, Offer>();

  constructor(private readonly table: HostTable) {}

  /** Begins an attempt: the host of the one before, which came to nothing, is passed over from now on. */
  again(placement: Uuid, attempt: number): ReadonlySet<number> | undefined {
    const offer = this.offers.get(placement);
    if (!offer) return undefined;
    if (attempt <= 1) {
      this.end(placement);
      return undefined;
    }
    if (offer.slot !== null) offer.refusedBy.add(offer.slot);
    this.withdraw(offer);
    return offer.refusedBy;
  }

  make(placement: Uuid, slot: number, demand: Demand): void {
    const offer = this.offers.get(placement) ?? { slot: null, demand, refusedBy: new Set<number>() };
    this.withdraw(offer);
    offer.slot = slot;
    offer.demand = demand;
    this.table.offer(slot, demand, 1);
    this.offers.set(placement, offer);
    if (this.offers.size > OFFERS_MAX) {
      const oldest = this.offers.keys().next();
      if (oldest.done !== true) this.end(oldest.value);
    }
  }

  end(placement: Uuid): void {
    const offer = this.offers.get(placement);
    if (!offer) return;
    this.withdraw(offer);
    this.offers.delete(placement);
  }

  private withdraw(offer: Offer): void {
    if (offer.slot !== null) this.table.offer(offer.slot, offer.demand, -1);
    offer.slot = null;
  }
}
