import { assert } from '@xenolith/kernel';

const SECOND_US = 1_000_000;

/** What a guest wants of a device, and what the device can do: rates that hold until one of them changes. */
export interface FlowRates {
  /** Requests per second that the guest offers. */
  readonly offered: number;
  /** Requests per second that the back-end can answer; 0: it is stalled. */
  readonly capacity: number;
  /** Bytes of one request, on average. */
  readonly requestBytes: number;
  /** Microseconds from a request to its response when nothing waits. */
  readonly latencyUs: number;
}

/** The data path of a device as a fluid: what was counted until the last change, and the rates since. JSON. */
export interface Flow {
  readonly rates: FlowRates;
  /** Entries of all its rings. */
  readonly ringSize: number;
  readonly sinceUs: number;
  /** Requests in the rings at `sinceUs`. */
  readonly inFlight: number;
  /** Requests that went in until `sinceUs`. */
  readonly accepted: number;
  readonly completed: number;
  readonly completedBytes: number;
  /** Microseconds in which the rings were full and the guest was held back. */
  readonly ringFullUs: number;
  /** Requests that found no room meanwhile; the guest holds them and offers others later. */
  readonly heldBack: number;
}

/** Whole numbers, as counters of a device show them. */
export interface FlowFigures {
  readonly requests: number;
  readonly bytes: number;
  readonly inFlight: number;
  readonly ringFullUs: number;
  readonly heldBack: number;
  /** Microseconds that a request which comes now will take; null: it is not answered, the back-end is stalled. */
  readonly latencyUs: number | null;
}

const IDLE: FlowRates = { offered: 0, capacity: 0, requestBytes: 0, latencyUs: 0 };

export const createFlow = (ringSize: number, nowUs: number): Flow => ({
  rates: IDLE,
  ringSize,
  sinceUs: nowUs,
  inFlight: 0,
  accepted: 0,
  completed: 0,
  completedBytes: 0,
  ringFullUs: 0,
  heldBack: 0,
});

/**
 * Requests per second that the device answers at most: the back-end's capacity, and no more than the ring's entries turn round in their latency
 * (Little's law).
 */
export const flowService = ({ rates, ringSize }: Flow): number => {
  if (rates.latencyUs === 0) return rates.capacity;
  return Math.min(rates.capacity, (ringSize * SECOND_US) / rates.latencyUs);
};

/** What `elapsedUs` after the last change stands in the rings, since when they are full, and what went in. */
const waiting = (
  flow: Flow,
  elapsedUs: number,
): { inFlight: number; fullUs: number; accepted: number; heldBack: number } => {
  const { rates, ringSize, inFlight } = flow;
  const service = flowService(flow);
  const seconds = elapsedUs / SECOND_US;
  if (rates.offered > service) {
    const growth = rates.offered - service;
    const secondsToFull = (ringSize - inFlight) / growth;
    if (seconds < secondsToFull)
      return { inFlight: inFlight + growth * seconds, fullUs: 0, accepted: rates.offered * seconds, heldBack: 0 };
    const fullSeconds = seconds - secondsToFull;
    const accepted = rates.offered * secondsToFull + service * fullSeconds;
    return { inFlight: ringSize, fullUs: fullSeconds * SECOND_US, accepted, heldBack: growth * fullSeconds };
  }
  // The device keeps up: what had gathered drains, down to what is always under way.
  const underWay = Math.min(ringSize, (rates.offered * rates.latencyUs) / SECOND_US);
  const drained = Math.max(0, inFlight - (service - rates.offered) * seconds);
  const left = elapsedUs === 0 ? inFlight : Math.max(underWay, drained);
  // What is under way at once when a load begins was offered in its first moments.
  const accepted = Math.max(rates.offered * seconds, left - inFlight);
  return { inFlight: left, fullUs: 0, accepted, heldBack: 0 };
};

/** The same flow, counted up to `nowUs`. */
const settle = (flow: Flow, nowUs: number): Flow => {
  assert(nowUs >= flow.sinceUs, 'time does not run backwards');
  const now = waiting(flow, nowUs - flow.sinceUs);
  const completed = Math.max(0, now.accepted - (now.inFlight - flow.inFlight));
  return {
    ...flow,
    sinceUs: nowUs,
    inFlight: now.inFlight,
    accepted: flow.accepted + now.accepted,
    completed: flow.completed + completed,
    completedBytes: flow.completedBytes + completed * flow.rates.requestBytes,
    ringFullUs: flow.ringFullUs + now.fullUs,
    heldBack: flow.heldBack + now.heldBack,
  };
};

/** From now on other rates hold: a workload began or ended, a back-end slowed down, stalled or came back. Nothing in the rings is lost. */
export const changeFlow = (flow: Flow, change: Partial<FlowRates>, nowUs: number): Flow => ({
  ...settle(flow, nowUs),
  rates: { ...flow.rates, ...change },
});

/** What the device's counters show at `nowUs`. Asking changes nothing. */
export const flowFigures = (flow: Flow, nowUs: number): FlowFigures => {
  const now = settle(flow, nowUs);
  const service = flowService(flow);
  return {
    requests: Math.floor(now.completed),
    bytes: Math.floor(now.completedBytes),
    inFlight: Math.round(now.inFlight),
    ringFullUs: Math.floor(now.ringFullUs),
    heldBack: Math.floor(now.heldBack),
    latencyUs: service === 0 ? null : Math.round(Math.max(flow.rates.latencyUs, (now.inFlight / service) * SECOND_US)),
  };
};
