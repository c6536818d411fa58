import { z } from 'zod';
import type { EventOf } from '../messages.js';
import { createdEvent, objectEvents } from '../object-events.js';
import { conditions, defineKind, ownerReference } from '../resource.js';

const ipv4Cidr = z.string().regex(/^(\d{1,3}\.){3}\d{1,3}\/\d{1,2}$/, 'must be an IPv4 network such as 10.20.0.0/16');
const ipv4 = z.string().regex(/^(\d{1,3}\.){3}\d{1,3}$/, 'must be an IPv4 address');

export const networkSpec = z.strictObject({
  cidr: ipv4Cidr.describe('The subnet that addresses come from.'),
  gateway: ipv4.optional().describe('The router’s address, never given to a port. Default: the first of the subnet.'),
  vlan: z.number().int().min(1).max(4094).optional().describe('VLAN id; absent: untagged.'),
  mtu: z.number().int().min(576).max(9216).default(1500).describe('Largest packet in bytes.'),
  bridge: z
    .string()
    .regex(/^[a-z][a-z0-9-]{0,14}$/)
    .default('xenbr0')
    .describe('The bridge in Dom0 that ports are attached to.'),
  reserved: z.array(ipv4).default([]).describe('Addresses that are never given to a port.'),
});
export type NetworkSpec = z.infer<typeof networkSpec>;

export const networkKind = defineKind({
  group: 'network.xenolith.dev',
  version: 'v1alpha1',
  kind: 'Network',
  plural: 'networks',
  singular: 'network',
  shortNames: ['net'],
  categories: ['xen'],
  namespaced: true,
  service: 'network',
  description: 'A layer-2 network with one subnet.',
  spec: networkSpec,
  status: z.looseObject({
    usable: z.number().int().describe('Addresses that ports can have in all.'),
    conditions,
  }),
  columns: [
    { name: 'CIDR', type: 'string', path: '.spec.cidr', description: 'The subnet.' },
    { name: 'Gateway', type: 'string', path: '.spec.gateway', description: 'The router’s address.' },
    { name: 'VLAN', type: 'integer', path: '.spec.vlan', description: 'VLAN id.' },
    { name: 'Age', type: 'date', path: '.metadata.creationTimestamp', description: 'Time since creation.' },
    { name: 'Bridge', type: 'string', path: '.spec.bridge', description: 'Bridge in Dom0.', priority: 1 },
  ],
});

export const portSpec = z.strictObject({
  network: z.string().min(1).describe('Name of the network in the same namespace.'),
  mac: z
    .string()
    .regex(/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/)
    .optional()
    .describe('Default: the next free one.'),
  ip: ipv4.optional().describe('Default: the next free address.'),
});
export type PortSpec = z.infer<typeof portSpec>;

export const portKind = defineKind({
  group: 'network.xenolith.dev',
  version: 'v1alpha1',
  kind: 'Port',
  plural: 'ports',
  singular: 'port',
  shortNames: ['po'],
  categories: ['xen'],
  namespaced: true,
  service: 'network',
  description: 'A connection to a network, with a MAC and an IP address that nobody else has.',
  spec: portSpec,
  status: z.looseObject({
    mac: z.string().describe('Its MAC address.'),
    ips: z.array(z.string()).describe('Its IP addresses.'),
    host: z.string().optional().describe('The host that its machine is on.'),
    attachedTo: z.string().optional().describe('Name of the virtual machine that uses it.'),
    attachedToUid: z.string().optional().describe('UID of that virtual machine.'),
    conditions,
  }),
  fieldSelectors: ['spec.network'],
  columns: [
    { name: 'Network', type: 'string', path: '.spec.network', description: 'The network.' },
    { name: 'MAC', type: 'string', path: '.status.mac', description: 'MAC address.' },
    { name: 'IP', type: 'string', path: '.status.ips[0]', description: 'IP address.' },
    {
      name: 'Attached To',
      type: 'string',
      path: '.status.attachedTo',
      description: 'The virtual machine that uses it.',
    },
    { name: 'Age', type: 'date', path: '.metadata.creationTimestamp', description: 'Time since creation.' },
  ],
});

/**
 * `AttachPort` (stream: the port) says on which host the machine is that has it: without `host`, on none. `DetachPort` unties it. Refusals: `port_in_use`,
 * `virtual_machine_stale_incarnation` (a younger run has it, or the machine has let go of it). The answer has `mac`, `ips`, `bridge`, `name`, `uid`.
 */
export const attachPortData = z.strictObject({
  virtualMachine: z.strictObject({ uid: z.string(), name: z.string() }),
  /** Default: the run that has it. */
  incarnation: z.number().int().optional(),
  host: z.string().optional(),
});
export const detachPortData = z.strictObject({ virtualMachine: z.strictObject({ uid: z.string() }) });

export const attachPortAnswer = z.looseObject({
  mac: z.string(),
  ips: z.array(z.string()),
  bridge: z.string(),
  name: z.string(),
  uid: z.string(),
});

/**
 * `ProvisionPort` (stream: the port, whose uid the sender derives from the machine's and the interface's name) makes a machine's port unless it exists, and
 * attaches it, in one append. Answer: `attachPortAnswer`. Refusals: those of creating a port and of `AttachPort`.
 */
export const provisionPortData = z.strictObject({
  name: z.string(),
  namespace: z.string(),
  owner: ownerReference,
  spec: portSpec,
  virtualMachine: z.strictObject({ uid: z.string(), name: z.string() }),
  incarnation: z.number().int(),
  host: z.string().optional(),
});
export type ProvisionPortData = z.infer<typeof provisionPortData>;

/**
 * `DeprovisionPort` (stream: the port), the undo of `ProvisionPort`: unties it and, with `delete`, removes it and gives its addresses back. Gone already,
 * never made, or tied to a younger incarnation: nothing to do.
 */
export const deprovisionPortData = z.strictObject({
  virtualMachine: z.strictObject({ uid: z.string() }),
  incarnation: z.number().int(),
  delete: z.boolean(),
});
export type DeprovisionPortData = z.infer<typeof deprovisionPortData>;

export const networkEvents = objectEvents('Network');

/** The addresses that a port was given and the network that they are of; settled when it is made. */
export const portAddresses = z.strictObject({
  networkUid: z.string(),
  network: z.string(),
  cidr: z.string(),
  bridge: z.string(),
  mac: z.string(),
  ip: z.string(),
});
export type PortAddresses = z.infer<typeof portAddresses>;

export const portAttachment = z.strictObject({
  virtualMachine: z.strictObject({ uid: z.string(), name: z.string() }),
  /** 0 where the sender named none. */
  incarnation: z.number().int(),
  host: z.string().optional(),
});
export type PortAttachment = z.infer<typeof portAttachment>;

export const portOwnEvents = {
  /** A port that is made for a machine is born attached. */
  PortCreated: z.object({ ...createdEvent, addresses: portAddresses, attachment: portAttachment.optional() }),
  PortAttached: z.object({ attachment: portAttachment }),
  PortDetached: z.object({ virtualMachine: z.string(), incarnation: z.number().int() }),
} as const;
export type PortOwnEvent = EventOf<typeof portOwnEvents>;
export const portEvents = { ...objectEvents('Port'), ...portOwnEvents };
