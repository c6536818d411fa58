import type { AgentCommandType, HostTool } from '@xenolith/contracts';
import type { CommandMessage, JsonObject, Uuid } from '@xenolith/kernel';
import type { DomainVerb, ToolOutput } from '@xenolith/xen';
import type { CommandDesk } from './command-desk.js';
import type { Fleet, HostSlot } from './fleet.js';

/** As long as a guest may take to obey: xl and virsh themselves would wait for ever. */
const CLEAN_MS = 600_000;
/** Longer than any work that a tool waits for. */
const ANSWER_MS = CLEAN_MS + 60_000;

/** A tool as somebody calls it on a host, without the control plane. */
export interface DirectToolCall {
  readonly tool: HostTool;
  readonly args: readonly string[];
  /** Of the command that this may become; a call that is repeated with it does nothing twice. */
  readonly commandId: Uuid;
}

const COMMANDS = {
  pause: 'PauseDomain',
  unpause: 'UnpauseDomain',
  shutdown: 'ShutdownDomain',
  reboot: 'RebootDomain',
  destroy: 'DestroyDomain',
} as const satisfies Readonly<Record<DomainVerb, AgentCommandType>>;

/** Whether compute hears of the command in a report; a pause shows in the inventory. */
export const isEndOrReboot = (type: string): boolean =>
  type === COMMANDS.shutdown || type === COMMANDS.reboot || type === COMMANDS.destroy;

const dataOf = (verb: DomainVerb, incarnation: number): JsonObject =>
  verb === 'shutdown' || verb === 'reboot' ? { incarnation, mode: 'clean', timeoutMs: CLEAN_MS } : { incarnation };

/** Runs a tool on a host. What changes a domain goes the way of every command: through the journal, once, and past the fault rules. */
export const runDirectly = async (
  { fleet, desk }: { readonly fleet: Fleet; readonly desk: CommandDesk },
  slot: HostSlot,
  { tool, args, commandId }: DirectToolCall,
): Promise<ToolOutput> => {
  const order = fleet.order(slot, tool, args);
  if (order === null) return fleet.tool(slot, tool, args);
  if ('exitCode' in order) return order;
  const at = fleet.now();
  const message: CommandMessage = {
    commandId,
    type: COMMANDS[order.do],
    streamId: order.uid,
    data: dataOf(order.do, order.incarnation),
    actor: `root@${slot.name}`,
    correlationId: commandId,
    causationId: commandId,
    at,
  };
  const command = `${tool} ${args[0] ?? ''}`;
  const reply = await desk.handle(slot, message, { deadline: at + ANSWER_MS }, { command, waits: order.waits });
  return reply.ok ? order.printed : order.refused(reply.rejection.message);
};
