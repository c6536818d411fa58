import { commandSubject, timestamp, type PlacementRequest } from '@xenolith/contracts';
import { migrateEventStore, openEventStore, type EventStore } from '@xenolith/event-store';
import { randomFrom, uuidFrom, type JsonObject, type Uuid } from '@xenolith/kernel';
import { openMessageBus, type NatsMessageBus } from '@xenolith/messaging';
import { freePort, startNats, startPostgres, type TestPostgres } from '@xenolith/testing';
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { z } from 'zod';
import { GIB, hostDocument } from './fleet.js';
import { pgbench } from './pgbench.js';
import { atMostRow, closedLoop, floorRow, limitRow, percentile, progress, shareRow, type Row } from './report.js';

const GROUP = 'placement';
const SCHEDULER = resolve(import.meta.dirname, '../../apps/scheduler/dist/main.js');
const SCHEDULERS = 4;
const HOSTS = 1_000;
/** Room for everything that a run places, so that none is refused. */
const HOST = { threads: 128, memoryBytes: 512 * GIB, nodes: 2, features: ['vmx', 'ept'] };
const CALLERS = 64;
/** So few that nobody waits for another's turn: what a decision takes by itself. */
const FEW_CALLERS = 8;
/** Placements a second that come on their own, whether or not those before them are answered. */
const ARRIVALS = 400;
/** The same as a share of what closed loops get. */
const ARRIVALS_SHARE = 0.5;
/** A run that falls this far behind its arrivals ends early: what later ones wait is a figure of the run's length only. */
const WAITING_LIMIT = 5_000;
/** Of Postgres: those of the schedulers, and of the peer's clients. */
const CONNECTIONS = 200;
const WARM_UP_MS = 4_000;
const RUN_MS = 15_000;
const REQUEST_MS = 10_000;
const READY_MS = 60_000;
const READY_ASK_MS = 200;
const FLAVOURS = [
  { vcpus: 1, memoryBytes: GIB },
  { vcpus: 2, memoryBytes: 2 * GIB },
  { vcpus: 2, memoryBytes: 4 * GIB },
] as const;

interface Scheduler {
  /** What its metrics count in all, by name and labels. */
  count(metric: string, labels: string): Promise<number>;
  stop(): Promise<void>;
}

const startScheduler = async (number: number, databaseUrl: string, natsUrl: string): Promise<Scheduler> => {
  const port = await freePort();
  const child = spawn(process.execPath, ['--max-semi-space-size=16', '--heap-growing-percent=40', SCHEDULER], {
    env: {
      ...process.env,
      NODE_ENV: 'production',
      DATABASE_URL: databaseUrl,
      NATS_URL: natsUrl,
      HTTP_PORT: String(port),
      INSTANCE: `scheduler-${number}`,
      LOG_LEVEL: 'error',
    },
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  const ended = once(child, 'exit');
  const url = `http://127.0.0.1:${port}`;
  const until = performance.now() + READY_MS;
  const ready = async (): Promise<boolean> => (await fetch(`${url}/readyz`).catch(() => null))?.ok === true;
  while (!(await ready())) {
    if (child.exitCode !== null || performance.now() > until) throw new Error(`scheduler ${number} does not get ready`);
    await new Promise((resume) => setTimeout(resume, READY_ASK_MS));
  }
  return {
    count: async (metric, labels) => {
      const lines = (await (await fetch(`${url}/metrics`)).text()).split('\n');
      const counted = lines.filter((line) => line.startsWith(`${metric}{`) && line.includes(labels));
      return counted.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0);
    },
    stop: async () => {
      child.kill('SIGTERM');
      await ended;
    },
  };
};

/** Puts the hosts into the log, as their service would. */
const addHosts = async (store: EventStore): Promise<void> => {
  const put = async (category: string, uid: Uuid, document: JsonObject): Promise<void> => {
    const commandId = randomUUID();
    const events = [{ type: category === 'host' ? 'HostCreated' : 'ClusterCreated', schemaVersion: 1, data: {} }];
    const appended = await store.append({
      commandId,
      requestHash: commandId,
      writes: [{ streamId: uid, category, expected: 'any', events, document, ends: false }],
      claims: [],
      timers: [],
      cancels: [],
      metadata: { commandId, correlationId: commandId, causationId: commandId, actor: 'system:bench', at: 0 },
      result: { ok: true },
    });
    if (appended.status !== 'appended') throw new Error(`${category} ${uid} could not be put into the log`);
  };
  const cluster = { metadata: { name: 'default', creationTimestamp: timestamp(0) }, spec: { cpuOvercommit: 16 } };
  await put('cluster', uuidFrom('cluster', 'default'), cluster);
  const names = Array.from({ length: HOSTS }, (_, number) => `host-${number}`);
  await Promise.all(names.map((name) => put('host', uuidFrom('host', name), hostDocument(name, HOST))));
};

const requestFor = (number: number, uid: Uuid): PlacementRequest => ({
  virtualMachine: { uid, name: `vm-${number}`, namespace: 'default' },
  ...(FLAVOURS[number % FLAVOURS.length] ?? FLAVOURS[0]),
  hypervisor: 'any',
  guestType: 'pvh',
});

interface Waits {
  readonly p50: number;
  readonly p99: number;
}

/** Asks for placements; the milliseconds that each took. */
class Asker {
  readonly tookMs: number[] = [];
  private count = 0;

  constructor(private readonly bus: NatsMessageBus) {}

  /** `due` is when it should have been asked: an asker that is late itself has kept it waiting, too. */
  async place(due = performance.now()): Promise<void> {
    const uid = randomUUID();
    const commandId = randomUUID();
    const data = { request: requestFor((this.count += 1), uid) } as unknown as JsonObject;
    const reply = await this.bus.request(
      commandSubject('scheduler', 'PlaceVirtualMachine'),
      {
        ...{ commandId, type: 'PlaceVirtualMachine', streamId: randomUUID(), data },
        ...{ actor: 'system:bench', correlationId: commandId, causationId: commandId, at: Date.now() },
      },
      { timeoutMs: REQUEST_MS },
    );
    if (!reply.ok) throw new Error(`a placement was refused: ${reply.rejection.message}`);
    this.tookMs.push(performance.now() - due);
  }

  async run(callers: number): Promise<{ readonly rate: number; readonly p99: number }> {
    await closedLoop(callers, WARM_UP_MS, () => this.place());
    this.tookMs.length = 0;
    const rate = await closedLoop(callers, RUN_MS, () => this.place());
    return { rate, p99: percentile(this.tookMs, 0.99) };
  }

  /** Placements that arrive by chance (Poisson), so many a second on average, and how long each waited from then on. */
  async arrive(perSecond: number): Promise<Waits> {
    await this.arrivals(perSecond, WARM_UP_MS);
    this.tookMs.length = 0;
    await this.arrivals(perSecond, RUN_MS);
    return { p50: percentile(this.tookMs, 0.5), p99: percentile(this.tookMs, 0.99) };
  }

  private async arrivals(perSecond: number, durationMs: number): Promise<void> {
    const random = randomFrom(`arrivals/${perSecond}/${durationMs}`);
    const waiting = new Set<Promise<void>>();
    const began = performance.now();
    const failures: unknown[] = [];
    const refuseFailures = (): void => {
      if (failures.length > 0) throw new Error('a placement that arrived failed', { cause: failures[0] });
    };
    for (let due = began; due - began < durationMs; due += (-Math.log(1 - random.next()) * 1_000) / perSecond) {
      const earlyMs = due - performance.now();
      if (earlyMs > 0) await new Promise((resume) => setTimeout(resume, earlyMs));
      refuseFailures();
      if (waiting.size >= WAITING_LIMIT)
        throw new Error(`${WAITING_LIMIT} placements wait: ${perSecond}/s are too many`);
      const placed = this.place(due).catch((error: unknown) => void failures.push(error));
      waiting.add(placed);
      void placed.finally(() => waiting.delete(placed));
    }
    await Promise.all(waiting);
    refuseFailures();
  }
}

const placementDocument = z.looseObject({
  spec: z.looseObject({ request: z.looseObject({ memoryBytes: z.number(), vcpus: z.number() }) }),
  status: z.looseObject({ hostUid: z.string() }),
});

/** Hosts that have more placed on them than they have. */
const overbooked = async (store: EventStore): Promise<number> => {
  const used = new Map<Uuid, number>();
  for (const { document } of (await store.documents(['placement'])).documents) {
    const { spec, status } = placementDocument.parse(document);
    used.set(status.hostUid, (used.get(status.hostUid) ?? 0) + spec.request.memoryBytes);
  }
  return [...used.values()].filter((bytes) => bytes > HOST.memoryBytes).length;
};

interface Measured {
  readonly postgres: TestPostgres;
  readonly store: EventStore;
  readonly bus: NatsMessageBus;
  readonly schedulers: readonly Scheduler[];
}

/** What as many placements wait that arrive by chance, beside bare inserts that arrive so in the same Postgres. */
const arrivingRows = async (
  { asker, postgres }: { readonly asker: Asker; readonly postgres: TestPostgres },
  perSecond: number,
  what: string,
): Promise<readonly Row[]> => {
  progress(`placements that arrive ${perSecond} times a second`);
  const { p50, p99 } = await asker.arrive(perSecond);
  progress(`inserts that arrive ${perSecond} times a second`);
  const plain = await pgbench(await postgres.createDatabase(), {
    clients: CALLERS,
    data: { request: { ...FLAVOURS[0], hypervisor: 'any' } },
    durationMs: RUN_MS,
    arriving: perSecond,
  });
  const row = { group: GROUP, unit: 'ms', atMost: Infinity };
  return [
    atMostRow({ ...row, what: `${what}, p50`, ours: p50, against: 'pgbench insert, p50', theirs: plain.p50 }),
    atMostRow({ ...row, what: `${what}, p99`, ours: p99, against: 'pgbench insert, p99', theirs: plain.p99 }),
    limitRow({ group: GROUP, unit: 'ms', what: `${what}, p99`, ours: p99, limit: 20 }),
  ];
};

const measure = async ({ postgres, store, bus, schedulers }: Measured): Promise<Row[]> => {
  const counted = async (metric: string): Promise<number> => {
    const counts = await Promise.all(schedulers.map((each) => each.count(metric, 'type="PlaceVirtualMachine"')));
    return counts.reduce((sum, count) => sum + count, 0);
  };
  const asker = new Asker(bus);
  progress(`placements by ${FEW_CALLERS} callers`);
  const few = await asker.run(FEW_CALLERS);
  progress(`placements by ${CALLERS} callers`);
  const many = await asker.run(CALLERS);
  const [decisions, again] = [
    await counted('xenolith_decisions_total'),
    await counted('xenolith_decision_retries_total'),
  ];
  const what = `durable placements, ${SCHEDULERS} schedulers`;
  const half = Math.round(many.rate * ARRIVALS_SHARE);
  return [
    floorRow({ group: GROUP, what: `${what}, ${CALLERS} callers`, ours: many.rate, unit: '/s', floor: 2_000 }),
    limitRow({ group: GROUP, what: `${what}, ${CALLERS} callers, p99`, ours: many.p99, unit: 'ms', limit: 20 }),
    shareRow({ group: GROUP, what: `${what}, ${FEW_CALLERS} callers`, ours: few.rate, unit: '/s', whole: many.rate }),
    limitRow({ group: GROUP, what: `${what}, ${FEW_CALLERS} callers, p99`, ours: few.p99, unit: 'ms', limit: 20 }),
    ...(await arrivingRows({ asker, postgres }, ARRIVALS, `${what}, ${ARRIVALS}/s arriving`)),
    ...(await arrivingRows(
      { asker, postgres },
      half,
      `${what}, arriving half as often as ${CALLERS} callers get them`,
    )),
    limitRow({
      ...{ group: GROUP, what: 'decisions made again, of all', unit: '%', limit: 1 },
      ours: (100 * again) / decisions,
    }),
    limitRow({ group: GROUP, what: 'hosts promised twice', ours: await overbooked(store), unit: 'hosts', limit: 0 }),
  ];
};

/** Several schedulers place machines side by side, each placement a transaction in the log, on a Postgres that flushes to disk. */
export const benchPlacement = async (): Promise<readonly Row[]> => {
  const closers: (() => Promise<unknown>)[] = [];
  const begun = async <Thing extends { stop(): Promise<unknown> }>(thing: Promise<Thing>): Promise<Thing> => {
    const made = await thing;
    closers.unshift(() => made.stop());
    return made;
  };
  try {
    progress(`starting Postgres, NATS and ${SCHEDULERS} schedulers`);
    const postgres = await begun(startPostgres({ durable: true, settings: { max_connections: String(CONNECTIONS) } }));
    const databaseUrl = postgres.url;
    const { url: natsUrl } = await begun(startNats());
    await migrateEventStore(databaseUrl);
    const store = await openEventStore({ databaseUrl, name: 'bench' });
    closers.unshift(() => store.close());
    await addHosts(store);
    const numbers = Array.from({ length: SCHEDULERS }, (_, number) => number);
    const schedulers = await Promise.all(numbers.map((number) => begun(startScheduler(number, databaseUrl, natsUrl))));
    const bus = await openMessageBus({ natsUrl, name: 'bench' });
    closers.unshift(() => bus.close());
    return await measure({ postgres, store, bus, schedulers });
  } finally {
    for (const close of closers) await close();
  }
};
