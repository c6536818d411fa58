import { faultRuleSpec, type DeviceEffects, type FaultRuleSpec } from '@xenolith/contracts';
import { globOf, hashOf, randomFrom, type JsonObject, type Uuid } from '@xenolith/kernel';
import type { EntryOf, RuleList, Strike } from './journal.js';

interface Rule {
  readonly uid: Uuid;
  readonly spec: FaultRuleSpec;
  readonly hosts: readonly RegExp[];
}

/** Rules as several hosts share them. */
export interface RuleSet {
  readonly hash: string;
  readonly list: RuleList;
  readonly rules: readonly Rule[];
}

export interface Fired {
  readonly count: number;
  readonly host: string;
  readonly command: string;
}

const MS_PER_SECOND = 1000;

const strikeOf = (rule: Rule): Strike => {
  const { effect, match } = rule.spec;
  const then = effect.crashHost ? 'crash' : effect.timeout ? 'timeout' : effect.fail ? 'fail' : 'none';
  return {
    rule: rule.uid,
    phase: match.phase,
    delayMs: (effect.delay ?? 0) * MS_PER_SECOND,
    then,
    code: effect.fail?.code ?? 'fault_injected',
    message: effect.fail?.message ?? 'the fault rule says so',
  };
};

const isInForce = ({ spec, hosts }: Rule, host: string): boolean =>
  spec.enabled && (hosts.length === 0 || hosts.some((glob) => glob.test(host)));

/** The effects without those that the rule does not have. */
const effectsOf = (effects: Partial<DeviceEffects> & Pick<FaultRuleSpec['effect'], 'killDaemon'>): JsonObject =>
  Object.fromEntries(Object.entries(effects).filter(([, value]) => value !== undefined && value !== false));

/**
 * The fault rules of a fleet. Whether a rule strikes a command depends on the rule's seed and the command's id alone, not on what came before; how often
 * it has struck is counted over the whole fleet.
 */
export class FaultRules {
  private readonly sets = new Map<string, RuleSet>();
  private readonly byHost = new Map<string, RuleSet>();
  private readonly firings = new Map<Uuid, Fired>();

  /** Puts a list in force on a host; the answer is the line for the journal, or null when it is in force already. */
  set(host: string, list: RuleList): EntryOf<'rules'> | null {
    const hash = hashOf(list);
    if (this.byHost.get(host)?.hash === hash) return null;
    const known = this.sets.has(hash);
    this.put(host, hash, list);
    return known ? { k: 'rules', host, hash } : { k: 'rules', host, hash, list };
  }

  /** As `set`, from the journal: the list may have come with an earlier line. */
  put(host: string, hash: string, list: RuleList | undefined): void {
    const set = this.sets.get(hash) ?? this.parse(hash, list ?? []);
    this.sets.set(hash, set);
    this.byHost.set(host, set);
  }

  /** What strikes this command, in the rules' order. Each firing counts at once. */
  strike(host: string, command: { readonly type: string; readonly id: Uuid }): Strike[] {
    const strikes: Strike[] = [];
    for (const rule of this.byHost.get(host)?.rules ?? []) {
      if (!this.strikes(rule, host, command)) continue;
      strikes.push(strikeOf(rule));
      this.count(rule.uid, host, command.type);
    }
    return strikes;
  }

  /** What shall go wrong inside a host, in the words of its model, in the rules' order. */
  onDevices(host: string): JsonObject[] {
    return (this.byHost.get(host)?.rules ?? []).flatMap((rule) => {
      const { match, effect, probability, seed } = rule.spec;
      const { devices: onDevices = {}, killDaemon } = effect;
      const effects = effectsOf({ ...onDevices, killDaemon });
      if (Object.keys(effects).length === 0 || !isInForce(rule, host)) return [];
      const { virtualMachines: machines, devices } = match;
      return [{ rule: rule.uid, machines, devices, effects, probability, seed, left: this.left(rule) }];
    });
  }

  killsDaemon(host: string): boolean {
    const rules = this.byHost.get(host)?.rules ?? [];
    return rules.some((rule) => rule.spec.effect.killDaemon !== undefined && isInForce(rule, host));
  }

  /** Whether the rule, if the host knows it, has struck as often as it may. */
  isExhausted(host: string, uid: Uuid): boolean {
    const rule = this.byHost.get(host)?.rules.find((candidate) => candidate.uid === uid);
    return rule !== undefined && this.left(rule) === 0;
  }

  private left({ uid, spec }: Rule): number | null {
    return spec.count === undefined ? null : Math.max(0, spec.count - this.fired(uid).count);
  }

  /** Counts a firing; the answer is how often the rule has struck. */
  count(rule: Uuid, host: string, command: string): void {
    this.firings.set(rule, { count: this.fired(rule).count + 1, host, command });
  }

  fired(rule: Uuid): Fired {
    return this.firings.get(rule) ?? { count: 0, host: '', command: '' };
  }

  restoreFired(rule: Uuid, fired: Fired): void {
    this.firings.set(rule, fired);
  }

  /** The lines that bring this state back. Counts of rules that are in force nowhere are left out. */
  *snapshot(): Generator<EntryOf<'rules'> | EntryOf<'fired'>> {
    const written = new Set<string>();
    const inForce = new Set<Uuid>();
    for (const [host, set] of this.byHost) {
      for (const rule of set.rules) inForce.add(rule.uid);
      yield { k: 'rules', host, hash: set.hash, ...(written.has(set.hash) ? {} : { list: set.list }) };
      written.add(set.hash);
    }
    for (const [rule, fired] of this.firings) if (inForce.has(rule)) yield { k: 'fired', rule, ...fired };
  }

  private parse(hash: string, list: RuleList): RuleSet {
    const rules = list.map((given) => {
      const spec = faultRuleSpec.parse(given.spec);
      return { uid: given.uid, spec, hosts: spec.match.hosts.map(globOf) };
    });
    return { hash, list, rules };
  }

  private strikes(rule: Rule, host: string, command: { readonly type: string; readonly id: Uuid }): boolean {
    const { spec } = rule;
    if (spec.effect.devices !== undefined || !isInForce(rule, host)) return false;
    if (spec.match.commands.length > 0 && !spec.match.commands.includes(command.type)) return false;
    if (spec.count !== undefined && this.fired(rule.uid).count >= spec.count) return false;
    return randomFrom(`${spec.seed}/${rule.uid}/${command.id}`).chance(spec.probability);
  }
}
