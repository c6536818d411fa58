import type { CommandMessage, Rejection, Reply } from '@xenolith/kernel';

/** Where the agent says what it did; the app logs and counts it. */
export interface AgentObserver {
  registered?(host: string): void;
  crashed?(host: string): void;
  /** `reply` is null for a command that a fault rule leaves unanswered. */
  answered?(command: { readonly type: string; readonly host: string; readonly id: string }, reply: Reply | null): void;
  struck?(command: { readonly type: string; readonly host: string; readonly id: string }, rule: string): void;
  /** A service refused what the agent said. */
  refused?(message: CommandMessage, rejection: Rejection): void;
  /** Nobody answered; it is said again. */
  unanswered?(message: CommandMessage, fault: unknown): void;
  /** The process must stop: the journal cannot be kept, or the agent met a defect of its own. */
  defect?(error: unknown): void;
}
