import { readFile } from 'node:fs/promises';
import { Agent, request, type RequestOptions } from 'node:https';
import type { IncomingMessage } from 'node:http';
import type { JsonObject } from '@xenolith/kernel';

/** Where the API of the cluster is that ours is a part of, and who we are there: what a Pod finds in its service account. */
export interface ClusterAddress {
  /** Such as https://kubernetes.default.svc. */
  readonly url: string;
  /** Authority of its certificate in PEM. */
  readonly caFile: string;
  /** Our token there. */
  readonly tokenFile: string;
}

export interface ClusterAnswer {
  readonly status: number;
  readonly json: JsonObject;
}

/** Kubernetes' own webhooks wait as long. */
const ANSWER_LIMIT_MS = 10_000;
/** More than a page of 500 namespaces. */
const MAX_ANSWER_BYTES = 16 * 1024 * 1024;
/** Tokens of service accounts change every hour, and hold for minutes after that: files are read again this often. */
const FILES_FRESH_MS = 10_000;
/** Connections at once; reviews of many requests share them. */
const MAX_SOCKETS = 16;
/** Questions that wait for a connection or an answer; whoever sends more tokens that nobody knows is told to come again. */
const MAX_IN_HAND = 1_024;

interface Credentials {
  readonly ca: string;
  readonly token: string;
  readonly readAt: number;
}

/** What the cluster said that is no answer to what was asked. */
export class ClusterRefusal extends Error {
  override readonly name = 'ClusterRefusal';

  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

const refusalOf = (what: string, { status, json }: ClusterAnswer): ClusterRefusal => {
  const { message } = json;
  return new ClusterRefusal(
    status,
    `the cluster answered ${status} to ${what}${typeof message === 'string' ? `: ${message}` : ''}`,
  );
};

const parsedOrEmpty = (text: string): JsonObject => {
  try {
    return JSON.parse(text) as JsonObject;
  } catch {
    return {};
  }
};

const textOf = async (message: IncomingMessage): Promise<string> => {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of message as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAX_ANSWER_BYTES) throw new Error(`the cluster's answer is longer than ${MAX_ANSWER_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
};

/** The API of the cluster, as far as we speak to it. */
export class ClusterApi {
  private readonly agent = new Agent({ keepAlive: true, maxSockets: MAX_SOCKETS });
  private credentials: Credentials | null = null;
  private inHand = 0;

  constructor(private readonly address: ClusterAddress) {}

  /** Throws a fault when there is no answer; a refusal is an answer. */
  async ask(method: string, path: string, body?: JsonObject, contentType = 'application/json'): Promise<ClusterAnswer> {
    if (this.inHand >= MAX_IN_HAND)
      throw new Error(`${MAX_IN_HAND} questions to the cluster wait for an answer already`);
    this.inHand += 1;
    try {
      const signal = AbortSignal.timeout(ANSWER_LIMIT_MS);
      const message = await this.open(path, { method, signal, agent: this.agent }, body, contentType);
      return { status: message.statusCode ?? 0, json: parsedOrEmpty(await textOf(message)) };
    } finally {
      this.inHand -= 1;
    }
  }

  /** Throws a `ClusterRefusal` for an answer that is no success. */
  async expect(method: string, path: string, body?: JsonObject): Promise<JsonObject> {
    const answer = await this.ask(method, path, body);
    if (answer.status < 200 || answer.status >= 300) throw refusalOf(`${method} ${path}`, answer);
    return answer.json;
  }

  /** Calls back for each line of a watch; settles when the cluster ends it. Throws when it can't begin, or breaks. */
  async watch(path: string, onLine: (line: JsonObject) => void, signal: AbortSignal): Promise<void> {
    // A connection of its own: it would hold one of those that answers come by.
    const message = await this.open(path, { method: 'GET', signal, agent: new Agent() });
    if (message.statusCode !== 200)
      throw refusalOf(`the watch of ${path}`, {
        status: message.statusCode ?? 0,
        json: parsedOrEmpty(await textOf(message)),
      });
    message.setEncoding('utf8');
    let rest = '';
    for await (const chunk of message as AsyncIterable<string>) {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      if (rest.length > MAX_ANSWER_BYTES) throw new Error(`an event of ${path} is longer than ${MAX_ANSWER_BYTES}`);
      for (const line of lines) if (line.trim() !== '') onLine(JSON.parse(line) as JsonObject);
    }
  }

  close(): void {
    this.agent.destroy();
  }

  private async current(): Promise<Credentials> {
    const known = this.credentials;
    if (known !== null && Date.now() - known.readAt < FILES_FRESH_MS) return known;
    const [ca, token] = await Promise.all([
      readFile(this.address.caFile, 'utf8'),
      readFile(this.address.tokenFile, 'utf8'),
    ]);
    const read = { ca, token: token.trim(), readAt: Date.now() };
    this.credentials = read;
    return read;
  }

  private async open(
    path: string,
    options: RequestOptions,
    body?: JsonObject,
    contentType = 'application/json',
  ): Promise<IncomingMessage> {
    const { ca, token } = await this.current();
    const text = body === undefined ? undefined : JSON.stringify(body);
    const headers = {
      authorization: `Bearer ${token}`,
      accept: 'application/json',
      'user-agent': 'xenolith-gateway',
      ...(text === undefined ? {} : { 'content-type': contentType, 'content-length': Buffer.byteLength(text) }),
    };
    return new Promise((resolve, fail) => {
      const outgoing = request(new URL(path, this.address.url), { ...options, ca, headers }, resolve);
      outgoing.on('error', (cause) => fail(new Error(`the cluster's API is not reached: ${cause.message}`, { cause })));
      outgoing.end(text);
    });
  }
}
