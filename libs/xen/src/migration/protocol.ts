import type { Uuid } from '@xenolith/kernel';
import type { Errno } from '../outcome.js';

/**
 * What the two toolstacks of a live migration say to each other, after xenopsd (xen-api ocaml/xenopsd/lib/xenops_server.ml, `VM_migrate` and
 * `VM_receive_memory`; doc/content/xenopsd/walkthroughs/live-migration.md).
 */

/** Names of the points where the two ends wait for one another, as xenopsd logs them. */
export type SyncPoint = '1' | '1-mem' | '1-mem ACK' | '2' | '3' | '4';

export type MigrationMessage =
  /** Source: `VM.import_metadata`. */
  | { readonly type: 'importMetadata' }
  | { readonly type: 'metadataImported' }
  /** Source: `PUT /migrate/vm/<uuid>`, the control channel; memory that the target is to hold free. */
  | { readonly type: 'openControl'; readonly memoryPages: number }
  /** Source: `PUT /migrate/mem/<uuid>`, the memory channel. */
  | { readonly type: 'openMemory' }
  /** Source: the END record; all memory and vCPU state came before it. */
  | { readonly type: 'endOfStream' }
  /** 1, 1-mem, 2 and 4 by the target; 1-mem ACK and 3 by the source. 3 is the switch. */
  | { readonly type: 'handshake'; readonly point: SyncPoint }
  /** Target: it could not, and holds nothing any more. */
  | { readonly type: 'handshakeError'; readonly errno: Errno }
  /** Source, over a new connection, once it no longer knows whether 3 arrived. */
  | { readonly type: 'inquire' }
  /** Target: the machine lives here; or it does not and never will by this migration. */
  | { readonly type: 'holds'; readonly machine: boolean }
  /** Source: it has removed its copy and will not ask again. */
  | { readonly type: 'closed' };

/** Names that the domains have on the way: the uuid's last twelve digits become 0 at the source, 1 at the target, so that nobody takes them for the machine. */
export interface MigrationNames {
  readonly final: Uuid;
  /** The source's domain, from sync point 2 until it is removed. */
  readonly source: Uuid;
  /** The target's domain, until sync point 3. */
  readonly target: Uuid;
}

const PREFIX_LENGTH = 24;

export const migrationNames = (machine: Uuid): MigrationNames => ({
  final: machine,
  source: `${machine.slice(0, PREFIX_LENGTH)}000000000000`,
  target: `${machine.slice(0, PREFIX_LENGTH)}000000000001`,
});

/** What a host does to its domain for one end of a migration; in the order given, and reported as one. Each may be done again without harm. */
export type MigrationEffect =
  /** Source: balloon down to dynamic-min; going on without having reached it is allowed. */
  | { readonly do: 'squashMemory' }
  | { readonly do: 'restoreMemoryRange' }
  | { readonly do: 'enableLogDirty' }
  | { readonly do: 'disableLogDirty' }
  /** Source: one live round; the host answers with `roundFinished`. */
  | { readonly do: 'sendRound'; readonly pages: number }
  /** Source: ask the guest to suspend; bounded by `SUSPEND_ACK_TIMEOUT_US` and `SUSPEND_TIMEOUT_US` (save.ts). */
  | { readonly do: 'suspendDomain' }
  /** Source: what is dirty, then vCPU and device state. */
  | { readonly do: 'sendFinal' }
  | { readonly do: 'resumeDomain' }
  /** A domain that does not bear the name `from` is left alone. */
  | { readonly do: 'renameDomain'; readonly from: Uuid; readonly to: Uuid }
  /** Only what bears that name. */
  | { readonly do: 'destroyDomain'; readonly name: Uuid }
  | { readonly do: 'importMetadata' }
  /** Target: an empty paused domain of that name with memory for the stream, and its network devices. */
  | { readonly do: 'buildShell'; readonly name: Uuid; readonly memoryPages: number }
  /** Target: read the stream to its end. */
  | { readonly do: 'restoreDomain' }
  | { readonly do: 'restoreDevices' }
  | { readonly do: 'unpauseDomain' }
  /** Target: forget name and metadata of what was given up. */
  | { readonly do: 'removeMetadata' };

/** What a toolstack finds of the machine after its own restart: the domain's name tells how far it came. */
export type FoundDomain = 'final' | 'temporary' | 'none';

export interface EndStep<State> {
  readonly state: State;
  readonly messages: readonly MigrationMessage[];
  /** Carried out one after another; the host then says `done`, or `failed` at the first that fails. Empty: nothing to report. */
  readonly effects: readonly MigrationEffect[];
  /** The input was refused: too late to cancel (EBUSY). */
  readonly refused?: Errno;
}

/** Inputs that both ends know. */
export type EndInput =
  | { readonly type: 'message'; readonly message: MigrationMessage }
  /** The effects of the last step that had any were carried out. */
  | { readonly type: 'done' }
  | { readonly type: 'failed'; readonly errno: Errno }
  /** The connection is gone, or the other end was silent for too long and this end has closed it. */
  | { readonly type: 'lost' }
  /** This toolstack starts again; effects under way were interrupted, connections are gone, domains run on. */
  | { readonly type: 'restarted'; readonly found: FoundDomain };
