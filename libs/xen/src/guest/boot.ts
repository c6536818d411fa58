import { needsOf, type GuestKind } from './guest-kind.js';

/** What a stage waits for before it begins: the device model answers, the root disk's front-end is Connected. */
export type BootNeed = 'deviceModel' | 'rootDisk';

export interface BootStage {
  readonly stage: 'firmware' | 'bootloader' | 'kernel' | 'mountRoot' | 'userspace';
  /** Microseconds that the stage takes once it has what it needs. */
  readonly durationUs: number;
  readonly needs: BootNeed | null;
}

type Share = readonly [stage: BootStage['stage'], thousandths: number, needs: BootNeed | null];

/**
 * Assumptions: shares of the time from the first instruction to the login prompt as `systemd-analyze` shows them on small Linux guests. The time as a whole comes
 * from the platform.
 */
const PARAVIRTUAL_SHARES: readonly Share[] = [
  ['kernel', 250, null],
  ['mountRoot', 50, 'rootDisk'],
  ['userspace', 700, null],
];
const FIRMWARE_SHARES: readonly Share[] = [
  ['firmware', 150, 'deviceModel'],
  ['bootloader', 150, null],
  ['kernel', 200, null],
  ['mountRoot', 50, 'rootDisk'],
  ['userspace', 450, null],
];

/** The stages of a boot that takes `bootUs` microseconds when nothing keeps it waiting; their durations add up to it. */
export const bootStages = (kind: GuestKind, bootUs: number): readonly BootStage[] => {
  const shares = needsOf(kind).firmware ? FIRMWARE_SHARES : PARAVIRTUAL_SHARES;
  let spentUs = 0;
  return shares.map(([stage, thousandths, needs], index) => {
    const durationUs = index === shares.length - 1 ? bootUs - spentUs : Math.floor((bootUs * thousandths) / 1000);
    spentUs += durationUs;
    return { stage, durationUs, needs: needs === 'rootDisk' && needsOf(kind).ioPath === 'emulated' ? null : needs };
  });
};

/** Linux gives its disks so long to connect before it goes on without them, and panics for want of a root (drivers/xen/xenbus/xenbus_probe_frontend.c). */
export const ROOT_DISK_PATIENCE_US = 270_000_000;

/** A guest on its way to its login prompt; JSON. */
export interface Boot {
  readonly kind: GuestKind;
  readonly bootUs: number;
  /** Index of the stage under way, or of the one that waits. */
  readonly stage: number;
  /** When the stage ends; null while it waits for what it needs. */
  readonly dueUs: number | null;
  /** When the stage's turn came, or when it had what it needs. */
  readonly sinceUs: number;
  /** Its turn came and something was missing. */
  readonly waiting: boolean;
}

export type BootProgress =
  | {
      readonly state: 'booting';
      readonly boot: Boot;
      /** When to look again if nothing connects before. */ readonly dueUs: number | null;
    }
  | { readonly state: 'booted'; readonly atUs: number }
  /** The kernel panicked: shutdown code 3. */
  | { readonly state: 'crashed'; readonly atUs: number };

export const beginBoot = (kind: GuestKind, bootUs: number, nowUs: number): Boot => ({
  kind,
  bootUs,
  stage: 0,
  dueUs: null,
  sinceUs: nowUs,
  waiting: false,
});

/** Lets the guest boot on up to `nowUs`. `has` says what is there now; the host calls again when something connects. */
export const advanceBoot = (boot: Boot, nowUs: number, has: (need: BootNeed) => boolean): BootProgress => {
  const stages = bootStages(boot.kind, boot.bootUs);
  let at = boot;
  for (let stage = stages[at.stage]; stage !== undefined; stage = stages[at.stage]) {
    if (at.dueUs === null) {
      if (stage.needs !== null && !has(stage.needs)) {
        const panicsUs = stage.needs === 'rootDisk' ? at.sinceUs + ROOT_DISK_PATIENCE_US : null;
        if (panicsUs !== null && nowUs >= panicsUs) return { state: 'crashed', atUs: panicsUs };
        return { state: 'booting', boot: { ...at, waiting: true }, dueUs: panicsUs };
      }
      // What it waited for came now, as the host calls whenever something connects.
      const sinceUs = at.waiting ? nowUs : at.sinceUs;
      at = { ...at, dueUs: sinceUs + stage.durationUs, sinceUs, waiting: false };
    }
    const dueUs = at.dueUs ?? nowUs;
    if (dueUs > nowUs) return { state: 'booting', boot: at, dueUs };
    at = { ...at, stage: at.stage + 1, dueUs: null, sinceUs: dueUs };
  }
  return { state: 'booted', atUs: at.sinceUs };
};
