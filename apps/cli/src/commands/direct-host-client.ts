import { once } from 'node:events';
import { request, type IncomingMessage } from 'node:http';
import path from 'node:path';
import {
  AGENT_SOCKET,
  directHosts,
  directRefusal,
  toolAnswer,
  type DirectHosts as HostList,
  type HostTool,
} from '@xenolith/contracts';
import { commandFor, type DataFolder } from '../folders.js';
import { messageOf, UserError } from '../terminal.js';
import type { ToolResult, ToolRunner } from './host-tools-client.js';

/** Names that are shown where one is not there. */
const SHOWN = 5;

interface Answer {
  readonly status: number;
  readonly body: unknown;
}

const shared = (one: string, other: string): number => {
  const most = Math.min(one.length, other.length);
  for (let length = 0; length < most; length += 1) if (one[length] !== other[length]) return length;
  return most;
};

/** The names that are most like one that is not there: those that begin alike, then those of the same length. */
export const namesNear = (asked: string, names: readonly string[]): readonly string[] => {
  const strangeness = (name: string): number => Math.abs(name.length - asked.length) - 2 * shared(name, asked);
  return [...names].sort((one, other) => strangeness(one) - strangeness(other)).slice(0, SHOWN);
};

/** Runs tools on hosts through their agent's own socket, for which no other part of the platform needs to run. */
export class DirectHosts implements ToolRunner {
  private readonly socket: string;

  constructor(private readonly folder: DataFolder) {
    this.socket = path.join(folder.agent, AGENT_SOCKET);
  }

  /** Throws a UserError when there is no agent, or none of its hosts has that name. */
  async run(host: string, tool: HostTool, args: readonly string[]): Promise<ToolResult> {
    const answer = await this.ask('POST', `/hosts/${encodeURIComponent(host)}/${tool}`, { args });
    if (answer.status === 200) return toolAnswer.parse(answer.body);
    const refused = directRefusal.safeParse(answer.body);
    const message = refused.success ? refused.data.message : `the agent answered with ${answer.status}`;
    if (answer.status !== 404) throw new UserError(message, []);
    const names = (await this.hosts()).hosts.map(({ name }) => name);
    const near = namesNear(host, names);
    throw new UserError(message, near.length === 0 ? [] : [`There is: ${near.join(', ')}`]);
  }

  private async hosts(): Promise<HostList> {
    return directHosts.parse((await this.ask('GET', '/hosts')).body);
  }

  private async ask(method: 'GET' | 'POST', target: string, body?: object): Promise<Answer> {
    try {
      const asked = request({ socketPath: this.socket, path: target, method });
      asked.end(body === undefined ? undefined : JSON.stringify(body));
      const [response] = (await once(asked, 'response')) as [IncomingMessage];
      let text = '';
      for await (const chunk of response.setEncoding('utf8')) text += String(chunk);
      return { status: response.statusCode ?? 0, body: JSON.parse(text) as unknown };
    } catch (cause) {
      throw this.noAnswer(cause);
    }
  }

  private noAnswer(cause: unknown): UserError {
    const code = (cause as NodeJS.ErrnoException).code;
    if (code === 'EACCES')
      return new UserError(`${this.socket} is not yours: hosts are operated directly by who runs their agent.`, []);
    if (code !== 'ENOENT' && code !== 'ECONNREFUSED')
      return new UserError(`the agent at ${this.socket} did not answer: ${messageOf(cause)}`, [
        'Whether it did what was asked shows in the list: xl --direct HOST list, or virsh.',
      ]);
    return new UserError(`no agent runs in ${this.folder.agent}; its hosts stand still until it does.`, [
      `Start it with the rest: ${commandFor(this.folder, 'up')}`,
      'Another data folder: --data DIR before --direct',
    ]);
  }
}
