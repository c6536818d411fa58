import { HostSearch } from './choice.js';
import { FlavourMix } from './flavour-mix.js';
import { HostShare } from './host-share.js';
import { HostTable } from './host-table.js';
import { Lifetimes } from './lifetimes.js';
import { AffinityBook } from './machine-affinity.js';
import { OfferBook } from './offer-book.js';
import type { Proposal } from './placement.decide.js';
import { ClassBook, type RequestClass } from './request-class.js';
import type { Outlook } from './scores.js';

/** Everything in memory about hosts, made anew when the index is loaded; `share`: the hosts that come first among equals. */
export const emptyFleet = (share = new HostShare()) => {
  const table = new HostTable();
  const outlook: Outlook = {
    table,
    affinity: new AffinityBook(table),
    lifetimes: new Lifetimes(),
    mix: new FlavourMix(),
    share,
  };
  return {
    ...outlook,
    outlook,
    search: new HostSearch(outlook),
    offers: new OfferBook(table),
    classes: new ClassBook(),
    /** What was found of a class that fits nowhere, and at which revision of the table. */
    refusals: new WeakMap<RequestClass, { readonly revision: number; readonly refused: Proposal }>(),
  };
};
