import { z } from 'zod';
import type { EventOf } from '../messages.js';
import { conditions, defineKind } from '../resource.js';

/** Which watches of a device are lost: of the guest's driver, of the back-end's (the bus that finds new devices included), of the toolstack, or all. */
export const WATCHERS = ['frontend', 'backend', 'toolstack', 'all'] as const;

/** What goes wrong inside a host, with the devices of its virtual machines. */
export const deviceEffects = z.strictObject({
  dropWatches: z
    .enum(WATCHERS)
    .optional()
    .describe(
      'Lose the xenstore watch events of these devices that this end waits for. A driver looks again after 10 s; the toolstack gives the device up after 10 s. Strikes nothing on KVM hosts, which have no xenstore.',
    ),
  stallHotplug: z
    .boolean()
    .default(false)
    .describe(
      'The hot-plug script that attaches the device never ends; the toolstack kills it after 40 s. On KVM hosts QEMU does not answer, and is given up on after 30 s.',
    ),
  failHotplug: z
    .string()
    .min(1)
    .max(1024)
    .optional()
    .describe('The hot-plug script that attaches the device fails with these words; on KVM hosts QEMU does.'),
  stallDeviceModel: z
    .boolean()
    .default(false)
    .describe(
      'The device model of an HVM guest (as a device: device-model) never says that it runs; the toolstack gives up after 60 s. Strikes nothing on KVM hosts.',
    ),
  killDeviceModel: z
    .boolean()
    .default(false)
    .describe(
      'The device model of a running HVM guest dies. A guest without PV drivers stands still then; another goes on, but can’t be saved, migrated or given devices before it is rebooted. On KVM hosts the process is the machine: it ends as by a crash.',
    ),
  crashDriverDomain: z
    .boolean()
    .default(false)
    .describe(
      'The driver domain that serves the device crashes, now if the device is connected, or when it connects. It boots again and serves its devices anew; Dom0 never crashes by this. KVM hosts have none.',
    ),
  fillRings: z
    .boolean()
    .default(false)
    .describe(
      'The back-end answers no requests while the rule is in force: rings (virtqueues on KVM) fill and the guest waits. Nothing is lost.',
    ),
});
export type DeviceEffects = z.infer<typeof deviceEffects>;

/** Daemons of a host that a rule may kill; libvirtd is of KVM hosts, xend of Xen up to 4.4. */
export const MORTAL_DAEMONS = ['xenstored', 'xenconsoled', 'xend', 'libvirtd'] as const;
export type MortalDaemon = (typeof MORTAL_DAEMONS)[number];

export const faultRuleSpec = z.strictObject({
  match: z
    .strictObject({
      commands: z
        .array(z.string())
        .default([])
        .describe('Agent commands that the rule strikes, such as StartDomain; empty: all.'),
      hosts: z.array(z.string()).default([]).describe('Names of hosts, "*" and "?" as wild cards; empty: all.'),
      virtualMachines: z
        .array(z.string())
        .default([])
        .describe(
          'For effects on devices: names of virtual machines, or namespace/name, "*" and "?" as wild cards; empty: all.',
        ),
      devices: z
        .array(z.string())
        .default([])
        .describe('For effects on devices: names of disks and NICs, "*" and "?" as wild cards; empty: all.'),
      phase: z
        .enum(['before', 'after'])
        .default('before')
        .describe('Before the command takes effect, or after it did and before its answer.'),
    })
    .prefault({})
    .describe('Which commands or devices the rule is about; what is left out matches all.'),
  effect: z
    .strictObject({
      delay: z.number().min(0).max(3600).optional().describe('Seconds to wait.'),
      fail: z
        .strictObject({
          code: z.string().default('fault_injected').describe('Code of the refusal.'),
          message: z.string().default('the fault rule says so').describe('What the refusal says.'),
        })
        .optional()
        .describe('Refuse the command.'),
      timeout: z.boolean().default(false).describe('Never answer.'),
      crashHost: z.boolean().default(false).describe('Crash the host: every domain is lost, and it boots again.'),
      killDaemon: z
        .enum(MORTAL_DAEMONS)
        .optional()
        .describe(
          'Instead: a daemon of the host dies, and is started again when the rule is no longer in force. Without xenstored, xend or libvirtd nothing can be started, stopped or changed, while guests run on; xenstored can’t be started again before the host boots. Without xenconsoled there are no consoles.',
        ),
      devices: deviceEffects
        .optional()
        .describe('Instead of all these: what goes wrong with devices inside the host, whatever commands it gets.'),
    })
    .describe('What happens; a delay comes first.'),
  probability: z
    .number()
    .min(0)
    .max(1)
    .default(1)
    .describe('Chance that the rule strikes a matching command, script, watch event or device.'),
  count: z.number().int().min(1).optional().describe('How often it strikes at most; absent: without limit.'),
  seed: z.number().int().default(0).describe('Seed of the dice.'),
  enabled: z.boolean().default(true).describe('False lets the rule rest without losing its count.'),
});
export type FaultRuleSpec = z.infer<typeof faultRuleSpec>;

export const faultRuleStatus = z.looseObject({
  strikes: z.string().describe('The agent commands that it strikes, * for all, or what goes wrong with devices.'),
  fired: z.number().int().describe('How often the rule has struck.'),
  lastFired: z.string().optional().describe('When it last struck.'),
  lastHost: z.string().optional().describe('The host that it last struck.'),
  lastCommand: z
    .string()
    .optional()
    .describe('The agent command that it last struck, or the effect and the device, such as "failHotplug web-1/eth0".'),
  conditions,
});

export const faultRuleKind = defineKind({
  group: 'chaos.xenolith.dev',
  version: 'v1alpha1',
  kind: 'FaultRule',
  plural: 'faultrules',
  singular: 'faultrule',
  shortNames: ['fault', 'faults'],
  categories: ['xen'],
  namespaced: false,
  service: 'compute',
  description:
    'Delays, refusals, silence, crashes and broken devices on demand: which agent commands or devices, on which hosts, how often.',
  spec: faultRuleSpec,
  status: faultRuleStatus,
  columns: [
    {
      name: 'Strikes',
      type: 'string',
      path: '.status.strikes',
      description: 'Commands that the rule strikes, or what goes wrong with devices.',
    },
    {
      name: 'Hosts',
      type: 'string',
      path: '.spec.match.hosts',
      description: 'Hosts that the rule strikes.',
      ofEmptyList: '*',
    },
    { name: 'Enabled', type: 'boolean', path: '.spec.enabled', description: 'Whether the rule is in force.' },
    { name: 'Fired', type: 'integer', path: '.status.fired', description: 'How often it has struck.' },
    { name: 'Age', type: 'date', path: '.metadata.creationTimestamp', description: 'Time since creation.' },
  ],
});

export const faultRuleEvents = {
  FaultRuleCreated: z.object({ metadata: z.looseObject({}), spec: z.looseObject({}) }),
  FaultRuleMetadataChanged: z.looseObject({}),
  FaultRuleSpecChanged: z.object({ spec: z.looseObject({}) }),
  FaultRuleDeletionRequested: z.looseObject({}),
  FaultRuleDeleted: z.object({}),
  /** `fired`: how often it has struck in all, as far as the agent that reports it knows. */
  FaultRuleFired: z.object({ host: z.string(), command: z.string(), fired: z.number().int().positive() }),
} as const;
export type FaultRuleEvent = EventOf<typeof faultRuleEvents>;
