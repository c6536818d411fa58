import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Flow, FlowRates } from './flow.js';
import { changeFlow, createFlow, flowFigures } from './flow.js';

const SECOND = 1_000_000;
const load: FlowRates = { offered: 1000, capacity: 5000, requestBytes: 4096, latencyUs: 2000 };

describe('the data path of a device', () => {
  it('completes what is offered, less what is under way, when the device keeps up', () => {
    const flow = changeFlow(createFlow(32, 0), load, 0);
    const figures = flowFigures(flow, 10 * SECOND);
    // Little: 1000/s for 2 ms each are 2 under way.
    expect(figures).toEqual({
      requests: 9998,
      bytes: 9998 * 4096,
      inFlight: 2,
      ringFullUs: 0,
      heldBack: 0,
      latencyUs: 2000,
    });
  });

  it('fills the ring behind a stalled back-end, holds the guest back, and loses nothing when it comes back', () => {
    let flow = changeFlow(createFlow(32, 0), { ...load, latencyUs: 0, capacity: 0 }, 0);
    expect(flowFigures(flow, 16_000).inFlight).toBe(16);
    // 32 entries at 1000/s: full after 32 ms.
    expect(flowFigures(flow, SECOND)).toEqual({
      requests: 0,
      bytes: 0,
      inFlight: 32,
      ringFullUs: 968_000,
      heldBack: 968,
      latencyUs: null,
    });
    flow = changeFlow(flow, { capacity: 5000 }, SECOND);
    // It drains at 4000/s: empty 8 ms later, and everything that went in came out.
    expect(flowFigures(flow, SECOND + 8000)).toMatchObject({ requests: 40, inFlight: 0, ringFullUs: 968_000 });
  });

  it('is bounded by the ring and the latency, whatever the back-end could do', () => {
    const flow = changeFlow(createFlow(32, 0), { offered: 1e6, capacity: 1e6, requestBytes: 512, latencyUs: 1000 }, 0);
    const rate = flowFigures(flow, 11 * SECOND).requests - flowFigures(flow, SECOND).requests;
    expect(rate).toBe(320_000);
  });

  it('shows the same however its time is cut, never runs backwards, and conserves requests', () => {
    const rates = fc.record({
      offered: fc.integer({ min: 0, max: 20_000 }),
      capacity: fc.integer({ min: 0, max: 20_000 }),
      requestBytes: fc.constant(4096),
      latencyUs: fc.integer({ min: 0, max: 50_000 }),
    });
    const history = fc.array(fc.tuple(rates, fc.integer({ min: 0, max: SECOND })), { maxLength: 8 });
    fc.assert(
      fc.property(history, fc.constantFrom(32, 256), (changes, ringSize) => {
        let [flow, now]: [Flow, number] = [createFlow(ringSize, 0), 0];
        let before = flowFigures(flow, 0);
        for (const [change, durationUs] of changes) {
          flow = changeFlow(flow, change, now);
          flowFigures(flow, now + durationUs / 2);
          now += durationUs;
          const after = flowFigures(flow, now);
          expect(after.requests).toBeGreaterThanOrEqual(before.requests);
          expect(after.ringFullUs).toBeGreaterThanOrEqual(before.ringFullUs);
          expect(after.inFlight).toBeLessThanOrEqual(ringSize);
          const settled = changeFlow(flow, {}, now);
          expect(settled.accepted - settled.completed).toBeCloseTo(settled.inFlight, 3);
          before = after;
        }
      }),
    );
  });
});
