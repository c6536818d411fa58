import { agentSubject, toolAnswer, type HostTool } from '@xenolith/contracts';
import { BusFault, rootCommand, uuidFrom, type CommandMessage, type Reply } from '@xenolith/kernel';
import { keyOf } from '../cache/cached-object.js';
import { actorOf, type ApiAnswer, type ApiRequest } from '../http/api-request.js';
import type { ResourcePath } from '../http/api-path.js';
import { statusOfFault, statusOfRejection } from '../http/rejection-table.js';
import { notFoundObject } from '../http/status.js';
import { commandIds, deadlineOf, type WritePorts } from './commands.js';
import { freshEnough } from './read.js';

/** Where a tool's exit code and its complaints travel; what it printed is the body. */
export const EXIT_CODE_HEADER = 'Xenolith-Exit-Code';
export const COMPLAINT_HEADER = 'Xenolith-Stderr';

/**
 * Runs a tool in a host's control domain and answers what it printed. Arguments are the query's `arg`, in their order. A tool that fails is answered with
 * 200 too: the exit code in the header is its own. Throws a StatusError where the host does not answer.
 */
export const runHostTool = async (
  ports: WritePorts,
  target: ResourcePath & { readonly name: string },
  tool: HostTool,
  request: ApiRequest,
): Promise<ApiAnswer> => {
  await freshEnough(ports.cache, request.query.get('resourceVersion'));
  const host = ports.cache.store(target.kind).get(keyOf(target.namespace, target.name));
  if (host === undefined) throw notFoundObject(target.kind, target.name);
  const commandId = commandIds(request).nth(0);
  const message = rootCommand({
    commandId,
    type: 'RunTool',
    streamId: uuidFrom('host', target.name),
    data: { tool, args: request.query.getAll('arg') },
    actor: actorOf(request.user),
    sourceAddress: request.sourceAddress,
    at: Date.now(),
  });
  const reply = await asked(ports, target.name, message, deadlineOf(request).left());
  if (!reply.ok) throw statusOfRejection(reply.rejection, target);
  const { stdout, stderr, exitCode } = toolAnswer.parse(reply.value);
  const headers = { [EXIT_CODE_HEADER]: String(exitCode), [COMPLAINT_HEADER]: encodeURIComponent(stderr) };
  return { status: 200, contentType: 'text/plain; charset=utf-8', body: stdout, headers };
};

const asked = async (ports: WritePorts, host: string, message: CommandMessage, timeoutMs: number): Promise<Reply> => {
  try {
    return await ports.bus.request(agentSubject(host, message.type), message, { timeoutMs });
  } catch (error) {
    if (error instanceof BusFault) throw statusOfFault(error);
    throw error;
  }
};
