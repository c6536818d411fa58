import { controlDomainOf, HARDWARE_PROFILES, type HardwareProfile, type ProfileName } from '../hardware-profile.js';
import { createHypervisor, Hypervisor, type HypervisorState } from '../hypervisor/index.js';
import { backendsPath, createXenstore, domainNode, Xenstore, type XenstoreState } from '../xenstore/index.js';
import { BACKENDS_TOKEN } from './store-access.js';
import type { Host, HostState } from './host-state.js';

/** A host's layers as they are when Dom0 is up and nothing else runs. */
export const freshLayers = (
  profileName: ProfileName,
): { readonly hypervisor: HypervisorState; readonly xenstore: XenstoreState } => {
  const profile: HardwareProfile = HARDWARE_PROFILES[profileName];
  const dom0 = controlDomainOf(profile);
  const hypervisor = createHypervisor({ profile, limits: 'xen-4.20', scheduler: 'credit2', dom0 });
  const xenstore = createXenstore();
  const store = new Xenstore(xenstore);
  // tools/helpers/init-xenstore-domain.c writes these for Dom0 when the store starts.
  const nodes: readonly (readonly [string, string])[] = [
    [domainNode(0, 'name'), 'Domain-0'],
    [domainNode(0, 'domid'), '0'],
    [domainNode(0, 'memory/target'), String(dom0.memoryBytes / 1024)],
    [domainNode(0, 'memory/static-max'), String(dom0.memoryBytes / 1024)],
    ['/tool/xenstored/domid', '0'],
  ];
  for (const [path, value] of nodes) store.write(0, path, value);
  store.mkdir(0, backendsPath(0));
  // The bus of back-ends listens to everything below (drivers/xen/xenbus/xenbus_probe_backend.c).
  store.watch(0, backendsPath(0), BACKENDS_TOKEN);
  return { hypervisor, xenstore };
};

/** Lets the layers stand on a state. */
export const layersOf = (state: Pick<HostState, 'hypervisor' | 'xenstore'>): Pick<Host, 'hypervisor' | 'xenstore'> => {
  const hypervisor = new Hypervisor(state.hypervisor);
  return {
    hypervisor,
    xenstore: new Xenstore(state.xenstore, (domid) => state.hypervisor.domains[domid] !== undefined),
  };
};

export const controlDomainCpus = (host: Host): number => host.state.hypervisor.domains['0']?.vcpus.length ?? 1;
