import { connect } from 'node:tls';
import { randomFrom, type JsonObject, type Random } from '@xenolith/kernel';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SERVED_KINDS } from '../discovery/index.js';
import {
  ADMIN_TOKEN,
  READER_TOKEN,
  startTestPlatform,
  TENANT_TOKEN,
  type Answer,
  type GatewayUnderTest,
  type TestPlatform,
} from '../fixture/test-platform.js';

/** Requests of one run; another seed (ATTACK_SEED) draws others. */
const REQUESTS = 10_000;
const SEED = process.env['ATTACK_SEED'] ?? 'attack-1';
const SIDE_BY_SIDE = 16;
/** On a machine that is busy with other things, too. */
const LIMIT_MS = 480_000;

const NETWORKS = '/apis/network.xenolith.dev/v1alpha1/namespaces/default/networks';

let platform: TestPlatform;
let api: GatewayUnderTest;

/** A platform for the tests of one block: what random requests of an administrator delete, roles among it, is not there for others. */
const onPlatformOfItsOwn = (): void => {
  beforeAll(async () => {
    platform = await startTestPlatform();
    [api] = platform.gateways as [GatewayUnderTest];
  });
  afterAll(async () => {
    await platform.close();
  });
};

const pick = <Item>(random: Random, items: readonly Item[]): Item => items[random.below(items.length)] as Item;

/** What no answer may show: stacks, files of this machine, tokens, the names of our modules. */
const LEAKS = /\n\s+at |node_modules|\/apps\/gateway|\.ts:\d|\.js:\d|node:internal|TypeError|ZodError|token-0123456789/;

/** What other services and hosts are asked for: none run here, so that 503 is the answer. */
const ASKED_OF_OTHERS = /\/failoverplans|metrics/;

/** Every path and operation that the gateway's own OpenAPI tells of, with the names of its parameters. */
interface Operation {
  readonly path: string;
  readonly method: string;
  readonly parameters: readonly string[];
  readonly schema: JsonObject | null;
}

const operationsOf = async (): Promise<readonly Operation[]> => {
  const index = (await api.ask('/openapi/v3')).json['paths'] as Record<string, { serverRelativeURL: string }>;
  const found: Operation[] = [];
  for (const { serverRelativeURL } of Object.values(index)) {
    const { json } = await api.ask(serverRelativeURL);
    const { schemas } = json['components'] as { schemas: Record<string, JsonObject> };
    for (const [path, item] of Object.entries(json['paths'] as Record<string, JsonObject>)) {
      if (ASKED_OF_OTHERS.test(path)) continue;
      for (const [method, operation] of Object.entries(item)) {
        if (method === 'parameters') continue;
        const { parameters = [], requestBody } = operation as {
          parameters?: { name: string }[];
          requestBody?: { content: Record<string, { schema: { $ref?: string } }> };
        };
        const reference = Object.values(requestBody?.content ?? {})[0]
          ?.schema.$ref?.split('/')
          .at(-1);
        found.push({
          path,
          method: method.toUpperCase(),
          parameters: parameters.map(({ name }) => name),
          schema: reference === undefined ? null : (schemas[reference] ?? null),
        });
      }
    }
  }
  return found;
};

const ODD_TEXTS = [
  '',
  '..',
  '.',
  '%2e%2e',
  '%2F',
  '%00',
  '%',
  '%zz',
  '%C0%AF',
  'a%2Fb',
  'x'.repeat(300),
  '-',
  'UPPER',
  'ünïcode',
  '0',
  '-1',
  '1e400',
  'NaN',
  'null',
  '__proto__',
  'constructor',
  'toString',
  '{"a":1}',
  "' OR 1=1 --",
  '<script>alert(1)</script>',
  '${7*7}',
  'a,b,c',
  'a=b',
  'a!=b,',
  'in (',
  '1h',
  'true',
  '9'.repeat(30),
];

const ODD_VALUES: readonly unknown[] = [
  null,
  true,
  0,
  -1,
  1.5,
  1e308,
  2 ** 60,
  '',
  'x'.repeat(5000),
  '\u0000',
  '\ud800',
  '🦊',
  [],
  [null],
  [[[]]],
  {},
  { a: { b: { c: {} } } },
  { constructor: { prototype: {} } },
  ['4Gi', 4],
  '4Gi',
  '1e999',
  '-5Gi',
];

/** A value that is like what the schema wants, but for where the dice say otherwise. */
const valueOf = (random: Random, schema: JsonObject | null, depth: number): unknown => {
  if (random.below(6) === 0 || depth > 6 || schema === null) return pick(random, ODD_VALUES);
  const properties = schema['properties'] as Record<string, JsonObject> | undefined;
  if (properties !== undefined) {
    const members = Object.entries(properties)
      .filter(() => random.below(3) > 0)
      .map(([name, property]) => [name, valueOf(random, property, depth + 1)]);
    if (random.below(8) === 0) members.push([pick(random, ODD_TEXTS), pick(random, ODD_VALUES)]);
    return Object.fromEntries(members);
  }
  const items = schema['items'] as JsonObject | undefined;
  if (items !== undefined) return Array.from({ length: random.below(4) }, () => valueOf(random, items, depth + 1));
  const words = schema['enum'] as readonly unknown[] | undefined;
  if (words !== undefined) return pick(random, words);
  const { type } = schema;
  if (type === 'string') return pick(random, ['a', 'default', '10.0.0.0/24', '4Gi', ...ODD_TEXTS]);
  if (type === 'integer' || type === 'number') return pick(random, [0, 1, 2, -1, 1e12, 1.5]);
  if (type === 'boolean') return random.below(2) === 0;
  return pick(random, ODD_VALUES);
};

const METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'HEAD', 'TRACE'];
const TYPES = [
  'application/json',
  'application/yaml',
  'application/merge-patch+json',
  'application/json-patch+json',
  'application/strategic-merge-patch+json',
  'application/apply-patch+yaml',
  'application/vnd.kubernetes.protobuf',
  'text/plain',
  'a/b; c=d; e',
];
const ACCEPTS = ['*/*', 'application/json;as=Table;g=meta.k8s.io;v=v1', 'text/html', ';;;', 'application/json;q=x', ''];
const EXTRA_PARAMETERS = ['watch', 'limit', 'continue', 'resourceVersion', 'labelSelector', 'asOf', 'arg', 'pretty'];

const bodyOf = (random: Random, operation: Operation): string | Buffer => {
  const text = JSON.stringify(valueOf(random, operation.schema, 0)) as string | undefined;
  const whole = text ?? 'null';
  switch (random.below(10)) {
    case 0:
      return whole.slice(0, random.below(whole.length + 1));
    case 1:
      return Buffer.from(Array.from({ length: random.below(64) }, () => random.below(256)));
    case 2:
      return Buffer.concat([Buffer.from([0x6b, 0x38, 0x73, 0]), Buffer.from(whole)]);
    case 3:
      return JSON.stringify([
        { op: pick(random, ['add', 'remove', 'copy', 'x']), path: pick(random, ['', '/spec', '/a/-', '~']) },
      ]);
    default:
      return whole;
  }
};

interface Attack {
  readonly path: string;
  readonly method: string;
  readonly raw?: string | Buffer;
  readonly token: string | null;
  readonly headers: Record<string, string>;
}

const attackOf = (random: Random, operations: readonly Operation[]): Attack => {
  const operation = pick(random, operations);
  const path = operation.path.replaceAll(/\{[^}]+\}/g, () =>
    random.below(3) === 0
      ? pick(random, ODD_TEXTS).replaceAll(/[^\x21-\x7e]|[?#]/g, 'x')
      : pick(random, ['default', 'a', 'x']),
  );
  const query = Array.from({ length: random.below(3) }, () => {
    const name = pick(random, [...operation.parameters, ...EXTRA_PARAMETERS]);
    // A watch that is let in goes on for as long as it may.
    const value = name === 'watch' ? 'maybe' : pick(random, ODD_TEXTS);
    return `${encodeURIComponent(name)}=${random.below(4) === 0 ? value.replaceAll(/[^\x21-\x7e]|[?#]/g, 'x') : encodeURIComponent(value)}`;
  });
  const method = random.below(8) === 0 ? pick(random, METHODS) : operation.method;
  const hasBody = method !== 'GET' && method !== 'HEAD' && method !== 'TRACE' && random.below(10) > 0;
  return {
    path: `${path}${query.length > 0 ? `?${query.join('&')}` : ''}`,
    method,
    ...(hasBody ? { raw: bodyOf(random, operation) } : {}),
    token: pick(random, [ADMIN_TOKEN, ADMIN_TOKEN, ADMIN_TOKEN, READER_TOKEN, TENANT_TOKEN, 'nobody-0123456789', null]),
    headers: {
      'content-type': pick(random, TYPES),
      accept: pick(random, ACCEPTS),
      ...(random.below(10) === 0 ? { 'idempotency-key': 'k'.repeat(random.below(300)) } : {}),
      ...(random.below(10) === 0 ? { 'impersonate-user': pick(random, ['tim', 'system:admin']) } : {}),
    },
  };
};

const faultOf = (attack: Attack, answer: Answer): string | null => {
  const what = `${attack.method} ${attack.path} ${JSON.stringify(attack.headers)} ${String(attack.raw).slice(0, 400)}`;
  if (answer.status >= 500 && answer.status !== 504)
    return `${answer.status} for ${what}: ${answer.text.slice(0, 400)}`;
  if (LEAKS.test(answer.text)) return `it leaks for ${what}: ${answer.text.slice(0, 800)}`;
  if (answer.status >= 400 && attack.method !== 'HEAD' && answer.json['kind'] !== 'Status')
    return `no Status for ${what}: ${answer.text.slice(0, 400)}`;
  return null;
};

describe('malformed requests', () => {
  onPlatformOfItsOwn();
  it(
    `are refused, ${REQUESTS} of them (seed ${SEED}), without a fault of the gateway and without a word too much`,
    { timeout: LIMIT_MS },
    async () => {
      const operations = await operationsOf();
      expect(operations.length).toBeGreaterThan(200);
      const random = randomFrom(SEED);
      const statuses = new Map<number, number>();
      const faults: string[] = [];
      let sent = 0;
      const worker = async (): Promise<void> => {
        while (sent < REQUESTS && faults.length < 10) {
          sent += 1;
          const attack = attackOf(random, operations);
          const answer = await api.ask(attack.path, attack);
          statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1);
          const fault = faultOf(attack, answer);
          if (fault !== null) faults.push(fault);
        }
      };
      await Promise.all(Array.from({ length: SIDE_BY_SIDE }, worker));
      expect(faults).toEqual([]);
      expect(sent).toBe(REQUESTS);
      for (const status of [200, 201, 400, 401, 403, 404, 405, 415, 422])
        expect(statuses.has(status), `${status}`).toBe(true);
      expect((await api.ask(NETWORKS)).status).toBe(200);
    },
  );
});

/** What the gateway answers to bytes that are sent as they are. */
const raw = (bytes: string): Promise<string> =>
  new Promise((resolve, fail) => {
    const socket = connect({ port: api.port, host: '127.0.0.1', ca: api.ca }, () => socket.end(bytes));
    let text = '';
    socket.setEncoding('latin1');
    socket.on('data', (chunk: string) => (text += chunk));
    socket.on('close', () => resolve(text));
    socket.on('error', (error: NodeJS.ErrnoException) => (error.code === 'ECONNRESET' ? resolve(text) : fail(error)));
  });

const request = (line: string, headers: readonly string[] = [], body = '', token = TENANT_TOKEN): string =>
  `${line} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\nConnection: close\r\n${headers.map((header) => `${header}\r\n`).join('')}\r\n${body}`;

const statusesIn = (text: string): readonly number[] =>
  [...text.matchAll(/HTTP\/1\.1 (\d{3})/g)].map(([, status]) => Number(status));

describe('tricks', () => {
  onPlatformOfItsOwn();
  it('with paths reach nothing that the plain path would not', async () => {
    const plain = NETWORKS.slice(1);
    const paths = [
      `//${plain}`,
      `/./${plain}`,
      `/version/../${plain}`,
      `/healthz/..%2f${plain}`,
      `/version%2f..%2f${plain}`,
      `/healthz/%2e%2e/${plain}`,
      `/${plain.replace('/namespaces/', '//namespaces/')}`,
      `/${plain}%00`,
      `/${plain}/..`,
      `/${plain};x=1`,
      `/${plain}/%2e%2e/networks`,
      `/${plain.replace('default', 'default%2f..%2fdefault')}`,
      `/${plain.toUpperCase()}`,
      `\\${plain}`,
      `/healthz/${plain}`,
      `/readyz?/../${plain}`,
      `https://x/${plain}`,
      `/asof/1/${plain}`,
      `/asof/1//${plain}`,
      `/${plain}?asOf=1`,
      `/${plain}#/healthz`,
    ];
    for (const path of paths) {
      const text = await raw(request(`GET ${path}`));
      const [status = 0] = statusesIn(text);
      const isHealth = path.startsWith('/readyz?');
      expect(isHealth ? [200] : [400, 403, 404], `${path}: ${text.slice(0, 300)}`).toContain(status);
      expect(text, path).not.toContain('"items"');
      expect(text, path).not.toMatch(LEAKS);
    }
  });

  it('with methods and headers change neither the method nor the user', async () => {
    const before = (await api.ask(NETWORKS)).json['items'] as JsonObject[];
    const headers = {
      'x-http-method-override': 'DELETE',
      'x-http-method': 'DELETE',
      'x-method-override': 'DELETE',
      'x-original-url': '/api/v1/namespaces',
      'x-rewrite-url': '/api/v1/namespaces',
      'x-remote-user': 'ada',
      'x-remote-group': 'system:masters',
      'x-forwarded-for': '127.0.0.1',
      'x-forwarded-user': 'ada',
    };
    expect((await api.ask(`${NETWORKS}?_method=DELETE`, { headers, token: READER_TOKEN })).status).toBe(200);
    expect((await api.ask(NETWORKS, { headers, token: TENANT_TOKEN })).status).toBe(403);
    expect((await api.ask(NETWORKS, { headers, token: null })).status).toBe(401);
    expect((await api.ask(NETWORKS)).json['items']).toEqual(before);
    const doubled = await raw(
      `GET ${NETWORKS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${TENANT_TOKEN}\r\nAuthorization: Bearer ${ADMIN_TOKEN}\r\nConnection: close\r\n\r\n`,
    );
    expect(statusesIn(doubled)).toEqual([403]);
  });

  it('with lengths smuggle no second request', async () => {
    const hidden = `GET ${NETWORKS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${ADMIN_TOKEN}\r\n\r\n`;
    const attacks = [
      request(`POST ${NETWORKS}`, ['Content-Length: 4', 'Transfer-Encoding: chunked'], `0\r\n\r\n${hidden}`),
      request(`POST ${NETWORKS}`, ['Transfer-Encoding: chunked', 'Transfer-Encoding: identity'], `0\r\n\r\n${hidden}`),
      request(`POST ${NETWORKS}`, ['Transfer-Encoding: xchunked'], hidden),
      request(`POST ${NETWORKS}`, ['Content-Length: 0', 'Content-Length: 5'], hidden),
      request(`POST ${NETWORKS}`, ['Content-Length: +5'], hidden),
      request(`POST ${NETWORKS}`, ['Transfer-Encoding : chunked'], `0\r\n\r\n${hidden}`),
      request(`POST ${NETWORKS}`, ['Content-Length: -1'], hidden),
      request(`GET ${NETWORKS}`, ['X: a\nContent-Length: 0'], hidden),
    ];
    for (const attack of attacks) {
      const text = await raw(attack);
      expect(statusesIn(text).length, text.slice(0, 300)).toBeLessThanOrEqual(1);
      expect(
        statusesIn(text).every((status) => status >= 400 && status < 500),
        text.slice(0, 300),
      ).toBe(true);
      expect(text).not.toContain('"items"');
    }
  });

  it('with NUL, huge headers, odd versions and odd methods are refused', async () => {
    const attacks = [
      request(`GET ${NETWORKS}\u0000`),
      request(`GET ${NETWORKS}`, [`X: a\u0000b`]),
      request(`GET ${NETWORKS}`, [`X: ${'a'.repeat(70_000)}`]),
      request(
        `GET ${NETWORKS}`,
        Array.from({ length: 3_000 }, (_, index) => `X-${index}: ${'a'.repeat(20)}`),
      ),
      request(`GET /${'a'.repeat(70_000)}`),
      request(`CONNECT ${NETWORKS}`),
      request(`FROBNICATE ${NETWORKS}`),
      `GET ${NETWORKS} HTTP/9.9\r\n\r\n`,
      `GET\r\n\r\n`,
      '\r\n\r\n\r\n',
      '\u0016\u0003\u0001',
    ];
    for (const attack of attacks) {
      const text = await raw(attack);
      expect(
        statusesIn(text).every((status) => status >= 400 && status < 500),
        text.slice(0, 200),
      ).toBe(true);
      expect(text).not.toMatch(LEAKS);
    }
    expect((await api.ask(NETWORKS)).status).toBe(200);
  });

  it('with tokens tell nothing of those that there are', async () => {
    const tokens = [
      '',
      ' ',
      'a'.repeat(60_000),
      `${ADMIN_TOKEN}x`,
      ADMIN_TOKEN.slice(0, -1),
      ADMIN_TOKEN.toUpperCase(),
      'e30.e30.e30',
    ];
    for (const token of tokens) {
      const answer = await api.ask(NETWORKS, { token });
      expect(answer.status, token.slice(0, 40)).toBe(401);
      expect(answer.text).not.toMatch(LEAKS);
    }
    expect(SERVED_KINDS.length).toBeGreaterThan(20);
  });
});
