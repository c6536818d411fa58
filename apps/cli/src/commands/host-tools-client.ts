import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { Agent, request } from 'node:https';
import type { HostTool } from '@xenolith/contracts';
import { readKubeconfig, refusalOf, type ApiAccess } from '../replay/api-client.js';
import { messageOf, UserError } from '../terminal.js';

const HOSTS = '/apis/compute.xenolith.dev/v1alpha1/hosts';
const TIMEOUT_MS = 30_000;

export interface ToolResult {
  readonly stdout: string;
  readonly stderr: string;
  readonly exitCode: number;
}

/** Whoever runs tools on hosts. */
export interface ToolRunner {
  run(host: string, tool: HostTool, args: readonly string[]): Promise<ToolResult>;
}

const parsed = (body: string): unknown => {
  try {
    return JSON.parse(body);
  } catch {
    return null;
  }
};

/** Runs tools in hosts' control domains through the API, over one kept connection. */
export class HostTools implements ToolRunner {
  private readonly agent: Agent;

  private constructor(private readonly access: ApiAccess) {
    this.agent = new Agent({ keepAlive: true, ...access.tls });
  }

  static async open(kubeconfig: string): Promise<HostTools> {
    return new HostTools(await readKubeconfig(kubeconfig));
  }

  close(): void {
    this.agent.destroy();
  }

  /** Throws a UserError when the API refuses or does not answer. */
  async run(host: string, tool: HostTool, args: readonly string[]): Promise<ToolResult> {
    const query = args.map((arg) => `arg=${encodeURIComponent(arg)}`).join('&');
    const { response, body } = await this.get(`${HOSTS}/${encodeURIComponent(host)}/${tool}?${query}`);
    const code = response.headers['xenolith-exit-code'];
    if (typeof code !== 'string') {
      const { message } = refusalOf({ status: response.statusCode ?? 0, body: parsed(body) });
      throw new UserError(message, ['List the hosts with: ./xenolith kubectl get hosts']);
    }
    return {
      stdout: body,
      stderr: decodeURIComponent(String(response.headers['xenolith-stderr'] ?? '')),
      exitCode: Number(code),
    };
  }

  private async get(target: string): Promise<{ response: IncomingMessage; body: string }> {
    const { server, token } = this.access;
    const headers = { Accept: 'text/plain', ...(token ? { Authorization: `Bearer ${token}` } : {}) };
    try {
      const asked = request(new URL(target, server), {
        headers,
        agent: this.agent,
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      asked.end();
      const [response] = (await once(asked, 'response')) as [IncomingMessage];
      let body = '';
      for await (const chunk of response.setEncoding('utf8')) body += String(chunk);
      return { response, body };
    } catch (cause) {
      throw new UserError(`the platform at ${server} does not answer: ${messageOf(cause)}`, [
        'Start it with: ./xenolith up',
      ]);
    }
  }
}
