import { categoryOf, virtualMachineKind } from '@xenolith/contracts';
import type { Index, IndexedEvent } from '@xenolith/engine';
import type { JsonObject, StoredDocument, Uuid } from '@xenolith/kernel';
import type { RestartRule } from './resident.js';

const MACHINE_CATEGORY = categoryOf(virtualMachineKind);

interface MachineSpec {
  readonly ha?: {
    readonly restart: 'always' | 'best-effort' | 'never';
    readonly priority: number;
    readonly order?: number;
    readonly startDelaySeconds?: number;
  };
  readonly placement?: { readonly host?: string };
}

/** One object for the many that ask for nothing. */
const NOTHING: RestartRule = { ha: undefined, host: undefined };

/** Undefined: the machine says nothing of it, so that its placement counts. */
const ruleOf = ({ ha, placement }: MachineSpec): RestartRule | undefined => {
  if (!ha) return undefined;
  const host = placement?.host;
  const { restart, priority, order = 0, startDelaySeconds = 0 } = ha;
  if (restart === 'never') return host === undefined ? NOTHING : { ha: undefined, host };
  return { ha: { restart, priority, order, startDelaySeconds }, host };
};

const same = (one: RestartRule, other: RestartRule): boolean =>
  one.host === other.host &&
  one.ha?.restart === other.ha?.restart &&
  one.ha?.priority === other.ha?.priority &&
  one.ha?.order === other.ha?.order &&
  one.ha?.startDelaySeconds === other.ha?.startDelaySeconds;

/** What machines say now of being restarted elsewhere: it counts at once, while their placements say what it was when they were made. */
export class RestartRules implements Index {
  readonly name = 'restart-rules';
  readonly categories = [MACHINE_CATEGORY];
  private readonly rules = new Map<Uuid, RestartRule>();

  /** `changed`: a machine says something else than before. Nobody is told while all is loaded. */
  constructor(private readonly changed: (machine: Uuid) => void) {}

  of(machine: Uuid): RestartRule | undefined {
    return this.rules.get(machine);
  }

  load(documents: readonly StoredDocument[]): void {
    this.rules.clear();
    for (const { streamId, document } of documents) this.set(streamId, document);
  }

  apply({ streamId, document }: IndexedEvent): void {
    if (document === undefined) return;
    const before = this.rules.get(streamId);
    this.set(streamId, document);
    const after = this.rules.get(streamId);
    // A machine that is new has no placement yet, and one that is gone gives its own back.
    if (before && after && !same(before, after)) this.changed(streamId);
  }

  private set(machine: Uuid, document: JsonObject | null): void {
    const rule = document ? ruleOf(document['spec'] as MachineSpec) : undefined;
    if (rule) this.rules.set(machine, rule);
    else this.rules.delete(machine);
  }
}
