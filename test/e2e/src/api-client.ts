import { readFile } from 'node:fs/promises';
import { Agent, request, type RequestOptions } from 'node:https';
import type { IncomingMessage } from 'node:http';
import { join } from 'node:path';
import type { Platform } from './platform.js';

/** Requests under way at once; more wait for a socket. */
const SOCKETS = 32;

export interface ApiAnswer {
  readonly code: number;
  readonly body: string;
}

/** The API without kubectl, which takes a process for each request and asks again by itself. */
export interface ApiClient {
  ask(method: string, path: string, body?: object): Promise<ApiAnswer>;
  /** Gives each line of an answer that has no end; settles with what stops it. */
  follow(path: string, line: (text: string) => void): Promise<() => void>;
  /** Asks and never reads the answer; settles, with what ends it, when there is one to read. */
  ignore(path: string): Promise<() => void>;
  close(): void;
}

const pairIn = (kubeconfig: string, name: string): string => {
  const value = new RegExp(`^ *${name}: (.+)$`, 'm').exec(kubeconfig)?.[1];
  if (value === undefined) throw new Error(`the kubeconfig has no ${name}`);
  return value.replaceAll('"', '').trim();
};

/** Speaks to a platform as its administrator. */
export const apiClient = async (platform: Platform): Promise<ApiClient> => {
  const kubeconfig = await readFile(platform.kubeconfig, 'utf8');
  const server = pairIn(kubeconfig, 'server');
  const authorization = `Bearer ${pairIn(kubeconfig, 'token')}`;
  const ca = await readFile(join(platform.data, 'tls', 'ca.crt'));
  const agent = new Agent({ keepAlive: true, maxSockets: SOCKETS, ca });
  const send = (path: string, options: RequestOptions, body?: object): Promise<IncomingMessage> =>
    new Promise((done, fail) => {
      const headers = { authorization, 'content-type': 'application/json' };
      const sent = request(server + path, { agent, headers, ...options }, done);
      sent.once('error', fail);
      sent.end(body === undefined ? undefined : JSON.stringify(body));
    });
  // A socket of its own, which nothing else waits for.
  const open = (path: string): Promise<IncomingMessage> => send(path, { agent: new Agent({ ca }) });
  return {
    ask: async (method, path, body) => {
      const answer = await send(path, { method }, body);
      const chunks: Buffer[] = [];
      for await (const chunk of answer) chunks.push(chunk as Buffer);
      return { code: answer.statusCode ?? 0, body: Buffer.concat(chunks).toString('utf8') };
    },
    follow: async (path, line) => {
      const answer = await open(path);
      let rest = '';
      answer.setEncoding('utf8').on('data', (chunk: string) => {
        const lines = (rest + chunk).split('\n');
        rest = lines.pop() ?? '';
        lines.forEach(line);
      });
      // Stopped by us, or cut off: whoever follows looks at what came.
      answer.on('error', () => undefined);
      return () => void answer.destroy();
    },
    ignore: async (path) => {
      const answer = await open(path);
      answer.on('error', () => undefined);
      return () => void answer.destroy();
    },
    close: () => agent.destroy(),
  };
};
