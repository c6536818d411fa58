import type { HostModel } from './host-model.js';
import type { HostTiming } from './host-timing.js';
import type { HostState } from './host/host-state.js';
import { xenHostModel } from './host/xen-host.js';
import { HARDWARE_PROFILES, type HardwareProfile, type ProfileName } from './hardware-profile.js';
import { kvmHostModel } from './kvm/kvm-host.js';
import { EMULATED_KVM_RELEASE, kvmAllocatableBytes, kvmVersion } from './kvm/kvm-profile.js';
import type { KvmHostState } from './kvm/kvm-state.js';
import { promisableBytes, type MemorySharing } from './memory-sharing.js';
import { DEFAULT_XEN_SETUP, releaseOf, xenFacts, type HostDevices, type XenFacts, type XenSetup } from './xen-setup.js';

export type Hypervisor = 'xen' | 'kvm';

/** A host of either kind. */
export type EmulatedHostState = HostState | KvmHostState;

/** What a host is from its first boot on. */
export interface HostMake {
  readonly hypervisor: Hypervisor;
  readonly profile: ProfileName;
  /** Of a Xen host; absent: the usual one. */
  readonly setup?: XenSetup;
  /** Of a KVM host; absent: none. Those of a Xen host are in its setup. */
  readonly devices?: HostDevices;
  /** Absent: each guest's pages are its own. */
  readonly memorySharing?: MemorySharing;
}

/** What a hypervisor makes of a machine. */
export interface HypervisorFacts {
  readonly version: string;
  /** Bytes that guests can be promised, overhead included. */
  readonly allocatableBytes: number;
  /** Null: it is not Xen, and has neither a control domain nor limits of a release. */
  readonly xen: XenFacts | null;
}

export const hypervisorFacts = (make: HostMake): HypervisorFacts => {
  const facts = ownFacts(make);
  return { ...facts, allocatableBytes: promisableBytes(facts.allocatableBytes, make.memorySharing) };
};

const ownFacts = ({ hypervisor, profile, setup = DEFAULT_XEN_SETUP }: HostMake): HypervisorFacts =>
  hypervisor === 'kvm'
    ? {
        version: kvmVersion(EMULATED_KVM_RELEASE),
        allocatableBytes: kvmAllocatableBytes(HARDWARE_PROFILES[profile]),
        xen: null,
      }
    : xenHostFacts(setup, HARDWARE_PROFILES[profile]);

const xenHostFacts = (setup: XenSetup, profile: HardwareProfile): HypervisorFacts => {
  const xen = xenFacts(setup, profile);
  return { version: releaseOf(setup).version, allocatableBytes: xen.allocatableBytes, xen };
};

export interface EmulatedHostModel extends Omit<HostModel<EmulatedHostState>, 'create'> {
  create(options: HostMake & { readonly name: string; readonly seed: string; readonly at: number }): EmulatedHostState;
}

const isKvm = (state: EmulatedHostState): state is KvmHostState => 'kind' in state;

/** Hosts of both kinds behind one interface: each state knows what it is. */
export const emulatedHostModel = (timing: HostTiming): EmulatedHostModel => {
  const xen = xenHostModel(timing);
  const kvm = kvmHostModel(timing);
  return {
    create: ({ hypervisor, ...options }) => (hypervisor === 'kvm' ? kvm : xen).create(options),
    apply: (state, input, at) => (isKvm(state) ? kvm.apply(state, input, at) : xen.apply(state, input, at)),
    advance: (state, at) => (isKvm(state) ? kvm.advance(state, at) : xen.advance(state, at)),
    nextDue: (state) => (isKvm(state) ? kvm.nextDue(state) : xen.nextDue(state)),
    timeOf: (state) => (isKvm(state) ? kvm.timeOf(state) : xen.timeOf(state)),
    isUp: (state) => (isKvm(state) ? kvm.isUp(state) : xen.isUp(state)),
    isOff: (state) => (isKvm(state) ? kvm.isOff(state) : xen.isOff(state)),
    bootId: (state) => (isKvm(state) ? kvm.bootId(state) : xen.bootId(state)),
    lostDaemons: (state) => (isKvm(state) ? kvm.lostDaemons(state) : xen.lostDaemons(state)),
    inventory: (state) => (isKvm(state) ? kvm.inventory(state) : xen.inventory(state)),
    figures: (state) => (isKvm(state) ? kvm.figures(state) : xen.figures(state)),
    domainFigures: (state, at) => (isKvm(state) ? kvm.domainFigures(state, at) : xen.domainFigures(state, at)),
    tool: (state, call) => (isKvm(state) ? kvm.tool(state, call) : xen.tool(state, call)),
    order: (state, call) => (isKvm(state) ? kvm.order(state, call) : xen.order(state, call)),
  };
};
