import type { Uuid } from '@xenolith/kernel';
import type { ToolOutput } from './xl/index.js';

/** What the toolstack of a host can do to a domain without asking anybody else. */
export type DomainVerb = 'pause' | 'unpause' | 'shutdown' | 'reboot' | 'destroy';

/** What a command of a tool wants done to a domain. */
export interface DomainOrder {
  readonly do: DomainVerb;
  readonly uid: Uuid;
  readonly incarnation: number;
  /** The tool comes back when it is done; otherwise as soon as it is under way. */
  readonly waits: boolean;
  /** What the tool prints when it comes back. */
  readonly printed: ToolOutput;
  /** What it prints when the host refuses. */
  readonly refused: (reason: string) => ToolOutput;
}

/** Another host may have the guest, or get it: whoever ends or wakes it here must know both. */
export const standsBetween = (name: string, host: string): string =>
  `${name} on ${host} is being saved, or is on its way from one host to another: only the control plane knows both ends`;
