/** Firmware that hvmloader loads for an HVM guest (xen/include/public/io and `~/hvmloader/bios` in xenstore-paths). */
export type Firmware = 'rombios' | 'seabios' | 'ovmf';

/** How a release of Xen differs in what people see in Dom0. */
export interface ReleaseProfile {
  readonly name: string;
  readonly version: string;
  /** The command line tool: xend's `xm`, or `xl`. */
  readonly tool: 'xm' | 'xl';
  readonly xend: boolean;
  /** The program of the device model, one process for each HVM guest. */
  readonly deviceModel: 'qemu-dm' | 'qemu-system-i386';
  /** The first is the default. */
  readonly firmware: readonly [Firmware, ...Firmware[]];
  /** `legacy` is xend's: the physical interface becomes `peth0`, the pair `veth0`/`vif0.0` takes its place. */
  readonly bridgeRecipe: 'legacy' | 'plain';
}

/**
 * Up to 4.4 with xend (removed in 4.5), whose HVM guests run the traditional device model with rombios; later ones with xl and upstream QEMU, whose default
 * firmware is seabios (docs/man/xl.cfg.5.pod.in, `bios`).
 */
export const RELEASE_PROFILES = {
  'xen-4.0': {
    name: 'xen-4.0',
    version: '4.0.1',
    tool: 'xm',
    xend: true,
    deviceModel: 'qemu-dm',
    firmware: ['rombios'],
    bridgeRecipe: 'legacy',
  },
  'xen-4.4': {
    name: 'xen-4.4',
    version: '4.4.4',
    tool: 'xm',
    xend: true,
    deviceModel: 'qemu-dm',
    firmware: ['rombios'],
    bridgeRecipe: 'legacy',
  },
  'xen-4.20': {
    name: 'xen-4.20',
    version: '4.20.1',
    tool: 'xl',
    xend: false,
    deviceModel: 'qemu-system-i386',
    firmware: ['seabios', 'ovmf'],
    bridgeRecipe: 'plain',
  },
} as const satisfies Readonly<Record<string, ReleaseProfile>>;
export type ReleaseName = keyof typeof RELEASE_PROFILES;

/** As Xen tells it; `extra` begins with a dot. */
export const versionParts = ({
  version,
}: ReleaseProfile): { readonly major: number; readonly minor: number; readonly extra: string } => {
  const [major, minor, patch = '0'] = version.split('.');
  return { major: Number(major), minor: Number(minor), extra: `.${patch}` };
};

export interface BootStep {
  readonly step: 'firmware' | 'xen' | 'dom0-kernel' | DaemonName | 'xen-init-dom0' | 'network' | 'xendomains' | 'agent';
  readonly durationMs: number;
}

/** Daemons of Dom0 that run once, whatever guests there are. */
export type DaemonName = 'xenstored' | 'xenconsoled' | 'qemu-dom0' | 'xend';

/**
 * What happens between power-on and the first DomU, one after the other; each step needs those before it. The order is that of the init scripts
 * (tools/hotplug/Linux/init.d/xencommons.in, xendomains.in). Durations are assumptions for a server with a slow power-on self test.
 */
export const bootSequence = (release: ReleaseProfile): readonly BootStep[] => [
  { step: 'firmware', durationMs: 55_000 },
  { step: 'xen', durationMs: 4_000 },
  { step: 'dom0-kernel', durationMs: 18_000 },
  { step: 'network', durationMs: 5_000 },
  { step: 'xenstored', durationMs: 500 },
  { step: 'xen-init-dom0', durationMs: 200 },
  { step: 'xenconsoled', durationMs: 200 },
  { step: 'qemu-dom0', durationMs: 600 },
  ...(release.xend ? [{ step: 'xend', durationMs: 3_000 } as const] : []),
  { step: 'xendomains', durationMs: 500 },
  { step: 'agent', durationMs: 3_000 },
];

/** Time from power-on until a step is done; all of it without a step. */
export const bootDurationMs = (release: ReleaseProfile, until?: BootStep['step']): number => {
  let sum = 0;
  for (const { step, durationMs } of bootSequence(release)) {
    sum += durationMs;
    if (step === until) break;
  }
  return sum;
};

/** What `xen-init-dom0` writes when xenstored is up (tools/helpers/xen-init-dom0.c), as path and value. */
export const DOM0_NODES: readonly (readonly [string, string])[] = [
  ['/local/domain/0/domid', '0'],
  ['/local/domain/0/name', 'Domain-0'],
  ['/local/pool/0/name', 'Pool-0'],
];
