import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import path from 'node:path';
import type { Agent } from '@xenolith/agent';
import { AGENT_SOCKET, directCall, directTool } from '@xenolith/contracts';
import type { Log } from '@xenolith/runtime';

/** More than the longest call that the contract allows. */
const BODY_BYTES = 256 * 1024;
/** As root alone runs xl in Dom0: reading and writing for the owner, nothing for others. */
const OTHERS_MASK = 0o177;

interface Answer {
  readonly status: number;
  readonly body: object;
}

const refusal = (status: number, message: string): Answer => ({ status, body: { message } });

const bodyOf = async (request: IncomingMessage): Promise<string | null> => {
  let body = '';
  for await (const chunk of request.setEncoding('utf8')) {
    body += String(chunk);
    if (body.length > BODY_BYTES) return null;
  }
  return body;
};

const parsedBody = (body: string | null): unknown => {
  try {
    return JSON.parse(body ?? '');
  } catch {
    return null;
  }
};

/** `/hosts/{host}/{tool}`, both as they are: names of hosts need no escapes. Null: another path. */
const addressOf = (url: string): { readonly host: string; readonly tool: string } | null => {
  const match = /^\/hosts\/([^/?]+)\/([^/?]+)$/.exec(url);
  return match ? { host: match[1] ?? '', tool: match[2] ?? '' } : null;
};

const runTool = async (agent: Agent, request: IncomingMessage, log: Log): Promise<Answer> => {
  const address = addressOf(request.url ?? '');
  if (address === null || request.method !== 'POST')
    return refusal(404, 'there is GET /hosts, and POST /hosts/HOST/TOOL');
  const tool = directTool.safeParse(address.tool);
  if (!tool.success) return refusal(404, `there is no tool ${address.tool}; there is ${directTool.options.join(', ')}`);
  const call = directCall.safeParse(parsedBody(await bodyOf(request)));
  if (!call.success) return refusal(400, 'the body must be a JSON object such as {"args": ["list"]}');
  const { host } = address;
  const found = agent.directHosts().find(({ name }) => name === host);
  if (found === undefined) return refusal(404, `this agent has no host ${host}`);
  if (!found.up) return refusal(503, `${host} is powered off, or boots: nobody answers there`);
  const { args, commandId = randomUUID() } = call.data;
  log.info({ host, tool: tool.data, args, commandId }, 'a tool was called on the host itself');
  const output = await agent.direct(host, { tool: tool.data, args, commandId });
  return output === null ? refusal(404, `this agent has no host ${host}`) : { status: 200, body: output };
};

const answer = async (agent: Agent, request: IncomingMessage, log: Log): Promise<Answer> => {
  if (request.url === '/hosts' && request.method === 'GET')
    return { status: 200, body: { hosts: agent.directHosts() } };
  try {
    return await runTool(agent, request, log);
  } catch (error) {
    // The agent stops, or a fault rule wants that nobody answers.
    return refusal(503, error instanceof Error ? error.message : String(error));
  }
};

/**
 * Serves the agent's own API on a socket in its data folder, which its lock keeps other agents out of: what is there of an earlier process is replaced. Nothing of
 * it needs the control plane. The answer closes it.
 */
export const openHostSocket = async (agent: Agent, folder: string, log: Log): Promise<() => Promise<void>> => {
  const file = path.join(folder, AGENT_SOCKET);
  const respond = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { status, body } = await answer(agent, request, log);
    response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(body));
  };
  const server = createServer((request, response) => {
    respond(request, response).catch((error: unknown) => {
      log.warn({ err: error }, 'a direct call could not be answered');
      response.destroy();
    });
  });
  await rm(file, { force: true });
  // Node binds a socket in this very call, so that nobody can open it before its mode is set.
  const mask = process.umask(OTHERS_MASK);
  server.listen(file);
  process.umask(mask);
  await once(server, 'listening');
  return async () => {
    server.close();
    server.closeAllConnections();
    await rm(file, { force: true });
  };
};
