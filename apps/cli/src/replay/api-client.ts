import { readFile } from 'node:fs/promises';
import { Agent, request, type RequestOptions } from 'node:https';
import type { IncomingMessage } from 'node:http';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { parse } from 'yaml';
import { z } from 'zod';
import { messageOf, UserError } from '../terminal.js';

const text = z.string().optional();
const kubeconfigSchema = z.looseObject({
  'current-context': text,
  contexts: z.array(
    z.looseObject({ name: z.string(), context: z.looseObject({ cluster: z.string(), user: text, namespace: text }) }),
  ),
  clusters: z.array(
    z.looseObject({
      name: z.string(),
      cluster: z.looseObject({
        server: z.url({ protocol: /^https$/ }),
        'certificate-authority': text,
        'certificate-authority-data': text,
        'insecure-skip-tls-verify': z.boolean().optional(),
      }),
    }),
  ),
  users: z.array(
    z.looseObject({
      name: z.string(),
      user: z.looseObject({
        token: text,
        'client-certificate': text,
        'client-certificate-data': text,
        'client-key': text,
        'client-key-data': text,
      }),
    }),
  ),
});

/** How to reach an API. */
export interface ApiAccess {
  readonly server: string;
  /** The context's own. */
  readonly namespace: string | undefined;
  readonly tls: Pick<RequestOptions, 'ca' | 'cert' | 'key' | 'rejectUnauthorized'>;
  readonly token: string | undefined;
}

const contentOf = async (
  folder: string,
  data: string | undefined,
  file: string | undefined,
): Promise<Buffer | undefined> => {
  if (data !== undefined) return Buffer.from(data, 'base64');
  return file === undefined ? undefined : readFile(path.resolve(folder, file));
};

/** Reads the current context of a kubeconfig. Throws a UserError that says what is wrong with it. */
export const readKubeconfig = async (file: string): Promise<ApiAccess> => {
  try {
    const config = kubeconfigSchema.parse(parse(await readFile(file, 'utf8')));
    const context = config.contexts.find(({ name }) => name === config['current-context'])?.context;
    if (!context) throw new Error('it has no current context');
    const cluster = config.clusters.find(({ name }) => name === context.cluster)?.cluster;
    if (!cluster) throw new Error(`it has no cluster "${context.cluster}"`);
    const user = config.users.find(({ name }) => name === context.user)?.user;
    const folder = path.dirname(path.resolve(file));
    const ca = await contentOf(folder, cluster['certificate-authority-data'], cluster['certificate-authority']);
    const cert = await contentOf(folder, user?.['client-certificate-data'], user?.['client-certificate']);
    const key = await contentOf(folder, user?.['client-key-data'], user?.['client-key']);
    return {
      server: cluster.server,
      namespace: context.namespace,
      token: user?.token,
      tls: { ca, cert, key, rejectUnauthorized: cluster['insecure-skip-tls-verify'] !== true },
    };
  } catch (cause) {
    throw new UserError(`cannot use the kubeconfig ${file}: ${messageOf(cause)}`, [
      '--kubeconfig names the file that `up` wrote, such as .xenolith/kubeconfig.',
    ]);
  }
};

export interface Answer {
  readonly status: number;
  readonly body: unknown;
}

const statusSchema = z.looseObject({ message: text, reason: text });

/** What a refused request was told. */
export const refusalOf = (answer: Answer): { readonly reason: string; readonly message: string } => {
  const parsed = statusSchema.safeParse(answer.body);
  const told = parsed.success ? parsed.data : {};
  return { reason: told.reason ?? `HTTP ${answer.status}`, message: told.message ?? `HTTP ${answer.status}` };
};

const REQUEST_TIMEOUT_MS = 30_000;

interface Ask {
  readonly method: string;
  readonly target: string;
  readonly agent: Agent;
  readonly body?: unknown;
  /** A request with a signal lasts until that aborts; others have a time limit. */
  readonly signal?: AbortSignal;
}

/** JSON requests over kept connections. Answers of any status are values; a broken connection throws. */
export class ApiClient {
  private readonly agent: Agent;
  private readonly watchAgent: Agent;

  constructor(
    readonly access: ApiAccess,
    connections: number,
  ) {
    this.agent = new Agent({ keepAlive: true, maxSockets: connections, ...access.tls });
    this.watchAgent = new Agent({ ...access.tls });
  }

  async send(method: string, target: string, body?: unknown): Promise<Answer> {
    const response = await this.open({ method, target, agent: this.agent, body });
    const chunks: Buffer[] = [];
    for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk);
    const content = Buffer.concat(chunks).toString('utf8');
    const isJson = response.headers['content-type']?.includes('json') === true;
    return { status: response.statusCode ?? 0, body: isJson ? (JSON.parse(content) as unknown) : content };
  }

  /** Hands over the lines of a watch until it ends or the signal aborts; the answer is the HTTP status. */
  async watch(target: string, signal: AbortSignal, take: (line: unknown) => void): Promise<number> {
    const response = await this.open({ method: 'GET', target, agent: this.watchAgent, signal });
    if (response.statusCode !== 200) {
      response.resume();
      return response.statusCode ?? 0;
    }
    for await (const line of createInterface({ input: response })) if (line !== '') take(JSON.parse(line) as unknown);
    return 200;
  }

  close(): void {
    this.agent.destroy();
    this.watchAgent.destroy();
  }

  private open(ask: Ask): Promise<IncomingMessage> {
    const { method, target, agent, body, signal } = ask;
    const { server, token } = this.access;
    return new Promise((resolve, reject) => {
      const sent = request(
        new URL(target, server),
        {
          method,
          agent,
          ...(signal ? { signal } : { timeout: REQUEST_TIMEOUT_MS }),
          headers: {
            accept: 'application/json',
            ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
            ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          },
        },
        resolve,
      );
      sent.once('error', reject);
      sent.once('timeout', () => sent.destroy(new Error(`no answer within ${REQUEST_TIMEOUT_MS / 1000} s`)));
      sent.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }
}
