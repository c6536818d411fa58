import {
  categoryOf,
  decideObject,
  evolveObject,
  eventOf,
  invalid,
  objectConsequences,
  objectResource,
  releaseStorageData,
  reserveStorageData,
  storageDomainKind,
  type ObjectRules,
  type ObjectState,
  type PresentObject,
  type StorageDomainOwnEvent,
  type StorageDomainSpec,
} from '@xenolith/contracts';
import {
  approximateBytes,
  bytesOf,
  formatBytes,
  ok,
  reject,
  type Aggregate,
  type Command,
  type EventPlace,
  type FieldCause,
  type NewEvent,
  type Result,
} from '@xenolith/kernel';
import { inUse, splitUsers } from './users.js';

/** What volumes were promised here. Each volume reserves and releases in the append that makes, grows or removes it, so the sums are exact. */
export interface StorageLedger {
  readonly sparseBytes: number;
  readonly preallocatedBytes: number;
  readonly volumes: number;
}

export type StorageDomainState = ObjectState<StorageDomainSpec, StorageLedger>;
type StorageDomain = PresentObject<StorageDomainSpec, StorageLedger>;

/** A domain's stream grows with each volume; a snapshot bounds what a restart reads of it. */
const SNAPSHOT_EVERY = 200;

export const STORAGE_DOMAIN_CATEGORY = categoryOf(storageDomainKind);

/** Bytes that may be promised in all: sparse volumes share the capacity by the domain's over-commitment. */
const promisable = (spec: StorageDomainSpec): number => Math.floor(bytesOf(spec.capacity) * spec.overcommit);

const capacityCauses = (spec: StorageDomainSpec, ledger: StorageLedger): FieldCause[] => {
  const promised = ledger.sparseBytes + ledger.preallocatedBytes;
  if (bytesOf(spec.capacity) <= 0)
    return [{ field: 'spec.capacity', reason: 'FieldValueInvalid', message: 'must be more than nothing' }];
  if (bytesOf(spec.capacity) < ledger.preallocatedBytes)
    return [
      {
        field: 'spec.capacity',
        reason: 'FieldValueInvalid',
        message: `${spec.capacity} is less than the ${approximateBytes(ledger.preallocatedBytes)} that preallocated volumes take`,
      },
    ];
  if (promisable(spec) < promised)
    return [
      {
        field: 'spec.capacity',
        reason: 'FieldValueInvalid',
        message: `${spec.capacity} with over-commitment ${spec.overcommit} is less than the ${approximateBytes(promised)} that ${ledger.volumes} volumes were promised`,
      },
    ];
  return [];
};

const EMPTY: StorageLedger = { sparseBytes: 0, preallocatedBytes: 0, volumes: 0 };

const rules: ObjectRules<StorageDomainSpec, StorageLedger> = {
  kind: storageDomainKind,
  initialOwn: () => EMPTY,
  checkCreate: (spec) => capacityCauses(spec, EMPTY),
  onSpecChange: (domain, wished) => {
    const causes = capacityCauses(wished, domain.own);
    if (wished.class !== 'data' && domain.own.volumes > 0)
      causes.push({
        field: 'spec.class',
        reason: 'FieldValueForbidden',
        message: `${domain.own.volumes} volumes live here, so it stays "data"`,
      });
    if (causes.length > 0) return invalid(storageDomainKind, domain.meta, causes);
    return ok([eventOf('StorageDomainSpecChanged', { spec: wished })]);
  },
  status: ({ meta, spec, own }) => ({
    allocated: formatBytes(own.sparseBytes + own.preallocatedBytes),
    available: formatBytes(Math.max(0, promisable(spec) - own.sparseBytes - own.preallocatedBytes)),
    volumes: own.volumes,
    conditions: [
      {
        type: 'Ready',
        status: 'True',
        reason: 'Connected',
        message: '',
        lastTransitionTime: meta.creationTimestamp,
      },
    ],
  }),
};

const full = (domain: StorageDomain, message: string): Result<never> =>
  reject('storage_domain_full', `storage domain "${domain.meta.name}": ${message}`);

const decideReserve = (command: Command, state: StorageDomainState): Result<readonly NewEvent[]> => {
  const data = reserveStorageData.parse(command.data);
  if (state.phase !== 'present' || state.meta.deletionTimestamp !== undefined)
    return reject('storage_domain_not_found', `storage domain ${command.streamId} is gone`);
  const { spec, own } = state;
  if (spec.class !== 'data')
    return reject(
      'storage_domain_not_found',
      `storage domain "${state.meta.name}" is of class ${spec.class} and holds no volumes; choose one of class data`,
    );
  const left = promisable(spec) - own.sparseBytes - own.preallocatedBytes;
  if (data.bytes > left)
    return full(
      state,
      `${approximateBytes(data.bytes)} asked, ${approximateBytes(left)} of ${approximateBytes(promisable(spec))} left (capacity ${spec.capacity}, over-commitment ${spec.overcommit})`,
    );
  const physical = bytesOf(spec.capacity) - own.preallocatedBytes;
  if (data.provisioning === 'preallocated' && data.bytes > physical)
    return full(
      state,
      `${approximateBytes(data.bytes)} asked to be preallocated, ${approximateBytes(physical)} of ${spec.capacity} are not preallocated yet`,
    );
  return ok([eventOf('StorageReserved', data)]);
};

const decide = (command: Command, state: StorageDomainState): Result<readonly NewEvent[]> => {
  switch (command.type) {
    case 'ReserveStorage':
      return decideReserve(command, state);
    case 'ReleaseStorage':
      return ok(state.phase === 'absent' ? [] : [eventOf('StorageReleased', releaseStorageData.parse(command.data))]);
    case 'DeleteStorageDomain': {
      const { users, plain } = splitUsers(command);
      if (state.phase === 'present' && state.own.volumes > 0)
        return inUse('storage domain', state.meta.name, { ...users, count: state.own.volumes });
      return decideShared(plain, state);
    }
    default:
      return decideShared(command, state);
  }
};

const decideShared = (command: Command, state: StorageDomainState): Result<readonly NewEvent[]> =>
  decideObject(rules, command, state) ?? reject('command_unknown', `a storage domain knows no command ${command.type}`);

const evolveOwn = (ledger: StorageLedger, event: StorageDomainOwnEvent): StorageLedger => {
  const member = event.data.provisioning === 'preallocated' ? 'preallocatedBytes' : 'sparseBytes';
  switch (event.type) {
    case 'StorageReserved':
      return {
        ...ledger,
        [member]: ledger[member] + event.data.bytes,
        volumes: ledger.volumes + event.data.volumes,
      };
    case 'StorageReleased':
      return { ...ledger, [member]: ledger[member] - event.data.bytes, volumes: ledger.volumes - 1 };
  }
};

const evolve = (state: StorageDomainState, event: NewEvent, place: EventPlace): StorageDomainState => {
  const shared = evolveObject(rules, state, event, place);
  if (shared) return shared;
  if (state.phase === 'absent') return state;
  return { ...state, own: evolveOwn(state.own, event as unknown as StorageDomainOwnEvent) };
};

export const storageDomainAggregate: Aggregate<StorageDomainState> = {
  category: STORAGE_DOMAIN_CATEGORY,
  initial: { phase: 'absent' },
  decide,
  evolve,
  toResource: (state) => objectResource(rules, state),
  consequences: (event, before, command) => objectConsequences(rules, event, before, command),
  ended: (state) => state.phase === 'deleted',
  stateVersion: 1,
  snapshotEvery: SNAPSHOT_EVERY,
};
