import { randomFrom } from '@xenolith/kernel';

const GIBIBYTE = 2 ** 30;

/** How long a host and its guests take for what they do, in milliseconds of virtual time. */
export interface HostTiming {
  /** Toolstack work for a new domain, before memory and devices. */
  readonly createMs: number;
  /** Populating and scrubbing a gibibyte of guest memory. */
  readonly buildMsPerGibibyte: number;
  /** Whether hot-plug scripts and watch events take the time that their layers say; a host without time does everything at once. */
  readonly timedDevices: boolean;
  /** From the first instruction of the guest to its login prompt. */
  readonly guestBootMs: number;
  /** From the shutdown request to the guest's power-off. */
  readonly guestShutdownMs: number;
  readonly destroyMs: number;
  /** Power-on self test, Xen, Dom0, agent. */
  readonly hostBootMs: number;
}

/**
 * Assumptions, in the order of magnitude of what operators see on servers of this size: `xl create` below a second plus memory, a few seconds for a
 * Linux guest, a minute and a half for a server's firmware and Dom0.
 */
const PLAUSIBLE: Omit<HostTiming, 'guestBootMs'> = {
  createMs: 250,
  buildMsPerGibibyte: 40,
  timedDevices: true,
  guestShutdownMs: 2_000,
  destroyMs: 150,
  hostBootMs: 90_000,
};

const INSTANT: HostTiming = {
  createMs: 0,
  buildMsPerGibibyte: 0,
  timedDevices: false,
  guestBootMs: 0,
  guestShutdownMs: 0,
  destroyMs: 0,
  hostBootMs: 0,
};

/** Plausible durations around a guest's boot time; a boot time of 0 makes everything instantaneous, for benchmarks. */
export const timingFor = (guestBootMs: number): HostTiming =>
  guestBootMs === 0 ? INSTANT : { ...PLAUSIBLE, guestBootMs };

/** Durations differ by up to this share, so that machines started together do not end together. */
const JITTER = 0.15;

/** `durationMs` made a little shorter or longer, always by the same for the same `label`; whole milliseconds. */
export const jittered = (durationMs: number, seed: string, label: string): number =>
  durationMs === 0 ? 0 : Math.round(durationMs * (1 - JITTER + 2 * JITTER * randomFrom(`${seed}/${label}`).next()));

/** Time to create a domain and to fill this memory. */
export const buildMs = (timing: HostTiming, memoryBytes: number): number =>
  timing.createMs + (timing.buildMsPerGibibyte * memoryBytes) / GIBIBYTE;
