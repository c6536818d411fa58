import type { Uuid } from '@xenolith/kernel';

/** Daemons of a host whose death can be wanted. */
export type MortalDaemon = 'xenstored' | 'xenconsoled' | 'xend' | 'libvirtd';

/** What goes wrong with a device. Watches and device models are of Xen hosts only. */
export interface DeviceEffects {
  /** Events of watches are lost: of the guest's driver, of the back-end's, of the toolstack, or of all. */
  readonly dropWatches?: 'frontend' | 'backend' | 'toolstack' | 'all';
  /** The script that attaches it never ends. */
  readonly stallHotplug?: true;
  /** The script that attaches it fails with these words. */
  readonly failHotplug?: string;
  /** Of a machine whose device model is meant (its name is `device-model`): it never says that it runs. */
  readonly stallDeviceModel?: true;
  /** The device model of a machine that has one dies. */
  readonly killDeviceModel?: true;
  /** This daemon of the host dies, whatever machines there are. */
  readonly killDaemon?: MortalDaemon;
  /** The driver domain that serves it crashes. */
  readonly crashDriverDomain?: true;
  /** Its back-end answers no requests: the rings fill and the guest waits. */
  readonly fillRings?: true;
}

/** Something that shall go wrong with devices of this host, until another list comes. */
export interface DeviceFault {
  readonly rule: Uuid;
  /** Names of machines, or namespace/name; `*` and `?` are wild cards; empty: all. */
  readonly machines: readonly string[];
  /** Names of disks and interfaces, likewise. */
  readonly devices: readonly string[];
  readonly effects: DeviceEffects;
  readonly probability: number;
  readonly seed: number;
  /** How often it may strike yet; null: without limit. */
  readonly left: number | null;
}
