import { z } from 'zod';
import type { EventOf } from '../messages.js';

/** How long a host may take to go off, or from the wish to wake it to its registration: three times what firmware and Dom0 of a slow server take. */
export const POWER_LIMIT_MS = 300_000;

export const HOST_POWER_STATES = ['On', 'ShuttingDown', 'Off', 'Starting'] as const;
export type HostPowerState = (typeof HOST_POWER_STATES)[number];

export const hostPowerStatus = z.looseObject({
  state: z
    .enum(HOST_POWER_STATES)
    .describe('On, on its way to Off, Off (parked, or not yet to be woken), or on its way to On.'),
  since: z.string().describe('When the log recorded that it became so.'),
  reason: z.string().describe('Why it is so, or why it is being parked.'),
  message: z.string().optional().describe('What went wrong last; it is tried again.'),
  failures: z.number().int().optional().describe('Attempts in a row that came to nothing.'),
  retryTime: z.string().optional().describe('When it is tried again.'),
});

const why = z.strictObject({ reason: z.string() });
/** Which of the power commands that the host was sent: counted from 1. */
const turn = z.number().int().positive();

/** Commands on a host's stream that are about its power. */
export const hostPowerCommands = {
  /** From the scheduler, which has found the host unnecessary. Parked already: nothing to do. */
  ParkHost: why,
  /** From the scheduler, which needs the host. Not parked: nothing to do. */
  WakeHost: why,
  RecordHostPoweredOff: z.strictObject({ turn }),
  RecordHostPoweredOn: z.strictObject({ turn, bootId: z.string() }),
  RecordHostPowerRefused: z.strictObject({ turn, message: z.string() }),
  /** The host was told to start, or to go off, so long ago that it should have. */
  ExpireHostPower: z.strictObject({ turn }),
  /** The pause after an attempt that came to nothing is over. */
  RetryHostPower: z.strictObject({ turn }),
} as const;

/** `failures`: attempts at the same before this one. */
const attempt = z.object({ failures: z.number().int().nonnegative() });

export const hostPowerEvents = {
  /** The host is to be emptied and powered off. */
  HostParkingBegun: z.object({ reason: z.string() }),
  /** It is not, before it was powered off. */
  HostParkingEnded: z.object({ reason: z.string() }),
  /** It is empty: its power is switched off. */
  HostShutdownBegun: attempt,
  HostPoweredOff: z.object({}),
  HostWakeBegun: attempt.extend({ reason: z.string() }),
  /** There is power, and the boot `bootId` begins, or goes on. */
  HostPoweredOn: z.object({ bootId: z.string() }),
  /** It has registered, or never went off. */
  HostWoken: z.object({ bootId: z.string() }),
  /** It could not be powered off, or did not come up. */
  HostPowerFailed: z.object({ message: z.string(), retryAt: z.number() }),
} as const;
export type HostPowerEvent = EventOf<typeof hostPowerEvents>;
