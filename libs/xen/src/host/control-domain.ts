import { controlDomainOf, HARDWARE_PROFILES, type HardwareProfile, type ProfileName } from '../hardware-profile.js';
import { createDaemons, Daemons, RELEASE_PROFILES, type DaemonName } from '../dom0/index.js';
import { createHypervisor, Hypervisor } from '../hypervisor/index.js';
import { backendsPath, createXenstore, domainNode, Xenstore } from '../xenstore/index.js';
import { freshNetwork } from './control-network.js';
import { BACKENDS_TOKEN } from './store-access.js';
import type { Host, HostState } from './host-state.js';

/** The release that emulated hosts run. */
export const RELEASE = RELEASE_PROFILES['xen-4.20'];

/** In the order in which they start (tools/hotplug/Linux/init.d/xencommons.in). */
const DAEMONS: readonly DaemonName[] = ['xenstored', 'xenconsoled', 'qemu-dom0'];

/** A host's layers as they are when Dom0 is up and nothing else runs. */
export const freshLayers = (host: {
  readonly name: string;
  readonly profile: ProfileName;
}): Pick<HostState, 'hypervisor' | 'xenstore' | 'daemons' | 'network'> => {
  const profile: HardwareProfile = HARDWARE_PROFILES[host.profile];
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
  const daemons = createDaemons();
  const running = new Daemons(daemons, RELEASE);
  for (const daemon of DAEMONS) running.start(daemon);
  return { hypervisor, xenstore, daemons, network: freshNetwork(host.name) };
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
