import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { emptyAgenda, nextDueUs, plan, takeDue } from './agenda.js';

describe('an agenda', () => {
  it('gives what is due in order of time, then of planning, and nothing early', () => {
    const anyStep = fc.oneof(
      fc.record({ plan: fc.integer({ min: 0, max: 20 }) }),
      fc.record({ take: fc.integer({ min: 0, max: 20 }) }),
    );
    fc.assert(
      fc.property(fc.array(anyStep, { maxLength: 80 }), (steps) => {
        const agenda = emptyAgenda<number>();
        // The plain model: a list that is sorted anew each time; sorting is stable.
        let model: { due: number; task: number }[] = [];
        for (const [task, step] of steps.entries())
          if ('plan' in step) {
            plan(agenda, step.plan, task);
            model = [...model, { due: step.plan, task }].sort((left, right) => left.due - right.due);
          } else {
            const [first] = model;
            const expected = first && first.due <= step.take ? first : undefined;
            expect(nextDueUs(agenda)).toBe(first?.due ?? null);
            expect(takeDue(agenda, step.take)?.task).toBe(expected?.task);
            if (expected) model = model.slice(1);
          }
      }),
    );
  });
});
