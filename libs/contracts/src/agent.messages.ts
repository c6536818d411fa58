import { z } from 'zod';
import { directCommand } from './compute/direct-command.js';
import { givenDevice } from './compute/host-device.js';
import { domainReport, HOST_TOOLS } from './compute/host.messages.js';
import { WORKLOADS } from './compute/virtual-machine.kind.js';

/**
 * The agent contract: commands on `agent.<host>.<type>`, as CommandMessages whose stream id is the virtual machine's uid. An agent journals a
 * command before it acts, answers the same command id with the same answer, waits for work under way rather than starting it twice, and
 * refuses a command that an undo has cancelled (`command_cancelled`). Answers may take as long as the work does. One conformance suite holds for emulated
 * Xen, emulated KVM and real QEMU.
 */
export const domainDisk = z.strictObject({
  name: z.string(),
  volume: z.string(),
  sizeBytes: z.number().int().nonnegative(),
  readOnly: z.boolean(),
  fencingToken: z.number().int(),
});
export const domainNic = z.strictObject({
  name: z.string(),
  port: z.string(),
  mac: z.string(),
  ips: z.array(z.string()),
  bridge: z.string(),
});

export const domainConfig = z.strictObject({
  name: z.string(),
  namespace: z.string(),
  guestType: z.enum(['pv', 'hvm', 'pvh']),
  vcpus: z.number().int().positive(),
  maxVcpus: z.number().int().positive(),
  weight: z.number().int(),
  cap: z.number().int(),
  pin: z.string(),
  /** NUMA node of the host that its memory is of first; absent: those of its pin, or any. */
  memoryNode: z.number().int().nonnegative().optional(),
  staticMaxBytes: z.number().int().positive(),
  dynamicMinBytes: z.number().int().positive(),
  dynamicMaxBytes: z.number().int().positive(),
  disks: z.array(domainDisk),
  nics: z.array(domainNic),
  /** Those of its host that it is given. */
  devices: z.array(givenDevice).optional(),
  /** The domain can be given PCI devices though it begins with none (xl.cfg, `passthrough`). */
  passthrough: z.literal('enabled').optional(),
  guest: z.strictObject({
    os: z.string(),
    /** Image that its first disk is a copy of. */
    image: z.string().optional(),
    pvDrivers: z.boolean(),
    ignoresShutdown: z.boolean(),
    bootSeconds: z.number().optional(),
    workload: z.enum(WORKLOADS).optional(),
  }),
  onPoweroff: z.enum(['destroy', 'restart', 'preserve']),
  onReboot: z.enum(['destroy', 'restart', 'preserve']),
  onCrash: z.enum(['destroy', 'restart', 'preserve']),
});
export type DomainConfig = z.infer<typeof domainConfig>;

const onRun = { incarnation: z.number().int().positive() };

/** A guest that was suspended, as a host keeps it: `sizeBytes` of the real image, `content` what the host model needs to wake it (opaque, small). */
export const savedImage = z.strictObject({ sizeBytes: z.number().int().nonnegative(), content: z.string() });
export type SavedImage = z.infer<typeof savedImage>;

/** Who decides when a live migration stops copying: Xen 4.6 and newer, 4.5 and older, QEMU as libvirt leaves it, or one of oVirt's schedules. */
export const MIGRATION_POLICIES = [
  'xen-v2',
  'xen-legacy',
  'qemu',
  'minimal-downtime',
  'suspend-workload-if-needed',
  'post-copy',
  'very-large-vms',
] as const;
export type MigrationPolicyName = (typeof MIGRATION_POLICIES)[number];

/** Every refusal may also be `fault_injected`, `host_crashed`, `command_cancelled`, `host_stale_incarnation` (a younger run is known). */
export const agentCommands = {
  /**
   * Builds the domain paused, connects its devices, boots the guest unless `paused`. Refusals: `host_out_of_memory`, `host_domain_unsupported` (the hypervisor has no such
   * domains), `host_device_failed` (a disk or an interface did not come up), `host_domain_exists` (another
   * incarnation still runs here). Answer: `startDomainAnswer`.
   */
  StartDomain: z.strictObject({ ...onRun, config: domainConfig, paused: z.boolean() }),
  /** Clean: asks the guest and waits up to `timeoutMs` (`guest_ignored_shutdown`); hard: ends it. A domain that is gone: nothing to do. */
  ShutdownDomain: z.strictObject({ ...onRun, mode: z.enum(['clean', 'hard']), timeoutMs: z.number().int().positive() }),
  /** Refusals as of ShutdownDomain, `host_unknown_domain`. Answer: the new `domid`. */
  RebootDomain: z.strictObject({ ...onRun, mode: z.enum(['clean', 'hard']), timeoutMs: z.number().int().positive() }),
  PauseDomain: z.strictObject(onRun),
  UnpauseDomain: z.strictObject(onRun),
  /** The undo of StartDomain: no trace is left, and a late StartDomain of this incarnation is refused. Gone already: nothing to do. */
  DestroyDomain: z.strictObject(onRun),
  /**
   * Changes what may change while the domain runs; what is left out stays. `dynamicMaxBytes` is where the balloon is to go. Refusals: `host_unknown_domain`,
   * `host_out_of_memory`, `host_domain_unsupported` (more vCPUs than it was built for, CPUs that the host has not).
   */
  ChangeDomain: z.strictObject({
    ...onRun,
    vcpus: z.number().int().positive().optional(),
    weight: z.number().int().optional(),
    cap: z.number().int().optional(),
    pin: z.string().optional(),
    dynamicMinBytes: z.number().int().positive().optional(),
    dynamicMaxBytes: z.number().int().positive().optional(),
  }),
  /** Hot-plug: answered when both ends are connected. A device that is there already: nothing to do. Refusals: `host_unknown_domain`, `host_device_failed`. */
  AttachDisk: z.strictObject({ ...onRun, disk: domainDisk }),
  AttachNic: z.strictObject({ ...onRun, nic: domainNic }),
  /** Hot-unplug, by the device's name. Refusals: `host_unknown_domain`, `host_device_failed` (the guest does not let go). Gone already: nothing to do. */
  DetachDisk: z.strictObject({ ...onRun, name: z.string() }),
  DetachNic: z.strictObject({ ...onRun, name: z.string() }),
  /**
   * Gives a running domain those of these devices of its host that are for wish `name`. One that it has: nothing to do. Refusals: `host_unknown_domain`, `host_device_failed` (the
   * hypervisor or the device model refuses).
   */
  AttachDevice: z.strictObject({ ...onRun, name: z.string(), devices: z.array(givenDevice) }),
  /** Takes them away again. Refusals as of DetachDisk. Gone already: nothing to do. */
  DetachDevice: z.strictObject({ ...onRun, name: z.string() }),
  /**
   * Saves the guest and ends the domain. Answer: `savedImage`. Refusals: `host_unknown_domain`, `guest_ignored_shutdown` (it does not acknowledge; it runs on),
   * `host_domain_unsupported` (a guest that can't be suspended).
   */
  SuspendDomain: z.strictObject({ ...onRun, timeoutMs: z.number().int().positive() }),
  /**
   * Saves the guest as SuspendDomain does, but the domain stays: when the image is written, the guest goes on in it, or stands still until UnpauseDomain, with `paused`. Answer: `savedImage`, from which ResumeDomain wakes a later run.
   * Who asks for it or for SuspendDomain meanwhile gets the same image. Refusals as of SuspendDomain; also `host_domain_unsupported` (it is being migrated) and
   * `command_cancelled` (it was ended or rebooted before it was saved).
   */
  CheckpointDomain: z.strictObject({
    ...onRun,
    timeoutMs: z.number().int().positive(),
    paused: z.boolean().default(false),
  }),
  /** As StartDomain, from a saved guest: it goes on where it was. Refusals and answer as of StartDomain. */
  ResumeDomain: z.strictObject({ ...onRun, config: domainConfig, image: savedImage, paused: z.boolean() }),
  /**
   * To the host that is to get a machine: makes ready for run `incarnation`, which will come from host `from` as the machine's run `fromIncarnation`. Holds the memory. Refusals as
   * of StartDomain. Undo: DestroyDomain of `incarnation`.
   */
  ReceiveDomain: z.strictObject({
    ...onRun,
    config: domainConfig,
    from: z.string(),
    fromIncarnation: z.number().int().positive(),
  }),
  /**
   * To the host that runs it: live migration to host `to`, where it becomes run `toIncarnation`. Without a policy the hypervisor's own decides. Ended rounds are reported to `operation` by ReportMigrationRound. Answer:
   * `migrateDomainAnswer`, when the other host has the machine and none is left here. Refusals: `migration_failed`, `migration_cancelled` (it runs on here),
   * `host_unknown_domain`, `host_crashed` (only the other host knows).
   */
  MigrateDomain: z.strictObject({
    ...onRun,
    to: z.string(),
    toIncarnation: z.number().int().positive(),
    operation: z.string(),
    policy: z.enum(MIGRATION_POLICIES).optional(),
  }),
  /** Asks a migration under way to give up; it is answered at once, and MigrateDomain then tells how it ended. Refusal: `migration_switched`: too late. None under way: nothing to do. */
  CancelMigration: z.strictObject(onRun),
  /**
   * To the host that was to get the machine, once the other has ended its part or is dead: answers `startDomainAnswer` if the machine is here for good; otherwise gives up what
   * there is of it and refuses with `migration_failed`: it is not here and will not be.
   */
  SettleMigration: z.strictObject(onRun),
  /**
   * From one host to another, what the two ends of a migration say. `incarnation` is the run that the machine has, or is to have, at the migration's target, whichever way
   * the message goes; `seq` counts the messages of each way up from 1, and one that comes after a later one is passed over. `message` is the hosts' own. Refusal:
   * `host_unknown_domain`: this host knows nothing of the migration.
   */
  DeliverMigrationMessage: z.strictObject({
    ...onRun,
    from: z.string(),
    seq: z.number().int().positive(),
    message: z.looseObject({ type: z.string() }),
  }),
  /**
   * What a machine's baseboard controller does; the stream is the host's. Off: the host answers nothing else from then on, sends no heartbeats and uses no CPU, until it is
   * powered on. Refusal: `host_in_use` (guests are there). Off already: nothing to do.
   */
  PowerOffHost: z.strictObject({}),
  /** Answered as soon as there is power: the host then boots, and registers when it is up. Answer: `powerOnHostAnswer`. On already: nothing to do. */
  PowerOnHost: z.strictObject({}),
  /** Answer: `inventoryAnswer`. */
  GetInventory: z.strictObject({}),
  /** What a tool in the host's control domain prints; it only looks. Answer: `toolAnswer`. */
  RunTool: z.strictObject({ tool: z.enum(HOST_TOOLS), args: z.array(z.string().max(4096)).max(32) }),
  /** The fault rules in force on this host, whole. `rules`: uid and spec. */
  SetFaultRules: z.strictObject({
    rules: z.array(z.strictObject({ uid: z.string(), name: z.string(), spec: z.looseObject({}) })),
  }),
} as const;
export type AgentCommandType = keyof typeof agentCommands;

/** `bootId`: the boot that the domain belongs to, so that a start which a crash of the host overtook is found out. */
export const startDomainAnswer = z.looseObject({
  domid: z.number().int(),
  state: z.enum(['running', 'paused']),
  bootId: z.string().optional(),
});
/** `downtimeMs`: from the guest's suspension here to its first step there. */
export const migrateDomainAnswer = z.looseObject({
  rounds: z.number().int().nonnegative(),
  pagesSent: z.number().int().nonnegative(),
  durationMs: z.number().nonnegative(),
  downtimeMs: z.number().nonnegative(),
});
/** `bootId`: of the boot that begins, or of the present one where there was power already. */
export const powerOnHostAnswer = z.looseObject({ bootId: z.string() });
/** `unreported`: ends of guests that compute has not been told of yet; until then a domain that is not listed is no riddle. */
export const toolAnswer = z.strictObject({ stdout: z.string(), stderr: z.string(), exitCode: z.number().int() });
export const inventoryAnswer = z.looseObject({
  bootId: z.string(),
  domains: z.array(domainReport),
  unreported: z.number().int().nonnegative().default(0),
});

/**
 * What an agent tells compute, as commands on `cmd.compute.<type>` that it repeats until they are answered. `ReportDomainStopped` (stream: the virtual
 * machine): the guest ended by itself, or its host lost it. `RecordFaultFired` (stream: the fault rule).
 */
export const reportDomainStoppedData = z.strictObject({
  incarnation: z.number().int(),
  host: z.string(),
  reason: z.enum(['poweroff', 'crash', 'reboot']),
  /** The domain that the guest was in, which a reboot may have followed upon before this is heard. */
  endedDomid: z.number().int().optional(),
  /** After a reboot that the guest asked for: the domain's new id. */
  domid: z.number().int().optional(),
  /** Not the guest by itself: somebody ended or rebooted it on the host, while the control plane was away or behind its back. */
  direct: directCommand.optional(),
});
/** Of a live migration, to the Operation's stream, after each round of pre-copy: `pagesSent`, `durationMs` are that round's own, `remainingPages` were dirtied during it. */
export const reportMigrationRoundData = z.strictObject({
  host: z.string(),
  round: z.number().int().positive(),
  pagesSent: z.number().int().nonnegative(),
  remainingPages: z.number().int().nonnegative(),
  pagesPerSecond: z.number().nonnegative(),
  durationMs: z.number().nonnegative(),
});
/** To the machine's stream: the device model of its domain died, and the domain goes on without. */
export const reportDeviceModelLostData = z.strictObject({
  incarnation: z.number().int(),
  host: z.string(),
  domid: z.number().int(),
});
export const recordFaultFiredData = z.strictObject({ host: z.string(), command: z.string(), fired: z.number().int() });
