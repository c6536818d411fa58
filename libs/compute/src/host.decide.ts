import {
  decideObject,
  eventOf,
  hostCommands,
  hostKind,
  notFound,
  type DesiredMetadata,
  type HostSpec,
  type RegisterHostData,
} from '@xenolith/contracts';
import { ok, reject, sameJson, type Command, type JsonObject, type NewEvent, type Result } from '@xenolith/kernel';
import { decidePower, onEvacuation, onRegistration } from './host.power.js';
import { hostRules } from './host.rules.js';
import {
  isReady,
  sameRun,
  type HostState,
  type InventoryDifference,
  type PresentHost,
  type RegisteredDifference,
  type Registration,
  type RunOfMachine,
} from './host.state.js';
import { trusted } from './trusted.js';

type Decision = Result<readonly NewEvent[]>;

const NOTHING: Decision = ok([]);

/** The cluster of hosts that nobody has put into one. */
const DEFAULT_SPEC: HostSpec = { cluster: 'default', unschedulable: false };

const metadataOf = (name: string): DesiredMetadata => ({
  name,
  labels: { 'kubernetes.io/hostname': name },
  annotations: {},
  finalizers: [],
  ownerReferences: [],
  managedFields: [],
});

const registrationOf = (data: RegisterHostData): Registration => {
  const { hypervisor, version, agentVersion, bootId, hardware, controlDomain, allocatableMemoryBytes } = data;
  const { setup, maxVcpus, memorySharing, lostDaemons } = data;
  const machine = { hardware, ...(controlDomain && { controlDomain }), allocatableMemoryBytes };
  const installed = { ...(setup && { setup }), ...(maxVcpus && { maxVcpus }), ...(memorySharing && { memorySharing }) };
  const lost = lostDaemons && lostDaemons.length > 0 ? { lostDaemons } : {};
  return { bootId, hypervisor, version, agentVersion, ...machine, ...installed, ...lost };
};

const inventoryDiffered = (
  bootId: string,
  rebooted: boolean,
  found: RegisteredDifference & Pick<InventoryDifference, 'changed'>,
): NewEvent => eventOf('HostInventoryDiffered', { bootId, rebooted, ...found } as unknown as JsonObject);

/** Strays that are known already are being dealt with: they alone are no news. */
const decideDifference = (host: PresentHost, command: Command): Decision => {
  const { bootId, missing, strays, changed } = trusted(hostCommands.RecordInventoryDifference, command);
  if (host.own.registration?.bootId !== bootId) return NOTHING;
  const isKnown = (run: RunOfMachine): boolean => host.own.strays.some((known) => sameRun(known, run));
  if (missing.length === 0 && changed.length === 0 && strays.every(isKnown)) return NOTHING;
  return ok([inventoryDiffered(bootId, false, { missing, strays, changed })]);
};

const decideRegister = (host: PresentHost | null, command: Command): Decision => {
  const data = trusted(hostCommands.RegisterHost, command);
  const { missing: notThere, strays } = command.data as unknown as RegisteredDifference;
  const registration = registrationOf(data);
  const known = host?.own.registration ?? null;
  const rebooted = known !== null && known.bootId !== data.bootId;
  const power = host === null ? [] : onRegistration(host, data.bootId);
  if (power === null) return NOTHING;
  const wakes = power.length > 0;
  const events: NewEvent[] = [];
  if (host === null) {
    const created = { metadata: metadataOf(data.name), spec: DEFAULT_SPEC };
    events.push(eventOf('HostCreated', created as unknown as JsonObject));
  }
  if (rebooted && !wakes) events.push(eventOf('HostCrashed', { previousBootId: known.bootId, bootId: data.bootId }));
  if (!sameJson(known, registration)) events.push(eventOf('HostRegistered', registration));
  const missing = rebooted ? notThere : [];
  if (missing.length > 0 || strays.length > 0)
    events.push(inventoryDiffered(data.bootId, rebooted, { missing, strays, changed: [] }));
  const goesDown = host?.own.power.state === 'ShuttingDown';
  if (!wakes && !goesDown && (host === null || !isReady(host))) events.push(eventOf('HostBecameReady', {}));
  return ok([...events, ...power]);
};

const decideReady = (host: PresentHost, command: Command): Decision => {
  const { bootId } = trusted(hostCommands.RecordHostReady, command);
  // A heartbeat of another boot: the agent registers first.
  if (isReady(host) || host.own.registration?.bootId !== bootId) return NOTHING;
  // One that goes off, or is on its way back, says so otherwise.
  if (host.own.power.state !== 'On') return NOTHING;
  return ok([eventOf('HostBecameReady', {})]);
};

const stray = (host: PresentHost, run: { virtualMachine: string; incarnation: number }, phase: string): boolean =>
  host.own.strays.some(
    (known) =>
      known.virtualMachine === run.virtualMachine && known.incarnation === run.incarnation && known.phase === phase,
  );

const decideExamined = (host: PresentHost, command: Command): Decision => {
  const { stray: unwanted, ...run } = trusted(hostCommands.RecordStrayDomainExamined, command);
  if (!stray(host, run, 'examining')) return NOTHING;
  return ok([
    unwanted
      ? eventOf('HostStrayDomainConfirmed', run)
      : eventOf('HostStrayDomainSettled', { ...run, destroyed: false }),
  ]);
};

const decideDestroyed = (host: PresentHost, command: Command): Decision => {
  const run = trusted(hostCommands.RecordStrayDomainDestroyed, command);
  return stray(host, run, 'destroying')
    ? ok([eventOf('HostStrayDomainSettled', { ...run, destroyed: true })])
    : NOTHING;
};

const decideEvacuation = (host: PresentHost, command: Command): Decision => {
  const { own } = host;
  const { maintenance, ...found } = trusted(hostCommands.RecordHostEvacuation, command);
  if (own.maintenance?.uid !== maintenance) return NOTHING;
  const { remaining, blocked } = own.maintenance;
  if (sameJson({ remaining, blocked }, found)) return NOTHING;
  return ok([eventOf('HostEvacuationProgressed', found), ...onEvacuation(host, found.remaining)]);
};

const decideOwn = (host: PresentHost, command: Command): Decision => {
  switch (command.type) {
    case 'RecordHostUnreachable':
      return isReady(host)
        ? ok([eventOf('HostBecameUnreachable', trusted(hostCommands.RecordHostUnreachable, command))])
        : NOTHING;
    case 'RecordHostReady':
      return decideReady(host, command);
    case 'RecordInventoryDifference':
      return decideDifference(host, command);
    case 'RecordStrayDomainExamined':
      return decideExamined(host, command);
    case 'RecordStrayDomainDestroyed':
      return decideDestroyed(host, command);
    case 'RecordHostEvacuation':
      return decideEvacuation(host, command);
    default:
      return decidePower(host, command) ?? reject('command_unknown', `hosts know no command ${command.type}`);
  }
};

export const decideHost = (command: Command, state: HostState): Decision => {
  const shared = decideObject(hostRules, command, state);
  if (shared !== null) return shared;
  if (command.type === 'RegisterHost') {
    if (state.phase === 'deleted')
      return reject('not_found', `host "${state.meta.name}" was deleted; its agent needs a new identity to come back`);
    return decideRegister(state.phase === 'present' ? state : null, command);
  }
  return state.phase === 'present' ? decideOwn(state, command) : notFound(hostKind, command.streamId);
};
