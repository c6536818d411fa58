/**
 * Where things lie in xenstore (docs/misc/xenstore-paths.pandoc in Xen's tree). One place for all layers, so that a toolstack, a front-end and a
 * back-end that mean the same node cannot differ in a letter.
 */

/** Kinds of devices as the paths name them; the back-end's kind can differ from the front-end's (`qdisk` serves a `vbd`). */
export type FrontendKind = 'vbd' | 'vif' | 'console' | 'vfb' | 'vkbd' | 'vusb' | 'pci' | '9pfs' | 'vtpm' | 'pvcalls';
export type BackendKind = FrontendKind | 'qdisk' | 'tap' | 'qusb';

/** A back-end's place: the domain that serves, what it serves, for whom, and which of theirs. */
export interface BackendAddress {
  readonly backend: number;
  readonly kind: BackendKind;
  readonly frontend: number;
  readonly devid: number;
}

/** The parent of all homes: a watch here sees every domain. */
export const DOMAINS_PATH = '/local/domain';

/** A domain's home; relative paths of that domain start here. */
export const domainPath = (domid: number): string => `/local/domain/${domid}`;

/** A node of a domain's home, such as `domainNode(5, 'name')`. */
export const domainNode = (domid: number, node: string): string => `/local/domain/${domid}/${node}`;

/** Balloon target in KiB. */
export const memoryTargetPath = (domid: number): string => domainNode(domid, 'memory/target');
/** Largest memory the domain shall expect, in KiB. */
export const memoryStaticMaxPath = (domid: number): string => domainNode(domid, 'memory/static-max');
/** `online` or `offline`. */
export const cpuAvailabilityPath = (domid: number, vcpu: number): string =>
  domainNode(domid, `cpu/${vcpu}/availability`);

/** The toolstack writes a request here; the guest acknowledges by writing the empty string. */
export const controlShutdownPath = (domid: number): string => domainNode(domid, 'control/shutdown');
export const controlSysrqPath = (domid: number): string => domainNode(domid, 'control/sysrq');
/** What the guest answers to: ``, `0` or `1`. */
export const controlFeaturePath = (
  domid: number,
  feature: 'poweroff' | 'reboot' | 'suspend' | 's3' | 's4' | 'laptop-slate-mode',
): string => domainNode(domid, `control/feature-${feature}`);

/** Below it the guest writes what addresses its interface has: `mac/0`, `ipv4/0`, `ipv6/0`. */
export const vifAttributesPath = (domid: number, devid: number): string => domainNode(domid, `attr/vif/${devid}`);
/** Where the guest writes as it likes. */
export const guestDataPath = (domid: number): string => domainNode(domid, 'data');

export const frontendDevicesPath = (domid: number): string => domainNode(domid, 'device');
export const frontendPath = (domid: number, kind: FrontendKind, devid: number): string =>
  domainNode(domid, `device/${kind}/${devid}`);
/** The first console lies at the home itself; later ones lie with the devices. */
export const consolePath = (domid: number, devid = 0): string =>
  devid === 0 ? domainNode(domid, 'console') : frontendPath(domid, 'console', devid);
/** Where front-ends write an error that they met. */
export const frontendErrorPath = (domid: number, kind: FrontendKind, devid: number): string =>
  domainNode(domid, `error/device/${kind}/${devid}/error`);

export const backendsPath = (backend: number): string => domainNode(backend, 'backend');
export const backendPath = ({ backend, kind, frontend, devid }: BackendAddress): string =>
  domainNode(backend, `backend/${kind}/${frontend}/${devid}`);

/** State of the device model that serves `target`, in the domain that runs it: `running` when it is ready. */
export const deviceModelPath = (target: number, runner = 0): string => domainNode(runner, `device-model/${target}`);

/** What libxl keeps for itself of a domain; no guest can write it. */
export const libxlPath = (domid: number): string => `/libxl/${domid}`;
/** libxl's trusted copy of a device: below it lie `frontend` and `backend`, the paths of both ends. */
export const libxlDevicePath = (domid: number, kind: FrontendKind, devid: number): string =>
  `/libxl/${domid}/device/${kind}/${devid}`;

/** What a toolstack keeps of a virtual machine whatever domain runs it. */
export const vmPath = (uuid: string): string => `/vm/${uuid}`;

/** Exists from the daemon's start; its `domid` is there when a domain of its own is the store. */
export const XENSTORED_PATH = '/tool/xenstored';

/** Fires when a domain is introduced; with a depth of 1, as `@introduceDomain/<domid>`. */
export const INTRODUCE_DOMAIN = '@introduceDomain';
/** Fires when a domain shuts down, crashes, is released or destroyed; with a depth of 1, as `@releaseDomain/<domid>`. */
export const RELEASE_DOMAIN = '@releaseDomain';
