import { HARDWARE_PROFILES } from '../hardware-profile.js';
import { createDaemons, Daemons, type DaemonName } from '../dom0/index.js';
import { createHypervisor, Hypervisor } from '../hypervisor/index.js';
import { hardwareWith, releaseOf, xenFacts } from '../xen-setup.js';
import { backendsPath, createXenstore, domainNode, Xenstore } from '../xenstore/index.js';
import { freshNetwork } from './control-network.js';
import { freshPassthrough } from './passed-devices.js';
import { newScan } from './page-scan.js';
import { BACKENDS_TOKEN } from './store-access.js';
import { setupOf, type Host, type HostState } from './host-state.js';

/** In the order in which they start (tools/hotplug/Linux/init.d/xencommons.in). */
const DAEMONS: readonly DaemonName[] = ['xenstored', 'xenconsoled', 'qemu-dom0', 'xend'];

/** A host's layers as they are when Dom0 is up and nothing else runs. */
export const freshLayers = (
  host: Pick<HostState, 'name' | 'profile' | 'setup' | 'memorySharing'>,
): Pick<HostState, 'hypervisor' | 'xenstore' | 'daemons' | 'network' | 'passthrough' | 'scan'> => {
  const setup = setupOf(host);
  const profile = hardwareWith(setup, HARDWARE_PROFILES[host.profile]);
  const { controlDomain: dom0 } = xenFacts(setup, profile);
  const hypervisor = createHypervisor({ profile, limits: setup.release, scheduler: setup.scheduler, dom0 });
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
  const running = new Daemons(daemons, releaseOf(setup));
  // A release without xend answers that it has none.
  for (const daemon of DAEMONS) running.start(daemon);
  const network = freshNetwork(host.name, setup);
  const layers = { hypervisor, xenstore, daemons, network, ...(host.memorySharing && { scan: newScan() }) };
  if (!setup.devices) return layers;
  return { ...layers, passthrough: freshPassthrough(setup.devices, profile.features.includes('iommu')) };
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
