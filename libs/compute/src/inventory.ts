import { domainDigest, type DomainReport } from '@xenolith/contracts';
import type { Uuid } from '@xenolith/kernel';
import type { InventoryDifference, RegisteredDifference } from './host.state.js';
import { domainOf, type IndexedMachine } from './virtual-machine.index.js';

/** Whether the domain is the run that the machine's stream knows of, here or just being started, or the next one on its way here. */
const isExpected = (machine: IndexedMachine | undefined, hostUid: Uuid, domain: DomainReport): boolean =>
  machine !== undefined &&
  (machine.incarnation === domain.incarnation
    ? machine.hostUid === hostUid || (machine.starting && machine.hostUid === null)
    : machine.migrating && domain.incarnation > machine.incarnation);

const isAsKnown = (machine: IndexedMachine, domain: DomainReport): boolean =>
  domainDigest(domainOf(machine)) === domainDigest({ ...domain, runs: domain.state === 'running' });

/** What the log knows of one host: the machines that run there, and any machine by its uid. */
export interface KnownMachines {
  readonly onHost: readonly IndexedMachine[];
  readonly get: (uid: Uuid) => IndexedMachine | undefined;
}

/**
 * Compares what a host says that it runs with what the machines' streams said before it was asked. Of a machine with an operation under way the host may know
 * more than the log: it is left to the operation, and looked at again when that has ended.
 */
export const inventoryDifference = (
  hostUid: Uuid,
  domains: readonly DomainReport[],
  machines: KnownMachines,
): InventoryDifference => {
  const there = new Map(domains.map((domain) => [domain.virtualMachine, domain]));
  const missing = machines.onHost
    .filter((machine) => !machine.busy && there.get(machine.uid)?.incarnation !== machine.incarnation)
    .map(({ uid, incarnation, version }) => ({ virtualMachine: uid, incarnation, version }));
  const changed = machines.onHost.flatMap((machine) => {
    const domain = there.get(machine.uid);
    if (machine.busy || domain?.incarnation !== machine.incarnation || isAsKnown(machine, domain)) return [];
    const { uid: virtualMachine, incarnation, version } = machine;
    return [{ virtualMachine, incarnation, version, domid: domain.domid, state: domain.state }];
  });
  const strays = domains
    .filter((domain) => !isExpected(machines.get(domain.virtualMachine), hostUid, domain))
    .map(({ virtualMachine, incarnation }) => ({ virtualMachine, incarnation }));
  return { missing, strays, changed };
};

/**
 * The part that may be acted on of the inventory with which a host registers, which may have been overtaken on its way. Strays are examined before anything
 * happens to them. After a reboot everything that ran is gone, whatever was under way. All else is asked for anew by the inventory watch.
 */
export const registeredDifference = (
  hostUid: Uuid,
  domains: readonly DomainReport[],
  machines: KnownMachines,
): RegisteredDifference => {
  const there = new Map(domains.map((domain) => [domain.virtualMachine, domain]));
  const missing = machines.onHost
    .filter((machine) => there.get(machine.uid)?.incarnation !== machine.incarnation)
    .map(({ uid, incarnation }) => ({ virtualMachine: uid, incarnation }));
  return { missing, strays: inventoryDifference(hostUid, domains, { ...machines, onHost: [] }).strays };
};
