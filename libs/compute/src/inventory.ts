import type { DomainReport } from '@xenolith/contracts';
import type { Uuid } from '@xenolith/kernel';
import type { InventoryDifference } from './host.state.js';
import type { IndexedMachine, VirtualMachineIndex } from './virtual-machine.index.js';

/** Whether the domain is the run that the machine's stream knows of, here or just being started. */
const isExpected = (machine: IndexedMachine | undefined, hostUid: Uuid, domain: DomainReport): boolean =>
  machine !== undefined &&
  machine.incarnation === domain.incarnation &&
  (machine.hostUid === hostUid || (machine.starting && machine.hostUid === null));

/** Compares what a host says that it runs with what the machines' streams say that it runs. */
export const inventoryDifference = (
  hostUid: Uuid,
  domains: readonly DomainReport[],
  machines: VirtualMachineIndex,
): InventoryDifference => {
  const there = new Map(domains.map((domain) => [domain.virtualMachine, domain]));
  const missing = machines
    .onHost(hostUid)
    .filter((machine) => there.get(machine.uid)?.incarnation !== machine.incarnation)
    .map((machine) => ({ virtualMachine: machine.uid, incarnation: machine.incarnation }));
  const strays = domains
    .filter((domain) => !isExpected(machines.get(domain.virtualMachine), hostUid, domain))
    .map(({ virtualMachine, incarnation }) => ({ virtualMachine, incarnation }));
  return { missing, strays };
};
