import { hostProfiles } from '@xenolith/contracts';
import { z } from 'zod';

/** What the supervisor tells the `up` that started it. */
export const fromSupervisor = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('step'), text: z.string(), durationMs: z.number() }),
  z.strictObject({ type: z.literal('waiting'), text: z.string() }),
  z.strictObject({ type: z.literal('warning'), text: z.string() }),
  z.strictObject({ type: z.literal('ready') }),
  z.strictObject({ type: z.literal('stopping'), text: z.string() }),
  /** Another supervisor has the data folder. */
  z.strictObject({ type: z.literal('taken') }),
  z.strictObject({ type: z.literal('failed'), message: z.string(), advice: z.array(z.string()) }),
]);
export type FromSupervisor = z.infer<typeof fromSupervisor>;

/** What `up` tells the supervisor. A channel that closes without `detach` means: stop. */
export const toSupervisor = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('detach') }),
  z.strictObject({ type: z.literal('stop') }),
]);
export type ToSupervisor = z.infer<typeof toSupervisor>;

/** The supervisor's start-up order, in one JSON argument, which everybody on the machine can read: it holds no secret. */
export const supervisorOrder = z.strictObject({
  data: z.string(),
  hosts: z.int().optional(),
  kvmHosts: z.int().optional(),
  hostProfiles: hostProfiles.optional(),
  port: z.int().optional(),
  bootTimeSeconds: z.number().optional(),
  seed: z.int().optional(),
  otlpUrl: z.string().optional(),
  /** The platform ends when this process does. */
  ownerPid: z.int().optional(),
});
export type SupervisorOrder = z.infer<typeof supervisorOrder>;

/** The order with what the environment adds. */
export interface StartOrder extends SupervisorOrder {
  readonly databaseUrl?: string | undefined;
  readonly natsUrl?: string | undefined;
}
