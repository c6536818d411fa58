import { apiVersionOf, timestamp, type KindDefinition, type ManagedFieldsEntry } from '@xenolith/contracts';
import { ok, reject, type Result } from '@xenolith/kernel';
import { decodeFields, difference, encodeFields, isEmptySet, sameSet, union, type FieldSet } from './field-set.js';

/** One manager's fields. Two entries are of one manager when name, operation, API version and subresource are the same. */
export interface Manager {
  readonly name: string;
  readonly operation: 'Apply' | 'Update';
  readonly apiVersion: string;
  readonly subresource: string;
  readonly time: string;
  readonly fields: FieldSet;
}

/** Kubernetes' limit: the oldest of more than ten Update managers are counted as one (apiserver, fieldmanager, capmanagers.go). */
const MAX_UPDATE_MANAGERS = 10;
const OLDEST_MANAGERS = 'ancient-changes';

const isReset = (entries: readonly ManagedFieldsEntry[]): boolean =>
  entries.length === 1 && entries[0] !== undefined && Object.keys(entries[0]).length === 0;

export const decodeManagers = (entries: readonly ManagedFieldsEntry[] | undefined): readonly Manager[] =>
  (entries ?? [])
    .filter((entry) => entry.fieldsV1 !== undefined)
    .map((entry) => ({
      name: entry.manager ?? '',
      operation: entry.operation,
      apiVersion: entry.apiVersion,
      subresource: entry.subresource ?? '',
      time: entry.time ?? '',
      fields: decodeFields(entry.fieldsV1),
    }));

/** The managers that count for a write: a client's own list when it sent one, none when it asked for a fresh start, else the live object's. */
export const managersFor = (
  live: readonly ManagedFieldsEntry[] | undefined,
  sent: readonly ManagedFieldsEntry[] | undefined,
): readonly Manager[] => {
  if (sent && isReset(sent)) return [];
  const managers = decodeManagers(sent);
  return managers.length > 0 ? managers : decodeManagers(live);
};

const order = (manager: Manager): string =>
  [manager.operation, manager.time, manager.name, manager.apiVersion, manager.subresource].join('\u0000');

/** In Kubernetes' order: appliers first, then by time and name. */
export const encodeManagers = (managers: readonly Manager[]): ManagedFieldsEntry[] =>
  managers
    .filter((manager) => !isEmptySet(manager.fields))
    .toSorted((left, right) => (order(left) < order(right) ? -1 : 1))
    .map((manager) => ({
      manager: manager.name,
      operation: manager.operation,
      apiVersion: manager.apiVersion,
      ...(manager.time !== '' && { time: manager.time }),
      fieldsType: 'FieldsV1',
      fieldsV1: encodeFields(manager.fields),
      ...(manager.subresource !== '' && { subresource: manager.subresource }),
    }));

export const isManager = (
  manager: Manager,
  kind: KindDefinition,
  name: string,
  operation: Manager['operation'],
): boolean =>
  manager.name === name &&
  manager.operation === operation &&
  manager.subresource === '' &&
  // An applier stays the same over API versions; fields of an update belong to the version that they were written in.
  (operation === 'Apply' || manager.apiVersion === apiVersionOf(kind));

/** The list with one manager's fields set; its time changes when `changed` says so. */
export const withManager = (
  kind: KindDefinition,
  managers: readonly Manager[],
  update: { name: string; operation: Manager['operation']; fields: FieldSet; changed: boolean; at: number },
): readonly Manager[] => {
  const { name, operation, fields, changed, at } = update;
  const own = managers.find((manager) => isManager(manager, kind, name, operation));
  const time = changed || !own || !sameSet(own.fields, fields) ? timestamp(at) : own.time;
  const entry: Manager = { name, operation, apiVersion: apiVersionOf(kind), subresource: '', time, fields };
  return [...managers.filter((manager) => manager !== own), entry];
};

/** Takes fields from every manager but `own`. */
export const takeFrom = (
  managers: readonly Manager[],
  own: Manager | undefined,
  fields: FieldSet,
): readonly Manager[] =>
  isEmptySet(fields)
    ? managers
    : managers.map((manager) =>
        manager === own ? manager : { ...manager, fields: difference(manager.fields, fields) },
      );

/** Merges the oldest Update managers into one when there are too many. */
export const capManagers = (managers: readonly Manager[]): readonly Manager[] => {
  const living = managers.filter((manager) => !isEmptySet(manager.fields));
  const updaters = living.filter(({ operation }) => operation === 'Update');
  const excess = updaters.length - MAX_UPDATE_MANAGERS;
  if (excess <= 0) return living;
  const oldest = updaters
    .toSorted((left, right) => (left.time < right.time ? -1 : left.time > right.time ? 1 : 0))
    .slice(0, excess + 1);
  const [first] = oldest;
  const last = oldest.at(-1);
  if (!first || !last) return living;
  const fields = oldest.map((manager) => manager.fields).reduce(union);
  return [
    ...living.filter((manager) => !oldest.includes(manager)),
    { ...first, name: OLDEST_MANAGERS, time: last.time, fields },
  ];
};

/** Longest manager name (apimachinery, metav1 validation). */
const MAX_MANAGER_NAME = 128;

/**
 * The manager of a request: `fieldManager` of the query, else the user agent up to its first slash. An apply must state one. Refusal: `request_malformed`.
 */
export const managerName = (request: {
  readonly fieldManager?: string | undefined;
  readonly userAgent?: string | undefined;
  readonly apply: boolean;
}): Result<string> => {
  const { fieldManager = '', userAgent = '' } = request;
  if (fieldManager === '' && request.apply)
    return reject(
      'request_malformed',
      'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch',
    );
  if (fieldManager.length > MAX_MANAGER_NAME)
    return reject('request_malformed', `fieldManager: Too long: may not be more than ${MAX_MANAGER_NAME} characters`);
  if (/[^\P{C}]/u.test(fieldManager))
    return reject('request_malformed', 'fieldManager: Invalid value: should only contain printable characters');
  const fromAgent = (userAgent.split('/')[0] ?? '').replaceAll(/[^\P{C}]/gu, '').slice(0, MAX_MANAGER_NAME);
  return ok(fieldManager !== '' ? fieldManager : fromAgent === '' ? 'unknown' : fromAgent);
};
