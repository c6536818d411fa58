import { z } from 'zod';
import { domainReport, HOST_TOOLS } from './compute/host.messages.js';

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
  staticMaxBytes: z.number().int().positive(),
  dynamicMinBytes: z.number().int().positive(),
  dynamicMaxBytes: z.number().int().positive(),
  disks: z.array(domainDisk),
  nics: z.array(domainNic),
  guest: z.strictObject({
    os: z.string(),
    pvDrivers: z.boolean(),
    ignoresShutdown: z.boolean(),
    bootSeconds: z.number().optional(),
  }),
  onPoweroff: z.enum(['destroy', 'restart', 'preserve']),
  onReboot: z.enum(['destroy', 'restart', 'preserve']),
  onCrash: z.enum(['destroy', 'restart', 'preserve']),
});
export type DomainConfig = z.infer<typeof domainConfig>;

const onRun = { incarnation: z.number().int().positive() };

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
  /** After a reboot that the guest asked for: the domain's new id. */
  domid: z.number().int().optional(),
});
export const recordFaultFiredData = z.strictObject({ host: z.string(), command: z.string(), fired: z.number().int() });
