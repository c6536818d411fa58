import { z } from 'zod';
import type { MessageSchemas } from '../messages.js';
import { objectEvents } from '../object-events.js';
import { defineKind, quantityInput } from '../resource.js';

/** What the content of objects is counted by, beside their number. */
export const QUOTA_RESOURCES = ['requests.cpu', 'requests.memory', 'requests.storage'] as const;

/** Limits of one quota: more than there are kinds to limit. */
const MAX_LIMITS = 64;

const COUNT = /^count\/[a-z]+(\.[a-z0-9.]+)?$/;

const resourceName = z
  .string()
  .refine(
    (name) => QUOTA_RESOURCES.some((known) => known === name) || COUNT.test(name),
    `must be one of ${QUOTA_RESOURCES.join(', ')}, or count/ and a kind, such as count/virtualmachines.compute.xenolith.dev`,
  );

export const resourceQuotaSpec = z.strictObject({
  hard: z
    .record(resourceName, quantityInput)
    .default({})
    .refine((hard) => Object.keys(hard).length <= MAX_LIMITS, `has ${MAX_LIMITS} limits at most`)
    .describe(
      'The most that a namespace may have: requests.cpu (virtual CPUs), requests.memory, requests.storage, count/<plural>.<group>.',
    ),
  scopes: z
    .array(z.string())
    .optional()
    .refine(
      (scopes) => scopes === undefined || scopes.length === 0,
      'this server counts all objects of a namespace: leave out scopes',
    )
    .describe('Not served.'),
});
export type ResourceQuotaSpec = z.infer<typeof resourceQuotaSpec>;

export const resourceQuotaKind = defineKind({
  group: '',
  version: 'v1',
  kind: 'ResourceQuota',
  plural: 'resourcequotas',
  singular: 'resourcequota',
  shortNames: ['quota'],
  categories: [],
  namespaced: true,
  service: 'gateway',
  description: 'The most that a namespace may have, and what it has.',
  nameRule: 'subdomain',
  spec: resourceQuotaSpec,
  status: z.looseObject({
    hard: z.record(z.string(), z.string()).optional().describe('The limits that hold.'),
    used: z.record(z.string(), z.string()).optional().describe('What there is of each, and what is being made.'),
  }),
  columns: [
    { name: 'Used', type: 'string', path: '.status.used', description: 'What there is.' },
    { name: 'Hard', type: 'string', path: '.status.hard', description: 'The most that there may be.' },
    { name: 'Age', type: 'date', path: '.metadata.creationTimestamp', description: 'Time since creation.' },
  ],
});

/** So much of each resource; those that are not named: nothing. Whole numbers: objects, virtual CPUs, bytes. */
export const amounts = z.record(z.string(), z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER));
export type Amounts = z.infer<typeof amounts>;

const charge = { uid: z.string(), commandId: z.string() };

/** Takes room for an object that a command is about to make or change; `amounts` are all that the object will have. */
export const chargeData = z.strictObject({ ...charge, amounts });
/** The command came to nothing: its room is free again. */
export const dropData = z.strictObject(charge);
/** What an object has now, as the log says; `commandId` is of the command that led to it. Null: it is gone. */
export const settleData = z.strictObject({ ...charge, amounts: amounts.nullable() });
/** What there was in the namespace when the quota was made, part by part. */
export const countData = z.strictObject({
  part: z.number().int().nonnegative(),
  parts: z.number().int().min(1),
  objects: z.array(z.strictObject({ uid: z.string(), amounts })),
});

export const resourceQuotaEvents: MessageSchemas = {
  ...objectEvents('ResourceQuota'),
  ResourceQuotaCounted: countData,
  ResourceQuotaCharged: chargeData,
  ResourceQuotaChargeDropped: dropData,
  ResourceQuotaChargeDoubted: dropData,
  ResourceQuotaSettled: settleData,
};
