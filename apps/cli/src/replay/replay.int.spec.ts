import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:https';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { dataFolder } from '../folders.js';
import { kubeconfig } from '../platform/access.js';
import { ensureCertificates } from '../platform/certificates.js';
import { replay } from './replay.js';
import type { Summary } from './statistics.js';

const MEBIBYTE = 2 ** 20;
/** Longer than a replay takes between two looks at what was not placed. */
const CONTENTION_MS = 500;
const TAKEN =
  '0/2 hosts: 1 was taken by others at the same moment, 1 lacks CPU (need 1 vCPUs, most free 0 on host-0002)';
const RUNNING = { powerState: 'Running', host: 'host-0001', conditions: [] };
const waiting = (message: string): object => ({
  powerState: 'Halted',
  conditions: [{ type: 'Ready', reason: 'Unschedulable', message }],
});

interface Machine {
  readonly metadata: { name: string; resourceVersion: string; labels: object };
  readonly spec: { cpu: { vcpus: number }; memory: string };
  status: object;
}

/** A server that answers as the API of a platform whose hosts hold `room` machines in all, each started at once. */
class SmallApi {
  readonly machines = new Map<string, Machine>();
  readonly requests: string[] = [];
  private readonly watchers = new Set<ServerResponse>();
  private readonly events: { readonly version: number; readonly line: string }[] = [];
  private version = 1;

  constructor(
    readonly room: number,
    /** How many creations are answered with 503 first. */
    public overloaded = 0,
    /** How many creations find that others took the host at the same moment, and run a moment later. */
    public contended = 0,
  ) {}

  answer(request: IncomingMessage, response: ServerResponse): void {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => this.route(request, response, Buffer.concat(chunks).toString()));
  }

  /** As a restart of the server does. */
  breakWatches(): void {
    for (const watcher of this.watchers) watcher.destroy();
    this.watchers.clear();
  }

  private route(request: IncomingMessage, response: ServerResponse, body: string): void {
    const url = new URL(request.url ?? '', 'https://api');
    const tail = url.pathname.split('/').at(-1) ?? '';
    this.requests.push(`${request.method ?? ''} ${tail}`);
    if (request.headers.authorization !== 'Bearer secret') this.send(response, 401, { message: 'Unauthorized' });
    else if (tail === 'hosts') this.send(response, 200, { items: [hostNamed('host-0001'), hostNamed('host-0002')] });
    else if (tail === 'clusters')
      this.send(response, 200, { items: [{ metadata: { name: 'default' }, spec: { cpuOvercommit: 4 } }] });
    else if (request.method === 'POST') this.create(response, body);
    else if (request.method === 'DELETE') this.remove(response, tail);
    else if (url.searchParams.get('watch') === 'true')
      this.watch(response, Number(url.searchParams.get('resourceVersion')));
    else
      this.send(response, 200, {
        metadata: { resourceVersion: String(this.version) },
        items: [...this.machines.values()],
      });
  }

  private create(response: ServerResponse, body: string): void {
    if (this.overloaded > 0) {
      this.overloaded -= 1;
      this.send(response, 503, { reason: 'ServiceUnavailable', message: 'ask again' });
      return;
    }
    const given = JSON.parse(body) as Machine;
    const machine = { ...given, metadata: { ...given.metadata, resourceVersion: '' }, status: {} };
    const fits = [...this.machines.values()].filter((other) => 'host' in other.status).length < this.room;
    this.machines.set(machine.metadata.name, machine);
    const passes = fits && this.contended > 0;
    if (passes) this.contended -= 1;
    machine.status = fits && !passes ? RUNNING : waiting(passes ? TAKEN : '0/2 hosts: full');
    this.tell('ADDED', machine);
    this.send(response, 201, machine);
    if (passes)
      setTimeout(() => {
        machine.status = RUNNING;
        this.tell('MODIFIED', machine);
      }, CONTENTION_MS);
  }

  private remove(response: ServerResponse, name: string): void {
    const machine = this.machines.get(name);
    if (!machine) {
      this.send(response, 404, { reason: 'NotFound', message: `"${name}" not found` });
      return;
    }
    this.machines.delete(name);
    this.send(response, 200, {});
    this.tell('DELETED', machine);
  }

  private watch(response: ServerResponse, after: number): void {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    for (const event of this.events) if (event.version > after) response.write(event.line);
    this.watchers.add(response);
  }

  private tell(type: string, machine: Machine): void {
    this.version += 1;
    machine.metadata.resourceVersion = String(this.version);
    const line = `${JSON.stringify({ type, object: machine })}\n`;
    this.events.push({ version: this.version, line });
    for (const watcher of this.watchers) watcher.write(line);
  }

  private send(response: ServerResponse, status: number, body: object): void {
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  }
}

const hostNamed = (name: string): object => ({
  metadata: { name },
  spec: { cluster: 'default' },
  status: { cpus: 32, allocatableMemory: String(120 * 1024 * MEBIBYTE) },
});

describe('replay', () => {
  let folder: string;
  let server: Server;
  let api: SmallApi;
  let written: string;

  beforeEach(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'xenolith-replay-spec-'));
    const data = dataFolder(folder);
    await mkdir(data.tls);
    const authority = await ensureCertificates(data);
    api = new SmallApi(3);
    server = createServer(
      {
        key: await readFile(path.join(data.tls, 'server.key')),
        cert: await readFile(path.join(data.tls, 'server.crt')),
      },
      (request, response) => api.answer(request, response),
    );
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
    await writeFile(data.kubeconfigFile, kubeconfig({ url, authority, token: 'secret' }));
    written = '';
    vi.spyOn(process.stdout, 'write').mockImplementation((chunk) => {
      written += String(chunk);
      return true;
    });
    vi.spyOn(process.stderr, 'write').mockReturnValue(true);
  });
  afterEach(async () => {
    vi.restoreAllMocks();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    await rm(folder, { recursive: true });
  });

  const traceOf = async (rows: readonly string[]): Promise<string> => {
    const file = path.join(folder, 'trace.csv');
    await writeFile(file, ['vmId,tenantId,cores,ram,vmTypeId,starttime,endtime', ...rows, ''].join('\n'));
    return file;
  };
  const run = async (rows: readonly string[], more: { keep?: boolean; speed?: number } = {}): Promise<Summary> => {
    const code = await replay({
      trace: await traceOf(rows),
      kubeconfig: path.join(folder, 'kubeconfig'),
      concurrency: 4,
      output: 'json',
      ...more,
    });
    expect(code).toBe(0);
    return JSON.parse(written) as Summary;
  };

  it('creates and deletes what the trace says, and clears up what it leaves', async () => {
    const summary = await run(['a,1,800,64,0,-2,1', 'b,1,400,32,0,0,2', 'c,1,100,8,0,1,inf', 'd,1,100,8,0,1.5,inf']);
    expect(summary).toMatchObject({ machines: 4, accepted: 4, running: 4, refused: 0, deleted: 2, hosts: 2, scale: 1 });
    expect(summary.latencyMs?.p50).toBeGreaterThan(0);
    expect(summary.density.at(-1)).toMatchObject({ machines: 2, hostsUsed: 1, day: 2 });
    expect(api.machines.size).toBe(0);
  });

  it('counts what no host fits as refused, says why, and goes on', async () => {
    const summary = await run([1, 2, 3, 4, 5].map((id) => `${id},1,100,8,0,0,1`));
    expect(summary).toMatchObject({ accepted: 5, running: 3, refused: 2, deleted: 3 });
    expect(summary.refusals).toEqual([{ reason: 'Unschedulable', count: 2, example: '0/2 hosts: full' }]);
  });

  it('does not count a machine as refused whose host others took at that moment', async () => {
    api.contended = 2;
    const summary = await run([1, 2, 3].map((id) => `${id},1,100,8,0,0,1`));
    expect(summary).toMatchObject({ accepted: 3, running: 3, refused: 0, deleted: 3, refusals: [] });
  });

  it('leaves the machines when it is told to', async () => {
    await run(['a,1,800,64,0,0,inf'], { keep: true });
    expect([...api.machines.keys()]).toEqual([expect.stringMatching(/^replay-[0-9a-f]{8}-0-a$/)]);
    expect([...api.machines.values()][0]?.spec.cpu.vcpus).toBe(11);
  });

  it('asks an overloaded platform again', async () => {
    api.overloaded = 2;
    expect(await run(['a,1,100,8,0,0,1', 'b,1,100,8,0,0,1'])).toMatchObject({ accepted: 2, running: 2, deleted: 2 });
  });

  it('goes on when its watch breaks', async () => {
    const broken = setInterval(() => api.breakWatches(), 50);
    const rows = Array.from({ length: 12 }, (_, id) => `${id},1,100,8,0,${id},${id + 1}`);
    expect(await run(rows)).toMatchObject({ accepted: 12, running: 12, deleted: 12 });
    clearInterval(broken);
  });

  it('keeps the trace’s pace when it is given a speed', async () => {
    const summary = await run(['a,1,100,8,0,0,0.5', 'b,1,100,8,0,1,inf'], { speed: 172_800 });
    expect(summary.seconds).toBeGreaterThanOrEqual(0.5);
  });

  it('refuses a platform that is named and has fewer hosts than it was told to need', async () => {
    const trace = await traceOf(['a,1,100,8,0,0,1']);
    const ask = (more: { kubeconfig?: string; data?: string; hosts?: number }): Promise<number> =>
      replay({ trace, concurrency: 1, output: 'text', ...more });
    const file = path.join(folder, 'kubeconfig');
    await expect(ask({ kubeconfig: file, hosts: 3 })).rejects.toThrow(/has 2 hosts, fewer than 3/);
    await expect(ask({ kubeconfig: file, data: folder })).rejects.toThrow(/both name a platform/);
    // A temporary platform instead of the one that was named would not be what was asked for.
    await expect(ask({ data: path.join(folder, 'no'), hosts: 3 })).rejects.toThrow(/no platform runs/);
    expect(api.machines.size).toBe(0);
  });

  it('says what to do when nothing can be reached', async () => {
    const ask = (kubeconfigFile: string): Promise<number> =>
      replay({ trace: path.join(folder, 'trace.csv'), kubeconfig: kubeconfigFile, concurrency: 1, output: 'text' });
    await traceOf(['a,1,100,8,0,0,1']);
    await expect(ask(path.join(folder, 'absent'))).rejects.toThrow(/cannot use the kubeconfig/);
    const away = kubeconfig({ url: 'https://127.0.0.1:1', authority: 'none', token: 'secret' });
    await writeFile(path.join(folder, 'away'), away);
    await expect(ask(path.join(folder, 'away'))).rejects.toThrow(/nobody answers/);
    await expect(
      replay({ trace: path.join(folder, 'trace.csv'), data: path.join(folder, 'no'), concurrency: 1, output: 'text' }),
    ).rejects.toThrow(/no platform runs/);
  });
});
