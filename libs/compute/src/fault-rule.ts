import {
  agentCommands,
  decideObject,
  deviceEffects,
  eventOf,
  evolveObject,
  faultRuleKind,
  objectConsequences,
  objectResource,
  recordFaultFiredData,
  timestamp,
  type DeviceEffects,
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
    strikes: strikesOf(rule.spec),
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

const isSaid = (value: unknown): boolean => value !== undefined && value !== false;

const strikesOf = ({ match, effect }: FaultRuleSpec): string => {
  const { devices, killDaemon } = effect;
  if (killDaemon !== undefined) return `killDaemon ${killDaemon}`;
  if (!devices) return match.commands.join(',') || '*';
  return Object.entries(devices)
    .flatMap(([what, value]) => (isSaid(value) ? [what] : []))
    .join(',');
};

/** Commands that a rule may name. */
const STRIKEABLE: readonly string[] = Object.keys(agentCommands);

const exhausted = (spec: FaultRuleSpec, own: FaultRuleOwn): boolean =>
  spec.count !== undefined && own.fired >= spec.count;

interface Cause {
  readonly field: string;
  readonly reason: string;
  readonly message: string;
}

const forbidden = (field: string, message: string): Cause => ({ field, reason: 'FieldValueForbidden', message });

/** A rule about devices says nothing of commands. */
const deviceCausesOf = ({ match, effect }: FaultRuleSpec, devices: DeviceEffects): readonly Cause[] => {
  const { delay, fail, timeout, crashHost } = effect;
  if (!Object.values(devices).some(isSaid))
    return [
      {
        field: 'spec.effect.devices',
        reason: 'FieldValueRequired',
        message: `say what goes wrong: ${Object.keys(deviceEffects.shape).join(', ')}`,
      },
    ];
  if (devices.stallHotplug && devices.failHotplug !== undefined)
    return [
      forbidden('spec.effect.devices.failHotplug', 'a script that never ends does not fail: give one of the two'),
    ];
  const mixed = 'a rule strikes commands or devices, not both: make two rules';
  if (delay !== undefined || fail !== undefined || timeout || crashHost)
    return [forbidden('spec.effect.devices', mixed)];
  return match.commands.length > 0 ? [forbidden('spec.match.commands', mixed)] : [];
};

/** The death of a daemon strikes the host, and nothing else with it. */
const daemonCausesOf = ({ match, effect }: FaultRuleSpec): readonly Cause[] => {
  const { delay, fail, timeout, crashHost, devices } = effect;
  const alone = 'a rule kills a daemon or does something else: make two rules';
  if (delay !== undefined || fail !== undefined || timeout || crashHost || devices !== undefined)
    return [forbidden('spec.effect.killDaemon', alone)];
  const { commands, virtualMachines, devices: named } = match;
  return commands.length + virtualMachines.length + named.length > 0
    ? [forbidden('spec.match', 'a daemon is of a host: choose hosts only')]
    : [];
};

const causesOf = (spec: FaultRuleSpec): readonly Cause[] => {
  if (spec.effect.killDaemon !== undefined) return daemonCausesOf(spec);
  const { delay, fail, timeout, crashHost, devices } = spec.effect;
  if (devices !== undefined) return deviceCausesOf(spec, devices);
  if (spec.match.virtualMachines.length + spec.match.devices.length > 0)
    return [forbidden('spec.match', 'virtualMachines and devices choose what effect.devices strikes: give one')];
  const ends = [fail !== undefined, timeout, crashHost].filter(Boolean).length;
  if (ends === 0 && delay === undefined)
    return [
      {
        field: 'spec.effect',
        reason: 'FieldValueRequired',
        message: 'say what happens: delay, fail, timeout, crashHost, killDaemon or devices',
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
