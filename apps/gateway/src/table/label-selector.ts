import { ok, reject, type JsonObject, type Result } from '@xenolith/kernel';
import { labelValueFault, qualifiedNameFault } from './qualified-name.js';

/** True for the objects that a selector takes. */
export type Selector = (object: JsonObject) => boolean;

type Labels = Readonly<Record<string, unknown>>;
type Operator = 'in' | 'notin' | '=' | '==' | '!=' | 'exists' | '!' | 'gt' | 'lt';
interface Requirement {
  readonly key: string;
  readonly operator: Operator;
  readonly values: readonly string[];
}

/** Longest selector that is read; kubectl's are far shorter, and URLs end at about this size. */
const MAX_SELECTOR_LENGTH = 16_384;

const everything: Selector = () => true;

const labelsOf = (object: JsonObject): Labels => {
  const metadata = object['metadata'] as JsonObject | undefined;
  return (metadata?.['labels'] as Labels | undefined) ?? {};
};

const compare = (label: unknown, values: readonly string[], test: (order: number) => boolean): boolean =>
  typeof label === 'string' && /^-?\d+$/.test(label) && test(Number(label) - Number(values[0]));

/** Kubernetes' meaning: `!=` and `notin` also take objects without the label. */
const matches = ({ key, operator, values }: Requirement, labels: Labels): boolean => {
  const label = Object.hasOwn(labels, key) ? labels[key] : undefined;
  switch (operator) {
    case '=':
    case '==':
    case 'in':
      return label !== undefined && values.includes(label as string);
    case '!=':
    case 'notin':
      return label === undefined || !values.includes(label as string);
    case 'exists':
      return label !== undefined;
    case '!':
      return label === undefined;
    case 'gt':
      return compare(label, values, (order) => order > 0);
    case 'lt':
      return compare(label, values, (order) => order < 0);
  }
};

const SET = /^(\S+)\s+(in|notin)\s*\(([^()]*)\)$/;
const COMPARISON = /^([^=!<>\s]+)\s*(==|!=|=|>|<)\s*([^=!<>]*)$/;
const PRESENCE = /^(!?)\s*([^=!<>()\s]+)$/;
const NAMES: Readonly<Record<string, Operator>> = { '>': 'gt', '<': 'lt' };

const readRequirement = (text: string): Requirement | null => {
  const set = SET.exec(text);
  if (set) {
    const [, key = '', operator, values = ''] = set;
    return { key, operator: operator as Operator, values: values.split(',').map((value) => value.trim()) };
  }
  const comparison = COMPARISON.exec(text);
  if (comparison) {
    const [, key = '', operator = '=', value = ''] = comparison;
    return { key, operator: NAMES[operator] ?? (operator as Operator), values: [value.trim()] };
  }
  const presence = PRESENCE.exec(text);
  if (!presence) return null;
  return { key: presence[2] ?? '', operator: presence[1] === '!' ? '!' : 'exists', values: [] };
};

const faultOf = ({ key, operator, values }: Requirement): string | null => {
  const keyFault = qualifiedNameFault(key);
  if (keyFault !== null) return `key "${key}": ${keyFault}`;
  if (operator === 'gt' || operator === 'lt')
    return /^-?\d+$/.test(values[0] ?? '')
      ? null
      : `value "${values[0] ?? ''}": must be a whole number for "<" and ">"`;
  for (const value of values) {
    const fault = labelValueFault(value);
    if (fault !== null) return `value "${value}": ${fault}`;
  }
  return null;
};

/** Splits at commas that stand outside parentheses. */
const clausesOf = (text: string): readonly string[] =>
  text
    .split(/,(?![^()]*\))/)
    .map((clause) => clause.trim())
    .filter((clause) => clause !== '');

const refuse = (text: string, fault: string): Result<never> =>
  reject('request_malformed', `unable to parse label selector "${text}": ${fault}`);

/**
 * Reads a label selector: `a=b`, `a==b`, `a!=b`, `a in (b,c)`, `a notin (b,c)`, `a`, `!a`, `a>1`, `a<1`, joined by commas, all of which must hold. No
 * text selects everything. Refusal: `request_malformed`.
 */
export const parseLabelSelector = (text: string | undefined): Result<Selector> => {
  if (text === undefined || text.trim() === '') return ok(everything);
  if (text.length > MAX_SELECTOR_LENGTH)
    return refuse(text.slice(0, 64), `longer than ${MAX_SELECTOR_LENGTH} characters`);
  const requirements: Requirement[] = [];
  for (const clause of clausesOf(text)) {
    const requirement = readRequirement(clause);
    if (!requirement)
      return refuse(text, `"${clause}" is none of key=value, key!=value, key in (a,b), key notin (a,b), key, !key`);
    const fault = faultOf(requirement);
    if (fault !== null) return refuse(text, fault);
    requirements.push(requirement);
  }
  return ok((object) => {
    const labels = labelsOf(object);
    return requirements.every((requirement) => matches(requirement, labels));
  });
};
