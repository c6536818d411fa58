import { readFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { Agent, request } from 'node:https';
import { parse } from 'yaml';
import { z } from 'zod';

const kubeconfig = z.object({
  clusters: z.tuple([
    z.object({ cluster: z.object({ server: z.string(), 'certificate-authority-data': z.string() }) }),
  ]),
  users: z.tuple([z.object({ user: z.object({ token: z.string() }) })]),
});

const watchLine = z.object({
  type: z.string(),
  object: z.looseObject({
    metadata: z.looseObject({ name: z.string(), resourceVersion: z.string() }),
    status: z.looseObject({ powerState: z.string().optional() }).optional(),
  }),
});

export type WatchLine = z.infer<typeof watchLine>;

export interface ApiAnswer {
  readonly status: number;
  readonly text: string;
  /** When it says that it may be asked again. */
  readonly retryAfterSeconds: number | undefined;
}

const REQUEST_LIMIT_MS = 60_000;
/** As often as client-go asks again, where an answer says when. */
const ATTEMPTS = 10;
const CONFLICT = 409;

/** JSON requests to one platform over kept connections, as a client library makes them. */
export class ApiClient {
  readonly #agent: Agent;
  readonly #watchAgent: Agent;
  readonly #watches = new Set<IncomingMessage>();

  constructor(
    private readonly server: string,
    private readonly token: string,
    ca: Buffer,
    connections: number,
  ) {
    this.#agent = new Agent({ keepAlive: true, maxSockets: connections, ca });
    this.#watchAgent = new Agent({ ca });
  }

  /** `connections` bounds the requests at once. */
  static async open(kubeconfigFile: string, connections: number): Promise<ApiClient> {
    const { clusters, users } = kubeconfig.parse(parse(await readFile(kubeconfigFile, 'utf8')));
    const { server, 'certificate-authority-data': ca } = clusters[0].cluster;
    return new ApiClient(server, users[0].user.token, Buffer.from(ca, 'base64'), connections);
  }

  async send(method: string, path: string, body?: unknown): Promise<ApiAnswer> {
    const response = await this.#open({ method, path, agent: this.#agent, body });
    const chunks: Buffer[] = [];
    for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk);
    const after = Number(response.headers['retry-after'] ?? Number.NaN);
    return {
      status: response.statusCode ?? 0,
      text: Buffer.concat(chunks).toString(),
      retryAfterSeconds: Number.isFinite(after) ? after : undefined,
    };
  }

  /** Asks again when it is told to, as client-go does. Throws unless the answer's status is below 300; what was made by an attempt before is there. */
  async ask(method: string, path: string, body?: unknown): Promise<string> {
    for (let attempt = 1; ; attempt += 1) {
      const { status, text, retryAfterSeconds } = await this.send(method, path, body);
      if (status < 300 || (status === CONFLICT && method === 'POST' && attempt > 1)) return text;
      if (retryAfterSeconds === undefined || attempt === ATTEMPTS)
        throw new Error(`${method} ${path} was answered with ${status}: ${text}`);
      await new Promise((resume) => setTimeout(resume, retryAfterSeconds * 1_000));
    }
  }

  /** Settles when the watch is open; `take` gets its lines as text. */
  async watchText(path: string, take: (line: string) => void): Promise<void> {
    const response = await this.#open({ method: 'GET', path, agent: this.#watchAgent });
    if (response.statusCode !== 200) throw new Error(`GET ${path} was answered with ${response.statusCode}`);
    this.#watches.add(response);
    let rest = '';
    response.setEncoding('utf8');
    response.on('data', (chunk: string) => {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) take(line);
    });
    response.on('error', () => undefined);
  }

  watch(path: string, take: (line: WatchLine) => void): Promise<void> {
    return this.watchText(path, (line) => take(watchLine.parse(JSON.parse(line))));
  }

  close(): void {
    for (const response of this.#watches) response.destroy();
    this.#agent.destroy();
    this.#watchAgent.destroy();
  }

  #open(ask: { method: string; path: string; agent: Agent; body?: unknown }): Promise<IncomingMessage> {
    const body = ask.body === undefined ? undefined : JSON.stringify(ask.body);
    return new Promise((resolve, fail) => {
      const sent = request(
        new URL(ask.path, this.server),
        {
          method: ask.method,
          agent: ask.agent,
          ...(ask.agent === this.#agent ? { timeout: REQUEST_LIMIT_MS } : {}),
          headers: {
            accept: 'application/json',
            authorization: `Bearer ${this.token}`,
            ...(body === undefined
              ? {}
              : {
                  'content-type': ask.method === 'PATCH' ? 'application/merge-patch+json' : 'application/json',
                }),
          },
        },
        resolve,
      );
      sent.once('error', fail);
      sent.once('timeout', () => sent.destroy(new Error(`no answer within ${REQUEST_LIMIT_MS / 1000} s`)));
      sent.end(body);
    });
  }
}
