import { freePort } from '@xenolith/testing';
import type { Member } from './container.js';
import { imageOf } from './engine.js';

const PORT = 4318;

/** Takes spans by OTLP over HTTP with JSON, and tells the names of all that came, by service. Our images bring the Node that runs it. */
const PROGRAM = `
const names = {};
const take = (body) => {
  for (const { resource, scopeSpans } of body.resourceSpans) {
    const service = resource.attributes.find(({ key }) => key === 'service.name').value.stringValue;
    const seen = new Set(names[service]);
    for (const { spans } of scopeSpans) for (const { name } of spans) seen.add(name);
    names[service] = [...seen];
  }
};
require('http').createServer((request, response) => {
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => {
    if (request.method === 'POST') take(JSON.parse(Buffer.concat(chunks)));
    response.setHeader('content-type', 'application/json').end(JSON.stringify(request.method === 'POST' ? {} : names));
  });
}).listen(${PORT});`;

export interface Collector {
  readonly member: Member;
  /** Where containers send their spans. */
  readonly endpoint: string;
  /** Names of spans, by service. */
  readonly spans: () => Promise<Readonly<Record<string, readonly string[]>>>;
}

/** Stands where Jaeger or a collector would. */
export const makeCollector = async (): Promise<Collector> => {
  const port = await freePort();
  const spans = async (): Promise<Readonly<Record<string, readonly string[]>>> =>
    (await (await fetch(`http://127.0.0.1:${port}`)).json()) as Record<string, readonly string[]>;
  const member: Member = {
    name: 'collector',
    image: imageOf('agent'),
    entrypoint: ['/bin/node', '-e', PROGRAM],
    ports: { [PORT]: port },
    ready: () =>
      spans().then(
        () => true,
        () => false,
      ),
    confined: true,
  };
  return { member, endpoint: `http://collector:${PORT}`, spans };
};
