import { z } from 'zod';

/** Names and shapes of Kubernetes: labels, selectors, taints and affinity, of hosts where it says nodes and of virtual machines where it says pods. */
export const HOSTNAME_LABEL = 'kubernetes.io/hostname';

/** How many terms and expressions one rule may have: a decision goes through them for each group of hosts. */
const TERMS_MAX = 16;
const VALUES_MAX = 64;

export const selectorRequirement = z.strictObject({
  key: z.string().min(1).describe('The label.'),
  operator: z.enum(['In', 'NotIn', 'Exists', 'DoesNotExist']).describe('How it is compared.'),
  values: z.array(z.string()).max(VALUES_MAX).optional().describe('Values for In and NotIn.'),
});
export type SelectorRequirement = z.infer<typeof selectorRequirement>;

const matchExpressions = z.array(selectorRequirement).max(TERMS_MAX);

export const labelSelector = z.strictObject({
  matchLabels: z.record(z.string(), z.string()).optional().describe('Labels that must have just these values.'),
  matchExpressions: matchExpressions.optional().describe('Further conditions; all must hold.'),
});
export type LabelSelector = z.infer<typeof labelSelector>;

const weight = z.number().int().min(1).max(100).describe('What it counts among the others, 1 to 100.');

/** As `nodeAffinity`. */
const hostSelectorTerm = z.strictObject({
  matchExpressions: matchExpressions.describe('Conditions on the labels of a host; all must hold.'),
});
export const hostAffinity = z.strictObject({
  requiredDuringSchedulingIgnoredDuringExecution: z
    .strictObject({
      hostSelectorTerms: z.array(hostSelectorTerm).min(1).max(TERMS_MAX).describe('One of them must hold.'),
    })
    .optional()
    .describe('Hosts that will do.'),
  preferredDuringSchedulingIgnoredDuringExecution: z
    .array(z.strictObject({ weight, preference: hostSelectorTerm.describe('Hosts that are liked.') }))
    .max(TERMS_MAX)
    .optional()
    .describe('Hosts that are liked more than others.'),
});
export type HostAffinity = z.infer<typeof hostAffinity>;

/** As a term of `podAffinity`; machines of the same namespace only. */
const machineAffinityTerm = z.strictObject({
  labelSelector: labelSelector.describe('Virtual machines of the namespace that are meant, by their labels.'),
  topologyKey: z
    .string()
    .min(1)
    .describe('Label of hosts: those with the same value of it are one place. kubernetes.io/hostname: each host.'),
});
export type MachineAffinityTerm = z.infer<typeof machineAffinityTerm>;

export const machineAffinity = z.strictObject({
  requiredDuringSchedulingIgnoredDuringExecution: z
    .array(machineAffinityTerm)
    .max(TERMS_MAX)
    .optional()
    .describe('What must hold of the place.'),
  preferredDuringSchedulingIgnoredDuringExecution: z
    .array(z.strictObject({ weight, virtualMachineAffinityTerm: machineAffinityTerm.describe('What is liked.') }))
    .max(TERMS_MAX)
    .optional()
    .describe('What is liked of the place.'),
});
export type MachineAffinity = z.infer<typeof machineAffinity>;

export const affinity = z.strictObject({
  hostAffinity: hostAffinity.optional().describe('By labels of hosts.'),
  virtualMachineAffinity: machineAffinity.optional().describe('Where virtual machines run that are to be near.'),
  virtualMachineAntiAffinity: machineAffinity
    .optional()
    .describe('Where no virtual machines run that are to be far; they keep away from this one likewise.'),
});
export type Affinity = z.infer<typeof affinity>;

export const taint = z.strictObject({
  key: z.string().min(1).describe('Name of the taint.'),
  value: z.string().default('').describe('Its value.'),
  effect: z
    .enum(['NoSchedule', 'PreferNoSchedule'])
    .describe('Whether new virtual machines that do not tolerate it stay away, or do so where there is another host.'),
});
export type Taint = z.infer<typeof taint>;

export const toleration = z.strictObject({
  key: z.string().optional().describe('Name of the taint; absent with operator Exists: every taint.'),
  operator: z.enum(['Equal', 'Exists']).default('Equal').describe('Whether the value counts.'),
  value: z.string().default('').describe('Value of the taint, for Equal.'),
  effect: z.enum(['NoSchedule', 'PreferNoSchedule']).optional().describe('Absent: every effect.'),
});
export type Toleration = z.infer<typeof toleration>;

/** Of one thing; more than any host has. */
export const COUNTED_MAX = 65_535;

/** As extended resources of Kubernetes: how many of a counted thing, by its name. */
export const countedResources = z.record(z.string().min(1).max(253), z.number().int().min(0).max(COUNTED_MAX));

/** The counted thing that stands for reserved CPU: percent of hardware threads. */
export const RESERVED_CPU = 'cpu:reserved';

/** In the words of Kubernetes' topology manager. */
export const numaPolicy = z.enum(['none', 'best-effort', 'single-numa-node']);
