import { assert } from '@xenolith/kernel';

/** A page of x86 (`XEN_PAGE_SIZE`). */
export const PAGE_BYTES = 4096;
/** Four indices and padding stand before the entries (xen/include/public/io/ring.h, `struct __name##_sring`). */
const RING_HEADER_BYTES = 64;

/** Bytes of an entry, the larger of request and response, on x86-64 (public/io/blkif.h, public/io/netif.h). */
export const ENTRY_BYTES = { blkif: 112, netifTx: 12, netifRx: 8 } as const;

/**
 * Entries of a ring: the largest power of two that fits behind the header (`__RING_SIZE` of public/io/ring.h). One page holds 32
 * entries of blkif and 256 of netif in each direction.
 */
export const ringEntries = (entryBytes: number, pages = 1): number => {
  const fit = Math.floor((pages * PAGE_BYTES - RING_HEADER_BYTES) / entryBytes);
  assert(fit >= 1, `an entry of ${entryBytes} bytes fits into ${pages} pages`);
  return 2 ** Math.floor(Math.log2(fit));
};

/**
 * The indices of both ends and of the shared page. All run freely over 32 bits and wrap; what they name is found by `index % size`. JSON; changed in
 * place by the functions below (xen/include/public/io/ring.h).
 */
export interface RingIndices {
  readonly size: number;
  /** In the shared page. */
  reqProd: number;
  reqEvent: number;
  rspProd: number;
  rspEvent: number;
  /** The front-end's own: requests it filled in, responses it took. */
  reqProdPvt: number;
  rspCons: number;
  /** The back-end's own: responses it filled in, requests it took. */
  rspProdPvt: number;
  reqCons: number;
}

/** A ring with its entries: a response takes the slot of a request that was read. */
export interface Ring<Request, Response> extends RingIndices {
  readonly slots: (Request | Response | null)[];
}

const add = (index: number, count: number): number => (index + count) >>> 0;
const distance = (from: number, to: number): number => (to - from) >>> 0;

const indices = (size: number, start: number): RingIndices => {
  assert(Number.isInteger(Math.log2(size)), `a ring has a power of two entries, not ${size}`);
  return {
    size,
    reqProd: start,
    reqEvent: add(start, 1),
    rspProd: start,
    rspEvent: add(start, 1),
    reqProdPvt: start,
    rspCons: start,
    rspProdPvt: start,
    reqCons: start,
  };
};

/** An empty ring (`SHARED_RING_INIT`). `start`: where its indices begin, 0 on Xen; another value only brings the wrap nearer. */
export const createRing = <Request, Response>(size: number, start = 0): Ring<Request, Response> => ({
  ...indices(size, start >>> 0),
  slots: Array.from({ length: size }, () => null),
});

/** An empty ring of which only the counts are kept, for `advanceRing`. */
export const createRingIndices = (size: number): RingIndices => indices(size, 0);

/** Slots the front-end may still fill (`RING_FREE_REQUESTS`). */
export const freeRequests = (ring: RingIndices): number => ring.size - distance(ring.rspCons, ring.reqProdPvt);

/** `RING_FULL`: the guest must wait; it is told that the device is busy, and nothing is dropped. */
export const isRingFull = (ring: RingIndices): boolean => freeRequests(ring) === 0;

/** Requests that the back-end has not answered. */
export const requestsInFlight = (ring: RingIndices): number => distance(ring.rspProd, ring.reqProd);

/** Front-end: fills in the next request; false: the ring is full and nothing happened. The back-end does not see it before `pushRequests`. */
export const putRequest = <Request, Response>(ring: Ring<Request, Response>, request: Request): boolean => {
  if (isRingFull(ring)) return false;
  ring.slots[ring.reqProdPvt % ring.size] = request;
  ring.reqProdPvt = add(ring.reqProdPvt, 1);
  return true;
};

/** Front-end: shows its requests; true: the back-end asked to be notified (`RING_PUSH_REQUESTS_AND_CHECK_NOTIFY`). */
export const pushRequests = (ring: RingIndices): boolean => {
  const old = ring.reqProd;
  ring.reqProd = ring.reqProdPvt;
  return distance(ring.reqEvent, ring.reqProd) < distance(old, ring.reqProd);
};

/** Back-end: the front-end claims more requests than the ring has (`RING_REQUEST_PROD_OVERFLOW`): it is ill-behaved, the device must stop. */
export const hasRequestOverflow = (ring: RingIndices): boolean => distance(ring.rspProdPvt, ring.reqProd) > ring.size;

/** Front-end: the back-end claims more responses than there were requests (`RING_RESPONSE_PROD_OVERFLOW`). */
export const hasResponseOverflow = (ring: RingIndices): boolean => distance(ring.rspCons, ring.rspProd) > ring.size;

/** Back-end: requests it can take now; never more than fit between its responses and its consumer (`RING_HAS_UNCONSUMED_REQUESTS`). */
export const unconsumedRequests = (ring: RingIndices): number => {
  const shown = distance(ring.reqCons, ring.reqProd);
  const room = ring.size - distance(ring.rspProdPvt, ring.reqCons);
  return Math.max(0, Math.min(shown, room));
};

/** Front-end: responses it can take now (`RING_HAS_UNCONSUMED_RESPONSES`). */
export const unconsumedResponses = (ring: RingIndices): number => distance(ring.rspCons, ring.rspProd);

/** Back-end: takes the next request; null: there is none. */
export const takeRequest = <Request, Response>(ring: Ring<Request, Response>): Request | null => {
  if (unconsumedRequests(ring) === 0) return null;
  const request = ring.slots[ring.reqCons % ring.size] as Request;
  ring.reqCons = add(ring.reqCons, 1);
  return request;
};

/** Back-end: before it sleeps; true: requests came meanwhile, it must go on (`RING_FINAL_CHECK_FOR_REQUESTS`). */
export const finalCheckForRequests = (ring: RingIndices): boolean => {
  if (unconsumedRequests(ring) > 0) return true;
  ring.reqEvent = add(ring.reqCons, 1);
  return unconsumedRequests(ring) > 0;
};

/** Back-end: fills in the next response. It takes the slot of a request that was taken before, so there is always room. */
export const putResponse = <Request, Response>(ring: Ring<Request, Response>, response: Response): void => {
  assert(distance(ring.rspProdPvt, ring.reqCons) > 0, 'a back-end answers only requests that it took');
  ring.slots[ring.rspProdPvt % ring.size] = response;
  ring.rspProdPvt = add(ring.rspProdPvt, 1);
};

/** Back-end: shows its responses; true: the front-end asked to be notified (`RING_PUSH_RESPONSES_AND_CHECK_NOTIFY`). */
export const pushResponses = (ring: RingIndices): boolean => {
  const old = ring.rspProd;
  ring.rspProd = ring.rspProdPvt;
  return distance(ring.rspEvent, ring.rspProd) < distance(old, ring.rspProd);
};

/** Front-end: takes the next response; null: there is none. Its slot is free again. */
export const takeResponse = <Request, Response>(ring: Ring<Request, Response>): Response | null => {
  if (unconsumedResponses(ring) === 0) return null;
  const slot = ring.rspCons % ring.size;
  const response = ring.slots[slot] as Response;
  ring.slots[slot] = null;
  ring.rspCons = add(ring.rspCons, 1);
  return response;
};

/** Front-end: before it sleeps; true: responses came meanwhile (`RING_FINAL_CHECK_FOR_RESPONSES`). */
export const finalCheckForResponses = (ring: RingIndices): boolean => {
  if (unconsumedResponses(ring) > 0) return true;
  ring.rspEvent = add(ring.rspCons, 1);
  return unconsumedResponses(ring) > 0;
};

/** What a stretch of time did to a ring, in whole requests. */
export interface RingAdvance {
  /** Requests that went in. */
  readonly accepted: number;
  /** Requests that found the ring full: the guest still holds them. */
  readonly heldBack: number;
  /** Responses that the front-end took. */
  readonly answered: number;
}

/**
 * Moves whole counts at once, for hosts whose single requests nobody looks at: `requests` are offered and the back-end can answer up to
 * `responses` meanwhile. With a stalled back-end the ring fills to its size, then pushes back. The same counts as the single steps give.
 */
export const advanceRing = (ring: RingIndices, offer: { requests: number; responses: number }): RingAdvance => {
  const outstanding = distance(ring.rspCons, ring.reqProd);
  const answered = Math.min(offer.responses, outstanding + offer.requests);
  const accepted = Math.min(offer.requests, ring.size - outstanding + answered);
  ring.reqProd = add(ring.reqProd, accepted);
  ring.reqProdPvt = ring.reqProd;
  ring.reqCons = ring.reqProd;
  ring.reqEvent = add(ring.reqCons, 1);
  ring.rspProd = add(ring.rspProd, answered);
  ring.rspProdPvt = ring.rspProd;
  ring.rspCons = ring.rspProd;
  ring.rspEvent = add(ring.rspCons, 1);
  return { accepted, heldBack: offer.requests - accepted, answered };
};
