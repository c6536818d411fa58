import {
  changeData,
  clusterCommands,
  clusterEvents,
  clusterKind,
  deleteData,
  faultRuleEvents,
  faultRuleKind,
  hostCommands,
  hostEvents,
  hostKind,
  nameScope,
  operationCommands,
  operationEvents,
  operationKind,
  recordFaultFiredData,
  reportDeviceModelLostData,
  reportDomainStoppedData,
  virtualMachineCommands,
  virtualMachineEvents,
  virtualMachineKind,
  virtualMachineSnapshotEvents,
  virtualMachineSnapshotKind,
  type ChangeData,
  type KindDefinition,
  type RegisterHostData,
} from '@xenolith/contracts';
import { takenName, type CommandRoute, type ServiceDefinition } from '@xenolith/engine';
import { ok, reject, type CommandMessage, type JsonObject, type Reply, type Result, type Uuid } from '@xenolith/kernel';
import type { z } from 'zod';
import { ClusterIndex } from './cluster.index.js';
import { clusterAggregate } from './cluster.js';
import { computeReactions } from './compute.reactions.js';
import { prepareFaultRule } from './fault-rule.hosts.js';
import { FaultRuleIndex } from './fault-rule.index.js';
import { faultRuleAggregate } from './fault-rule.js';
import { FinishedOperations } from './finished-operations.index.js';
import { HostIndex } from './host.index.js';
import { hostAggregate } from './host.js';
import { hostPowerProcess } from './host.power.process.js';
import { strayDomainProcess } from './host.process.js';
import { registeredDifference } from './inventory.js';
import { OperationIndex } from './operation.index.js';
import { operationAggregate } from './operation.js';
import { operationProcess } from './operation.process.js';
import { VirtualMachineIndex } from './virtual-machine.index.js';
import { virtualMachineAggregate } from './virtual-machine.js';
import { SNAPSHOT_CATEGORY, virtualMachineSnapshotAggregate } from './virtual-machine-snapshot.js';
import { beginsRun } from './virtual-machine.power.js';
import { placedRun, type MachineState } from './virtual-machine.state.js';
import { VolumeNames } from './volume-names.js';
import { WaitedNames } from './waited-names.js';

/** What the service keeps in memory, beside its streams. */
export interface ComputeIndexes {
  readonly machines: VirtualMachineIndex;
  readonly hosts: HostIndex;
  readonly clusters: ClusterIndex;
  readonly faultRules: FaultRuleIndex;
  readonly operations: OperationIndex;
  readonly finished: FinishedOperations;
  readonly volumes: VolumeNames;
  readonly waited: WaitedNames;
}

/** The most machines that a refusal names. */
const NAMED_MACHINES = 5;

/** Scopes of the claims that keep names of snapshots apart. */
const SNAPSHOT_NAMES = nameScope(virtualMachineSnapshotKind, '');

const objectRoutes = (kind: KindDefinition, category: string): [CommandRoute, CommandRoute] => [
  { type: `Change${kind.kind}`, category, schema: changeData },
  { type: `Delete${kind.kind}`, category, schema: deleteData },
];

const routesFor = (category: string, schemas: Readonly<Record<string, z.ZodType>>): CommandRoute[] =>
  Object.entries(schemas).map(([type, schema]) => ({ type, category, schema }));

/** A host that machines run on can't be taken out of the inventory. */
const prepareDeleteHost = (message: CommandMessage, machines: VirtualMachineIndex): Result<JsonObject> => {
  const running = machines.onHost(message.streamId);
  if (running.length === 0) return ok(message.data);
  const names = running.slice(0, NAMED_MACHINES).map((machine) => `${machine.namespace}/${machine.name}`);
  const more = running.length > names.length ? ` and ${running.length - names.length} more` : '';
  return reject(
    'object_in_use',
    `${running.length === 1 ? '1 machine runs' : `${running.length} machines run`} on the host (${names.join(', ')}${more}); shut ${running.length === 1 ? 'it' : 'them'} down first`,
  );
};

/** The target of a new operation is named; its stream is found by uid. */
const prepareOperation = (message: CommandMessage, indexes: ComputeIndexes): Result<JsonObject> => {
  const data = message.data as unknown as ChangeData;
  const target = data.spec['target'] as { kind?: string; name?: string; uid?: string } | undefined;
  if (data.intent !== 'create' || target === undefined || target.uid !== undefined) return ok(message.data);
  const [namespace, name] = [data.metadata.namespace ?? '', target.name ?? ''];
  const uid =
    target.kind === operationKind.kind
      ? indexes.operations.uid(namespace, name)
      : target.kind === virtualMachineKind.kind
        ? indexes.machines.uid(namespace, name)
        : undefined;
  return ok(uid === undefined ? message.data : { ...message.data, spec: { ...data.spec, target: { ...target, uid } } });
};

const examined = (state: unknown): Reply => {
  const machine = state as MachineState;
  if (machine.phase !== 'present') return ok({ runs: [] });
  const { own } = machine;
  const run = placedRun(own.run);
  return ok({
    runs: [
      ...(run === null ? [] : [{ incarnation: run.incarnation, host: run.host }]),
      ...(own.operations.some(beginsRun) ? [{ incarnation: own.incarnation, host: null }] : []),
    ],
  });
};

/** The name of a snapshot that another one has: the request's own object is not meant. */
const onSnapshotNameTaken = (claim: { scope: string; value: string; holder: Uuid }): Reply => {
  if (!claim.scope.startsWith(SNAPSHOT_NAMES)) return takenName(claim);
  const message = `there is a snapshot named "${claim.value}" already`;
  const field = 'spec.parameters.name';
  return reject('object_invalid', `${field}: ${message}`, {
    causes: [{ field, reason: 'FieldValueDuplicate', message }],
  });
};

const routes = (indexes: ComputeIndexes): readonly CommandRoute[] => {
  const { machines } = indexes;
  const [changeHost, deleteHost] = objectRoutes(hostKind, 'host');
  const [changeOperation, deleteOperation] = objectRoutes(operationKind, 'operation');
  const [changeRule, deleteRule] = objectRoutes(faultRuleKind, 'faultrule');
  const { RegisterHost, ...hostRecords } = hostCommands;
  const { ExamineDomain, StartOperation, ...machineRecords } = virtualMachineCommands;
  const { BeginOperation: _onlyFromTheTarget, ...operationRecords } = operationCommands;
  return [
    ...objectRoutes(clusterKind, 'cluster'),
    ...routesFor('cluster', clusterCommands),
    changeHost,
    { ...deleteHost, prepare: (message) => prepareDeleteHost(message, machines) },
    {
      type: 'RegisterHost',
      category: 'host',
      schema: RegisterHost,
      prepare: (message) => {
        const { domains } = message.data as unknown as RegisterHostData;
        const onHost = machines.onHost(message.streamId);
        const known = { onHost, get: (uid: Uuid) => machines.get(uid) };
        const found = registeredDifference(message.streamId, domains, known);
        return ok({ ...message.data, ...found } as unknown as JsonObject);
      },
    },
    ...routesFor('host', hostRecords),
    ...objectRoutes(virtualMachineKind, 'virtualmachine'),
    ...routesFor('virtualmachine', {
      ...machineRecords,
      ReportDomainStopped: reportDomainStoppedData,
      ReportDeviceModelLost: reportDeviceModelLostData,
    }),
    {
      type: 'StartOperation',
      category: 'virtualmachine',
      schema: StartOperation,
      onClaimTaken: onSnapshotNameTaken,
    },
    { type: 'ExamineDomain', category: 'virtualmachine', schema: ExamineDomain, answer: examined },
    ...objectRoutes(virtualMachineSnapshotKind, SNAPSHOT_CATEGORY),
    {
      ...changeOperation,
      prepare: (message) => prepareOperation(message, indexes),
      onClaimTaken: onSnapshotNameTaken,
    },
    deleteOperation,
    ...routesFor('operation', operationRecords),
    { ...changeRule, prepare: ({ data }) => prepareFaultRule(data, indexes.hosts) },
    deleteRule,
    { type: 'RecordFaultFired', category: 'faultrule', schema: recordFaultFiredData },
  ];
};

/** The compute service with what it keeps in memory, for its companions. */
export interface ComputeService extends ServiceDefinition {
  readonly computeIndexes: ComputeIndexes;
}

/** Everything that the compute service is, as data. */
export const computeService = (): ComputeService => {
  const computeIndexes: ComputeIndexes = {
    machines: new VirtualMachineIndex(),
    hosts: new HostIndex(),
    clusters: new ClusterIndex(),
    faultRules: new FaultRuleIndex(),
    operations: new OperationIndex(),
    finished: new FinishedOperations(),
    volumes: new VolumeNames(),
    waited: new WaitedNames(),
  };
  return {
    name: 'compute',
    kinds: [clusterKind, hostKind, virtualMachineKind, virtualMachineSnapshotKind, operationKind, faultRuleKind],
    aggregates: [
      clusterAggregate,
      hostAggregate,
      virtualMachineAggregate,
      virtualMachineSnapshotAggregate,
      operationAggregate,
      faultRuleAggregate,
    ],
    routes: routes(computeIndexes),
    indexes: Object.values(computeIndexes),
    processes: [operationProcess(computeIndexes), strayDomainProcess, hostPowerProcess],
    reactions: computeReactions(computeIndexes),
    eventSchemas: {
      ...clusterEvents,
      ...hostEvents,
      ...virtualMachineEvents,
      ...virtualMachineSnapshotEvents,
      ...operationEvents,
      ...faultRuleEvents,
    },
    computeIndexes,
  };
};
