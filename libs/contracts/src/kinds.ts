import { clusterKind } from './compute/cluster.messages.js';
import { faultRuleKind } from './compute/fault-rule.messages.js';
import { hostKind } from './compute/host.messages.js';
import { operationKind } from './compute/operation.messages.js';
import { virtualMachineKind } from './compute/virtual-machine.kind.js';
import { virtualMachineSnapshotKind } from './compute/virtual-machine-snapshot.messages.js';
import { networkKind, portKind } from './network/network.messages.js';
import type { KindDefinition } from './resource.js';
import { placementKind } from './scheduling/placement.messages.js';
import { rebalancePlanKind } from './scheduling/rebalance.messages.js';
import { imageKind, storageDomainKind, volumeKind } from './storage/storage.messages.js';
import { namespaceKind } from './tenancy/namespace.messages.js';
import { resourceQuotaKind } from './tenancy/quota.messages.js';
import { RBAC_KINDS } from './tenancy/rbac.messages.js';

/** Every kind of the API, in the order of discovery. */
export const KINDS: readonly KindDefinition[] = [
  namespaceKind,
  clusterKind,
  hostKind,
  virtualMachineKind,
  virtualMachineSnapshotKind,
  operationKind,
  storageDomainKind,
  imageKind,
  volumeKind,
  networkKind,
  portKind,
  placementKind,
  rebalancePlanKind,
  faultRuleKind,
  resourceQuotaKind,
  ...RBAC_KINDS,
];
