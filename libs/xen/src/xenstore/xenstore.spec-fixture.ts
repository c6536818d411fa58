import { createXenstore, Xenstore, type Answer } from './index.js';

/** What a call without an answer answers. */
export const OK = { ok: true, value: null };

/** What a refused call answers. */
export const failing = (errno: string): object => ({ ok: false, errno });

/** A store with these guests. */
export const fresh = (...guests: number[]): Xenstore => {
  const store = new Xenstore(createXenstore());
  for (const guest of guests) store.domains.introduce(0, guest, 7);
  return store;
};

/** The watch events of a call, as watcher, token and path. */
export const told = (answer: Answer<unknown>): string[] =>
  answer.events.map(({ to, token, path }) => `${to} ${token} ${path}`);

/** Begins a transaction; its number. */
export const start = (store: Xenstore, domid = 0): number => {
  const begun = store.transactionStart(domid);
  if (!begun.ok) throw new Error(begun.errno);
  return begun.value;
};
