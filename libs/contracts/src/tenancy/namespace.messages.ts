import { z } from 'zod';
import { objectEvents } from '../object-events.js';
import { defineKind } from '../resource.js';

export const namespaceSpec = z.strictObject({
  finalizers: z.array(z.string()).default([]).describe('Kubernetes clients send them; the platform needs none.'),
});

export const namespaceKind = defineKind({
  group: '',
  version: 'v1',
  kind: 'Namespace',
  plural: 'namespaces',
  singular: 'namespace',
  shortNames: ['ns'],
  categories: [],
  namespaced: false,
  service: 'gateway',
  description: 'A tenant’s space of names.',
  spec: namespaceSpec,
  status: z.looseObject({
    phase: z.enum(['Active', 'Terminating']).describe('Terminating while what is in it is deleted.'),
  }),
  columns: [
    { name: 'Status', type: 'string', path: '.status.phase', description: 'Active or Terminating.' },
    { name: 'Age', type: 'date', path: '.metadata.creationTimestamp', description: 'Time since creation.' },
  ],
});

/** Namespaces that exist from the start and cannot be deleted. */
export const PROTECTED_NAMESPACES = ['default'] as const;

export const namespaceEvents = objectEvents('Namespace');
