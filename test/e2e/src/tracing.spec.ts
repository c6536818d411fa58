import { writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually, startPlatform, type Platform } from './platform.js';

interface Span {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly name: string;
  readonly attributes: readonly { readonly key: string; readonly value: { readonly stringValue?: string } }[];
  readonly links?: readonly { readonly traceId: string; readonly spanId: string }[];
  /** 2: an error. */
  readonly status?: { readonly code?: number; readonly message?: string };
  service: string;
}

const attributesOf = (span: Span): Readonly<Record<string, string | undefined>> =>
  Object.fromEntries(span.attributes.map(({ key, value }) => [key, value.stringValue]));

/** What has a value of its own for each object, host or request has no place in a name: names are what spans are grouped by. */
const UNBOUNDED = /[0-9a-f]{8}-[0-9a-f]{4}-|\btraced\b|host-0001|\bdefault\b/;

/** A receiver of OTLP over HTTP with JSON, as Jaeger or a collector would be. */
const startReceiver = async (): Promise<{ url: string; spans: Span[]; server: Server }> => {
  const spans: Span[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      interface Export {
        resourceSpans: {
          resource: { attributes: { key: string; value: { stringValue?: string } }[] };
          scopeSpans: { spans: Span[] }[];
        }[];
      }
      const body = JSON.parse(Buffer.concat(chunks).toString('utf8')) as Export;
      for (const resource of body.resourceSpans) {
        const service =
          resource.resource.attributes.find((attribute) => attribute.key === 'service.name')?.value.stringValue ?? '';
        for (const scope of resource.scopeSpans) spans.push(...scope.spans.map((span) => ({ ...span, service })));
      }
      response.setHeader('content-type', 'application/json').end('{}');
    });
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const address = server.address();
  const port = address !== null && typeof address === 'object' ? address.port : 0;
  return { url: `http://127.0.0.1:${port}`, spans, server };
};

describe('a trace of a machine’s creation', () => {
  let platform: Platform;
  let receiver: Awaited<ReturnType<typeof startReceiver>>;

  beforeAll(async () => {
    receiver = await startReceiver();
    platform = await startPlatform({ hosts: 1, args: ['--boot-time', '0', '--otlp', receiver.url] });
    await platform.kubectl('wait', 'hosts', '--all', '--for=condition=Ready', '--timeout=60s');
  });
  afterAll(async () => {
    await platform.down();
    receiver.server.close();
  });

  it('leads from the HTTP request through every service to the agent and back into the log', async () => {
    const vm = {
      apiVersion: 'compute.xenolith.dev/v1alpha1',
      kind: 'VirtualMachine',
      metadata: { name: 'traced' },
      spec: {
        cpu: { vcpus: 1 },
        memory: '512Mi',
        disks: [{ name: 'root', source: { image: 'alpine-3' } }],
        nics: [{ name: 'eth0', network: 'default' }],
      },
    };
    await platform.apply(JSON.stringify(vm));
    await platform.kubectl('wait', 'vm/traced', '--for=jsonpath={.status.powerState}=Running', '--timeout=60s');
    const ofCreation = (): readonly Span[] => {
      const start = receiver.spans.find((span) => span.service.includes('agent') && /StartDomain/.test(span.name));
      return start ? receiver.spans.filter((span) => span.traceId === start.traceId) : [];
    };
    await eventually('all services have sent their part of the trace', () => {
      const services = new Set(ofCreation().map((span) => span.service.replace(/^xenolith-/, '')));
      return Promise.resolve(
        ['gateway', 'compute', 'scheduler', 'storage', 'network', 'agent'].every((service) => services.has(service)),
      );
    });
    const spans = ofCreation();
    const byId = new Map(spans.map((span) => [span.spanId, span]));
    const pathOf = (span: Span): readonly Span[] => {
      const parent = span.parentSpanId ? byId.get(span.parentSpanId) : undefined;
      return parent ? [...pathOf(parent), span] : [span];
    };
    const start = spans.find((span) => span.service.includes('agent') && /StartDomain/.test(span.name));
    const path = start ? pathOf(start) : [];
    expect(path[0]?.service).toMatch(/gateway/);
    expect(path[0]?.name).toMatch(
      /^(POST|PATCH) \/apis\/compute\.xenolith\.dev\/v1alpha1\/namespaces\/\{namespace\}\/virtualmachines/,
    );
    expect(path.map((span) => span.service.replace(/^xenolith-/, ''))).toContain('compute');
    expect(
      spans.some((span) => /pg|postgres|append/i.test(span.name)),
      'the log’s part',
    ).toBe(true);
    // Each command is named, says which stream it is for and who asks, and has its own id; those of one request have one first command.
    const handled = spans.filter(({ name }) => name.startsWith('handle '));
    expect(new Set(handled.map(({ name }) => name))).toEqual(
      new Set(handled.map((span) => `handle ${attributesOf(span)['xenolith.command.type'] ?? ''}`)),
    );
    for (const span of handled)
      expect(Object.keys(attributesOf(span)), span.name).toEqual(
        expect.arrayContaining([
          'messaging.message.id',
          'messaging.destination.name',
          'xenolith.stream.id',
          'xenolith.actor',
        ]),
      );
    expect(
      new Set(handled.map((span) => attributesOf(span)['messaging.message.conversation_id'])).size,
      'chains of commands',
    ).toBe(1);
    expect(
      spans.filter(({ status }) => status?.code === 2).map(({ name, status }) => [name, status?.message]),
      'errors of a creation in which nothing failed',
    ).toEqual([]);
    expect(spans.map(({ name }) => name).filter((name) => UNBOUNDED.test(name))).toEqual([]);
    // What goes on after the answer hangs below the command that began it, step beside step, and each step is linked to the one before.
    const steps = spans.filter((span) => attributesOf(span)['xenolith.step'] !== undefined);
    const began = new Set(steps.map(({ parentSpanId }) => parentSpanId));
    expect(began.size, 'spans that steps hang below').toBe(1);
    expect(byId.get([...began][0] ?? '')?.name).toBe('decide ChangeVirtualMachine');
    const linked = steps.flatMap(({ links }) => links ?? []).map(({ spanId }) => byId.get(spanId)?.name ?? 'unknown');
    expect(linked.length).toBeGreaterThan(0);
    expect(new Set(linked)).toEqual(new Set(['operations RecordStepsSucceeded']));
    expect(path.map(({ name }) => name).slice(-3)).toEqual([
      'operations StartDomain',
      'request StartDomain',
      'handle StartDomain',
    ]);
    // Roots: exactly one span of the trace has no parent within it.
    expect(spans.filter((span) => !span.parentSpanId || !byId.has(span.parentSpanId))).toHaveLength(1);
  });

  it('marks where a request failed, and says why', async () => {
    const network = (await platform.processes()).find(({ name }) => name === 'network');
    const manifest = join(platform.data, 'network.json');
    await writeFile(
      manifest,
      JSON.stringify({
        apiVersion: 'network.xenolith.dev/v1alpha1',
        kind: 'Network',
        metadata: { name: 'unanswered' },
        spec: { cidr: '10.9.0.0/24' },
      }),
    );
    process.kill(network?.pid ?? 0, 'SIGSTOP');
    // kubectl asks again for as long as it is told to.
    const creating = platform.tryKubectl('create', '-f', manifest);
    try {
      await eventually('the request is marked as an error that says why', () =>
        Promise.resolve(
          receiver.spans.some(
            (span) =>
              span.name === 'request ChangeNetwork' &&
              span.status?.code === 2 &&
              (span.status.message ?? '') !== '' &&
              attributesOf(span)['error.type'] === 'timeout',
          ),
        ),
      );
    } finally {
      process.kill(network?.pid ?? 0, 'SIGCONT');
    }
    await creating;
    expect(await platform.kubectl('get', 'network', 'unanswered', '-o', 'name')).toContain('unanswered');
  });
});
