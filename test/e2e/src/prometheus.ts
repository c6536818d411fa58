import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sidePorts } from './exposition.js';
import { eventually, freePort, ROOT, type Platform } from './platform.js';

const RULES = join(ROOT, 'deploy/helm/xenolith/files/alerts.yaml');

const isHere = (): boolean => {
  try {
    execFileSync('prometheus', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
};

/** What this machine lacks to watch a platform, or null. */
export const prometheusLack = isHere() ? null : 'prometheus is not here: apt-get install prometheus brings it';

export interface FiringAlert {
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

export interface Prometheus {
  /** The values that an expression has now. */
  values(expression: string): Promise<readonly string[]>;
  firing(): Promise<readonly FiringAlert[]>;
  /** The alerts that the loaded rules can give. */
  alerts(): Promise<readonly string[]>;
  /** Those that a test has waited for, and has seen firing. */
  readonly fired: ReadonlySet<string>;
  /** Settles when an expression has a value: what an alert is made of may be there before the alert. */
  shows(expression: string): Promise<void>;
  /** Settles when an alert of this name with these labels fires. */
  fires(name: string, labels?: Readonly<Record<string, string>>): Promise<FiringAlert>;
  /** Settles when none of these names fires. */
  cleared(...names: readonly string[]): Promise<void>;
  stop(): Promise<void>;
}

/** The chart's rules, with minutes made seconds: a test that waited for them as they are would take an hour. promtool tests their real times. */
const hastened = async (): Promise<string> =>
  (await readFile(RULES, 'utf8'))
    .replaceAll(/for: \d+\w+/g, 'for: 2s')
    .replaceAll('[15m]', '[60s]')
    .replaceAll(/\[\d+m\]/g, '[20s]');

/** Of what fails only: on a busy machine ten thousand events take minutes. */
const LIMIT_MS = 300_000;

/** The real Prometheus beside a platform. It scrapes all processes each second, and those at the other ports, if they are there. */
export const watchPlatform = async (platform: Platform, otherPorts: readonly number[] = []): Promise<Prometheus> => {
  const folder = join(platform.data, 'prometheus');
  await mkdir(folder);
  const port = await freePort();
  const ports = [...Object.values(await sidePorts(platform)), ...otherPorts];
  const targets = ports.map((side) => `'127.0.0.1:${side}'`);
  await writeFile(join(folder, 'alerts.yaml'), await hastened());
  await writeFile(
    join(folder, 'prometheus.yml'),
    `global: { scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }
rule_files: [alerts.yaml]
scrape_configs:
  - job_name: xenolith
    honor_labels: true
    static_configs: [{ targets: [${targets.join(', ')}] }]
`,
  );
  const child: ChildProcess = spawn(
    'prometheus',
    [
      `--config.file=${join(folder, 'prometheus.yml')}`,
      `--storage.tsdb.path=${join(folder, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
      '--log.level=error',
    ],
    { stdio: 'ignore' },
  );
  const ended = new Promise<void>((done) => child.once('exit', () => done()));
  const ask = async <Data>(path: string): Promise<Data> => {
    const answer = await fetch(`http://127.0.0.1:${port}/api/v1/${path}`);
    return ((await answer.json()) as { data: Data }).data;
  };
  const firing = async (): Promise<readonly FiringAlert[]> => {
    const { alerts } = await ask<{ alerts: readonly (FiringAlert & { state: string })[] }>('alerts');
    return alerts.filter(({ state }) => state === 'firing');
  };
  const values = async (expression: string): Promise<readonly string[]> => {
    const { result } = await ask<{ result: readonly { value: [number, string] }[] }>(
      `query?query=${encodeURIComponent(expression)}`,
    );
    return result.map(({ value }) => value[1]);
  };
  const fired = new Set<string>();
  const ready = async (): Promise<boolean> =>
    fetch(`http://127.0.0.1:${port}/-/ready`).then(
      ({ ok }) => ok,
      () => false,
    );
  await eventually('Prometheus answers', ready, LIMIT_MS);
  return {
    values,
    firing,
    alerts: async () => {
      const { groups } = await ask<{ groups: readonly { rules: readonly { name: string }[] }[] }>('rules');
      return groups.flatMap(({ rules }) => rules.map(({ name }) => name));
    },
    fired,
    shows: (expression) =>
      eventually(`${expression} has a value`, async () => (await values(expression)).length > 0, LIMIT_MS),
    fires: async (name, labels = {}) => {
      const wanted = Object.entries({ ...labels, alertname: name });
      let found: FiringAlert | undefined;
      const told = `${name} ${JSON.stringify(labels)} fires`;
      await eventually(
        told,
        async () => {
          found = (await firing()).find((alert) => wanted.every(([label, value]) => alert.labels[label] === value));
          return found !== undefined;
        },
        LIMIT_MS,
      );
      if (found === undefined) throw new Error(`${told}: it was seen and lost`);
      fired.add(name);
      return found;
    },
    cleared: (...names) =>
      eventually(
        `${names.join(', ')} fire no more`,
        async () => !(await firing()).some(({ labels }) => names.includes(labels['alertname'] ?? '')),
        LIMIT_MS,
      ),
    stop: async () => {
      child.kill('SIGTERM');
      await ended;
    },
  };
};
