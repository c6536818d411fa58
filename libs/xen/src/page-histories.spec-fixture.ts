import fc from 'fast-check';
import type { Asked } from './host/host.spec-fixture.js';
import type { DomainSettings } from './index.js';

/** What may happen to machines whose equal pages are merged, beside how large they are. */
export const pageStep = {
  uid: fc.constantFrom('a', 'b', 'c', 'd'),
  pauseMs: fc.integer({ min: 0, max: 300_000 }),
  what: fc.constantFrom(
    'start',
    'start',
    'start',
    'pause',
    'unpause',
    'destroy',
    'reboot',
    'change',
    'crash',
    'checkpoint',
  ),
  workload: fc.constantFrom('idle', 'web', 'build', 'memory-stress'),
} as const;

interface Step {
  readonly uid: string;
  readonly what: typeof pageStep.what extends fc.Arbitrary<infer What> ? What : never;
}

interface Rig {
  crash(): void;
  tell(input: Asked): unknown;
}

const TIMEOUT_MS = 9_000;

/** Does a step on the run of the machine that began last. `runs`: the incarnation of each machine so far. */
export const doPageStep = (
  rig: Rig,
  { uid, what }: Step,
  more: {
    readonly runs: Map<string, number>;
    readonly settings: DomainSettings;
    readonly change: Partial<DomainSettings>;
  },
): void => {
  const incarnation = more.runs.get(uid) ?? 1;
  switch (what) {
    case 'crash':
      rig.crash();
      return;
    case 'start':
      more.runs.set(uid, incarnation + 1);
      rig.tell({ do: 'start', uid, incarnation: incarnation + 1, settings: more.settings, paused: false });
      return;
    case 'reboot':
      rig.tell({ do: 'reboot', uid, incarnation, mode: 'hard', timeoutMs: TIMEOUT_MS });
      return;
    case 'checkpoint':
      rig.tell({ do: 'checkpoint', uid, incarnation, timeoutMs: TIMEOUT_MS });
      return;
    case 'change':
      rig.tell({ do: 'change', uid, incarnation, change: more.change });
      return;
    case 'pause':
    case 'unpause':
    case 'destroy':
      rig.tell({ do: what, uid, incarnation });
  }
};
