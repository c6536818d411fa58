import { z } from 'zod';
import { savedImage } from '../agent.messages.js';

export const attachedNic = z.strictObject({
  name: z.string(),
  port: z.string(),
  portUid: z.string(),
  mac: z.string(),
  ips: z.array(z.string()),
  bridge: z.string().optional(),
});
export const attachedDisk = z.strictObject({
  name: z.string(),
  volume: z.string(),
  volumeUid: z.string(),
  owned: z.boolean(),
  readOnly: z.boolean().optional(),
  /** Of the lease that the run has, as its domain was told. */
  sizeBytes: z.number().int().optional(),
  fencingToken: z.number().int().optional(),
});
/** What a running domain has of CPU and memory; `maxVcpus`: as it was built. */
export const domainHardware = z.strictObject({
  vcpus: z.number().int(),
  maxVcpus: z.number().int(),
  weight: z.number().int(),
  cap: z.number().int(),
  pin: z.string(),
  dynamicMinBytes: z.number().int(),
  dynamicMaxBytes: z.number().int(),
});
export type DomainHardware = z.infer<typeof domainHardware>;

/** A suspended guest: what its host answered, and the volume that stands for it in storage. */
export const suspendImage = z.strictObject({ ...savedImage.shape, volume: z.string(), volumeUid: z.string() });
export type SuspendImage = z.infer<typeof suspendImage>;
export type AttachedNic = z.infer<typeof attachedNic>;
export type AttachedDisk = z.infer<typeof attachedDisk>;

export const hypervisorOfHost = z.enum(['xen', 'kvm']);
