import { ok, reject, type JsonObject, type Result } from '@xenolith/kernel';
import type { ServedKind } from '../discovery/served-kind.js';
import { compileJsonPath, type JsonPath } from './json-path.js';
import type { Selector } from './label-selector.js';

interface FieldRequirement {
  readonly path: JsonPath;
  readonly equal: boolean;
  readonly value: string;
}

/** A field selector with the names that a cache can look up instead of scanning. */
export interface FieldSelector {
  readonly matches: Selector;
  /** Set when the selector asks for one name (or namespace) exactly. */
  readonly name?: string;
  readonly namespace?: string;
}

/** Longest selector that is read, as for label selectors. */
const MAX_SELECTOR_LENGTH = 16_384;

const paths = new WeakMap<ServedKind, Map<string, JsonPath>>();

const pathsOf = (kind: ServedKind): Map<string, JsonPath> => {
  const known = paths.get(kind);
  if (known) return known;
  const compiled = new Map(
    kind.fieldSelectors.map((label) => [label, compileJsonPath(`.${kind.fieldPaths?.[label] ?? label}`)]),
  );
  paths.set(kind, compiled);
  return compiled;
};

const CLAUSE = /^((?:\\.|[^=!\\])+?)\s*(==|!=|=)((?:\\.|[^\\=,])*)$/;

const unescape = (text: string): string => text.replaceAll(/\\([\\,=])/g, '$1');

const holds = (requirement: FieldRequirement, object: JsonObject): boolean => {
  const value = requirement.path(object);
  const text =
    value === undefined || value === null ? '' : typeof value === 'object' ? JSON.stringify(value) : String(value);
  return (text === requirement.value) === requirement.equal;
};

/** Splits at commas that no backslash escapes. */
const clausesOf = (text: string): readonly string[] =>
  (text.match(/(?:\\.|[^,\\])+/g) ?? []).map((clause) => clause.trim()).filter((clause) => clause !== '');

/**
 * Reads a field selector: `a.b=c`, `a.b==c`, `a.b!=c`, joined by commas, all of which must hold; `\,`, `\=` and `\\` stand for themselves. A missing field
 * counts as empty. No text selects everything. Refusal: `request_malformed`, also for fields that the kind does not offer.
 */
export const parseFieldSelector = (kind: ServedKind, text: string | undefined): Result<FieldSelector> => {
  if (text === undefined || text.trim() === '') return ok({ matches: () => true });
  if (text.length > MAX_SELECTOR_LENGTH)
    return reject('request_malformed', `the field selector is longer than ${MAX_SELECTOR_LENGTH} characters`);
  const requirements: FieldRequirement[] = [];
  const exact: { name?: string; namespace?: string } = {};
  for (const clause of clausesOf(text)) {
    const match = CLAUSE.exec(clause);
    if (!match)
      return reject(
        'request_malformed',
        `invalid field selector "${text}": "${clause}" is none of field=value, field!=value`,
      );
    const [, label = '', operator, escaped = ''] = match;
    const path = pathsOf(kind).get(label);
    if (!path)
      return reject(
        'request_malformed',
        `field label not supported: ${label}; ${kind.plural} can be selected by ${kind.fieldSelectors.join(', ')}`,
      );
    const value = unescape(escaped);
    const equal = operator !== '!=';
    requirements.push({ path, equal, value });
    if (equal && label === 'metadata.name') exact.name = value;
    if (equal && label === 'metadata.namespace') exact.namespace = value;
  }
  return ok({ matches: (object) => requirements.every((requirement) => holds(requirement, object)), ...exact });
};
