import { virtualMachineKind, type ObjectRules, type VirtualMachineSpec } from '@xenolith/contracts';
import { causesOfNewSpec } from './virtual-machine.checks.js';
import { NEVER_STARTED, TEARDOWN_FINALIZER, type MachineOwn } from './virtual-machine.state.js';
import { virtualMachineStatus } from './virtual-machine.status.js';
import { decideDeletion, decideSpecChange, firstOperation } from './virtual-machine.wish.js';

export const machineRules: ObjectRules<VirtualMachineSpec, MachineOwn> = {
  kind: virtualMachineKind,
  teardownFinalizer: TEARDOWN_FINALIZER,
  initialOwn: () => NEVER_STARTED,
  checkCreate: causesOfNewSpec,
  onCreate: firstOperation,
  onSpecChange: decideSpecChange,
  onDeletion: decideDeletion,
  status: virtualMachineStatus,
};
