import { DEFAULT_PROFILE, HARDWARE_PROFILES, isProfileName } from '@xenolith/xen';
import { DEFAULT_FLEET, hostProfiles, HOSTS_MAX, KVM_PREFIX } from '@xenolith/contracts';
import { jsonVariable, processConfig } from '@xenolith/runtime';
import { z } from 'zod';

/** What the agent's process is told by its environment. */
export const agentConfig = processConfig.extend({
  AGENT_HOSTS: z.coerce.number().int().min(0).max(HOSTS_MAX).default(4).describe('how many hosts this agent emulates'),
  AGENT_KVM_HOSTS: z.coerce
    .number()
    .int()
    .min(0)
    .max(HOSTS_MAX)
    .default(0)
    .describe('how many KVM hosts it emulates beside them'),
  AGENT_FLEET: z
    .string()
    .regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'must be a DNS label')
    .default(DEFAULT_FLEET)
    .describe('names this agent among several on the message bus, where each is a user of its own'),
  AGENT_HOST_PROFILES: jsonVariable
    .pipe(hostProfiles)
    .default([])
    .describe('JSON list of profiles of Xen hosts that it emulates beside them; a host stays as it was made'),
  AGENT_HOST_PREFIX: z
    .string()
    .regex(/^[a-z][a-z0-9-]{0,40}$/, 'must be the beginning of a DNS label')
    .default('host-')
    .describe('what the names of its hosts begin with; several agents need several prefixes'),
  AGENT_KVM_PREFIX: z
    .string()
    .regex(/^[a-z][a-z0-9-]{0,40}$/, 'must be the beginning of a DNS label')
    .default(KVM_PREFIX)
    .describe('what the names of its KVM hosts begin with'),
  AGENT_PROFILE: z
    .string()
    .refine(isProfileName, `must be one of ${Object.keys(HARDWARE_PROFILES).join(', ')}`)
    .default(DEFAULT_PROFILE)
    .describe('the hardware of its hosts; fixed when the data folder is new'),
  AGENT_BOOT_TIME: z.coerce
    .number()
    .min(0)
    .max(3600)
    .default(5)
    .describe('seconds that a guest takes to boot; 0 makes everything that hosts do instantaneous'),
  AGENT_SEED: z.string().default('1').describe('seed of its hosts; fixed when the data folder is new'),
  AGENT_DATA_DIR: z.string().min(1).describe('folder of its journal, from which its hosts go on after a restart'),
});
export type AgentConfig = z.infer<typeof agentConfig>;
