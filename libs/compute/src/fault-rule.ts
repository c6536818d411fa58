import {
  agentCommands,
  decideObject,
  eventOf,
  evolveObject,
  faultRuleKind,
  objectConsequences,
  objectResource,
  recordFaultFiredData,
  timestamp,
  type FaultRuleEvent,
  type FaultRuleSpec,
  type ObjectRules,
  type ObjectState,
} from '@xenolith/contracts';
import {
  ok,
  reject,
  type Aggregate,
  type Command,
  type EventPlace,
  type NewEvent,
  type Result,
} from '@xenolith/kernel';
import { trusted } from './trusted.js';

export interface FaultRuleOwn {
  readonly fired: number;
  readonly last: { readonly at: string; readonly host: string; readonly command: string } | null;
}

export type FaultRuleState = ObjectState<FaultRuleSpec, FaultRuleOwn>;

const faultRules: ObjectRules<FaultRuleSpec, FaultRuleOwn> = {
  kind: faultRuleKind,
  initialOwn: () => ({ fired: 0, last: null }),
  checkCreate: (spec) => causesOf(spec),
  onSpecChange: (rule, wished) => {
    const causes = causesOf(wished);
    if (causes.length > 0)
      return reject('object_invalid', `fault rule "${rule.meta.name}" is invalid: ${causes[0]?.message ?? ''}`, {
        causes,
      });
    return ok([eventOf('FaultRuleSpecChanged', { spec: { ...wished } })]);
  },
  status: (rule) => ({
    fired: rule.own.fired,
    ...(rule.own.last === null
      ? {}
      : { lastFired: rule.own.last.at, lastHost: rule.own.last.host, lastCommand: rule.own.last.command }),
    conditions: [
      {
        type: 'InForce',
        status: rule.spec.enabled ? 'True' : 'False',
        reason: rule.spec.enabled ? 'Enabled' : 'Disabled',
        message: exhausted(rule.spec, rule.own) ? 'has struck as often as it may' : '',
        lastTransitionTime: rule.own.last?.at ?? rule.meta.creationTimestamp,
      },
    ],
  }),
};

/** Commands that a rule may name. */
const STRIKEABLE: readonly string[] = Object.keys(agentCommands);

const exhausted = (spec: FaultRuleSpec, own: FaultRuleOwn): boolean =>
  spec.count !== undefined && own.fired >= spec.count;

const causesOf = (spec: FaultRuleSpec): readonly { field: string; reason: string; message: string }[] => {
  const { delay, fail, timeout, crashHost } = spec.effect;
  const ends = [fail !== undefined, timeout, crashHost].filter(Boolean).length;
  if (ends === 0 && delay === undefined)
    return [
      {
        field: 'spec.effect',
        reason: 'FieldValueRequired',
        message: 'say what happens: delay, fail, timeout or crashHost',
      },
    ];
  const unknown = spec.match.commands.find((command) => !STRIKEABLE.includes(command));
  if (unknown !== undefined)
    return [
      {
        field: 'spec.match.commands',
        reason: 'FieldValueNotSupported',
        message: `agents know no command "${unknown}"; there are ${STRIKEABLE.join(', ')}`,
      },
    ];
  if (fail !== undefined && timeout)
    return [
      {
        field: 'spec.effect.timeout',
        reason: 'FieldValueForbidden',
        message: 'a command that is refused has been answered: give fail or timeout',
      },
    ];
  return [];
};

const decide = (command: Command, state: FaultRuleState): Result<readonly NewEvent[]> => {
  const shared = decideObject(faultRules, command, state);
  if (shared !== null) return shared;
  if (command.type !== 'RecordFaultFired')
    return reject('command_unknown', `fault rules know no command ${command.type}`);
  const data = trusted(recordFaultFiredData, command);
  // A rule that is gone, or a report that is older than the last one, changes nothing.
  if (state.phase !== 'present' || data.fired <= state.own.fired) return ok([]);
  return ok([eventOf('FaultRuleFired', data)]);
};

const evolve = (state: FaultRuleState, event: NewEvent, place: EventPlace): FaultRuleState => {
  const shared = evolveObject(faultRules, state, event, place);
  if (shared !== null || state.phase === 'absent') return shared ?? state;
  const ruleEvent = event as FaultRuleEvent;
  if (ruleEvent.type !== 'FaultRuleFired') return state;
  const { host, command, fired } = ruleEvent.data;
  return { ...state, own: { fired, last: { at: timestamp(place.at), host, command } } };
};

export const faultRuleAggregate: Aggregate<FaultRuleState> = {
  category: 'faultrule',
  initial: { phase: 'absent' },
  decide,
  evolve,
  toResource: (state) => objectResource(faultRules, state),
  consequences: (event, before, command) => objectConsequences(faultRules, event, before, command),
  ended: (state) => state.phase === 'deleted',
  stateVersion: 1,
  snapshotEvery: 100,
};
