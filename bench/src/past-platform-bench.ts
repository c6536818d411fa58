import { readFile } from 'node:fs/promises';
import pg from 'pg';
import { ApiClient } from './api-client.js';
import { Machines } from './machines.js';
import { fillNetworks, NETWORKS } from './network-fill.js';
import { Platform } from './platform.js';
import { cpuMsByProcess } from './process-cpu.js';
import { atMostRow, closedLoop, limitRow, percentile, progress, type Row } from './report.js';

const GROUP = 'past-platform';
/** Room for all machines of the run. */
const HOSTS = 160;
/** As in the group `platform`. */
const CALLERS = 64;
const WARM_UP_MS = 10_000;
const SLICE_MS = 8_000;
const OBJECTS = 10_000;
const LISTS = 10;

/** `--brief`: to see that it works; `--full`: three times as many slices, for a smaller error. */
const brief = process.argv.includes('--brief');
const PAIRS = brief ? 2 : process.argv.includes('--full') ? 24 : 8;

/** CPU milliseconds of a machine. */
interface Cost {
  /** Of the session that writes the chronicle. */
  readonly chronicle: number;
  readonly postgres: number;
  readonly all: number;
}

/** The chronicle of a platform that runs, stopped and let go on by its database's owner. There is no setting for it: nobody else may. */
class ChronicleSwitch {
  private constructor(
    private readonly owner: pg.Client,
    private readonly step: string,
  ) {}

  static async open(databaseUrl: string): Promise<ChronicleSwitch> {
    const owner = new pg.Client({ connectionString: databaseUrl });
    await owner.connect();
    const { rows } = await owner.query<{ step: string }>(
      `select pg_get_functiondef('es.chronicle_step(int)'::regprocedure) as step`,
    );
    return new ChronicleSwitch(owner, rows[0]?.step ?? '');
  }

  /** Steps say that there is nothing to do. */
  async stop(): Promise<void> {
    await this.owner.query(
      `create or replace function es.chronicle_step(p_limit int, out reached bigint, out head bigint) language plpgsql
       security definer set search_path = pg_catalog, pg_temp
       as $$ begin select h.position, h.position into reached, head from es.seq_head h where h.id = 1; end $$`,
    );
  }

  async goOn(): Promise<void> {
    await this.owner.query(this.step);
    await this.caughtUp();
  }

  /** What has happened so far is in the chronicle. */
  async caughtUp(): Promise<void> {
    const { rows } = await this.owner.query<{ position: string }>('select position from es.seq_head');
    const position = Number(rows[0]?.position);
    for (;;) {
      const { rows: reached } = await this.owner.query<{ position: string }>('select position from es.chronicle');
      if (Number(reached[0]?.position) >= position) return;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  /** CPU of the session that writes the chronicle, by the kernel's own count: nanoseconds stand first. */
  async cpuMs(): Promise<number> {
    const { rows } = await this.owner.query<{ pid: number }>(
      "select pid from pg_stat_activity where application_name like '% chronicle'",
    );
    const used = await Promise.all(rows.map(({ pid }) => readFile(`/proc/${pid}/schedstat`, 'utf8')));
    return used.reduce((sum, text) => sum + Number(text.split(' ')[0]) / 1e6, 0);
  }

  async close(): Promise<void> {
    await this.owner.end();
  }
}

interface Bench {
  readonly platform: Platform;
  readonly machines: Machines;
  readonly chronicle: ChronicleSwitch;
}

const slice = async ({ platform, machines, chronicle }: Bench, name: string, withIt: boolean): Promise<Cost> => {
  await (withIt ? chronicle.goOn() : chronicle.stop());
  const processes = await platform.processes();
  const [before, chronicleBefore] = [await cpuMsByProcess(processes), await chronicle.cpuMs()];
  let made = 0;
  await closedLoop(CALLERS, SLICE_MS, async (caller, turn) => {
    await machines.create(`${name}-${caller}-${turn}`);
    made += 1;
  });
  if (withIt) await chronicle.caughtUp();
  const [after, chronicleAfter] = [await cpuMsByProcess(processes), await chronicle.cpuMs()];
  const used = processes.map((process) => ({
    ...process,
    ms: ((after.get(process.name) ?? 0) - (before.get(process.name) ?? 0)) / made,
  }));
  const all = used.reduce((sum, { ms }) => sum + ms, 0);
  return {
    chronicle: (chronicleAfter - chronicleBefore) / made,
    postgres: used.find((process) => process.name === 'postgres')?.ms ?? Number.NaN,
    all,
  };
};

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

const standardError = (values: readonly number[]): number => {
  const middle = mean(values);
  return Math.sqrt(mean(values.map((value) => (value - middle) ** 2)) / (values.length - 1));
};

/**
 * Machines created with and without the chronicle, in pairs of slices of one run. What it costs is told twice: by the CPU of the session that writes it, and by what all of Postgres needs more, which has the larger
 * error. The CPU of the other processes varies by more than the chronicle takes.
 */
const benchPresent = async (bench: Bench): Promise<readonly Row[]> => {
  progress(`machines by ${CALLERS} callers with and without a chronicle, ${PAIRS} pairs of slices`);
  await closedLoop(CALLERS, WARM_UP_MS, (caller, turn) => bench.machines.create(`warm-${caller}-${turn}`));
  const [withIt, without]: [Cost[], Cost[]] = [[], []];
  for (let pair = 0; pair < PAIRS; pair += 1)
    // The log grows: neither is always first.
    for (const chronicled of pair % 2 === 0 ? [false, true] : [true, false])
      (chronicled ? withIt : without).push(
        await slice(bench, `${chronicled ? 'with' : 'without'}-${pair}`, chronicled),
      );
  await bench.chronicle.goOn();
  const more = withIt.map(({ postgres }, pair) => postgres - (without[pair]?.postgres ?? Number.NaN));
  const error = standardError(more).toFixed(3);
  progress(
    `with the chronicle, Postgres takes ${mean(more).toFixed(3)} ms more for a machine, standard error ${error}`,
  );
  const own = mean(withIt.map(({ chronicle }) => chronicle));
  const whole = mean(withIt.map(({ all }) => all));
  const row = { group: GROUP, unit: 'ms', against: 'no chronicle' };
  return [
    atMostRow({
      ...row,
      what: "CPU for each VM, all processes, by the chronicle's session",
      ours: whole,
      theirs: whole - own,
      atMost: 1.02,
    }),
    atMostRow({
      ...row,
      what: 'CPU for each VM, postgres',
      ours: mean(withIt.map(({ postgres }) => postgres)),
      theirs: mean(without.map(({ postgres }) => postgres)),
      atMost: Infinity,
    }),
  ];
};

/** The past as its users get it, from the gateway. */
const benchList = async (platform: Platform, client: ApiClient): Promise<readonly Row[]> => {
  await fillNetworks(platform, client, OBJECTS);
  const { metadata } = JSON.parse(await client.ask('GET', `${NETWORKS}?limit=1`)) as {
    metadata: { resourceVersion: string };
  };
  progress(`lists of ${OBJECTS} objects as of ${metadata.resourceVersion}`);
  const took: number[] = [];
  for (let turn = 0; turn <= LISTS; turn += 1) {
    const start = performance.now();
    const list = await client.ask('GET', `/asof/${metadata.resourceVersion}${NETWORKS}`);
    // The first one of a process is not what the others are like.
    if (turn > 0) took.push(performance.now() - start);
    const { items } = JSON.parse(list) as { items: readonly unknown[] };
    if (items.length < OBJECTS) throw new Error(`the past shows ${items.length} objects`);
  }
  const what = `list of ${OBJECTS.toLocaleString('en')} objects in the past by HTTPS`;
  return [
    limitRow({ group: GROUP, what: `${what}, p50`, ours: percentile(took, 0.5), unit: 'ms', limit: 1000 }),
    limitRow({ group: GROUP, what: `${what}, slowest`, ours: Math.max(...took), unit: 'ms', limit: 1000 }),
  ];
};

/** What the past costs a whole platform, and how soon it shows a long list. */
export const benchPastPlatform = async (): Promise<readonly Row[]> => {
  progress(`starting a platform of ${HOSTS} hosts`);
  const platform = await Platform.start(HOSTS);
  try {
    const client = await ApiClient.open(platform.kubeconfig, CALLERS);
    const chronicle = await ChronicleSwitch.open(await platform.databaseUrl());
    try {
      const machines = new Machines(client);
      await machines.start();
      return [...(await benchPresent({ platform, machines, chronicle })), ...(await benchList(platform, client))];
    } finally {
      await chronicle.close();
      client.close();
    }
  } finally {
    await platform.remove();
  }
};
