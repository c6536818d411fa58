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

const LIMIT_MS = 150_000;

/** The real Prometheus beside a platform. It scrapes all processes each second. */
export const watchPlatform = async (platform: Platform): Promise<Prometheus> => {
  const folder = join(platform.data, 'prometheus');
  await mkdir(folder);
  const port = await freePort();
  const targets = Object.values(await sidePorts(platform)).map((side) => `'127.0.0.1:${side}'`);
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
  const firing = async (): Promise<readonly FiringAlert[]> => {
    const answer = (await (await fetch(`http://127.0.0.1:${port}/api/v1/alerts`)).json()) as {
      data: { alerts: readonly (FiringAlert & { state: string })[] };
    };
    return answer.data.alerts.filter(({ state }) => state === 'firing');
  };
  const ready = async (): Promise<boolean> =>
    fetch(`http://127.0.0.1:${port}/-/ready`).then(
      ({ ok }) => ok,
      () => false,
    );
  await eventually('Prometheus answers', ready, LIMIT_MS);
  return {
    values: async (expression) => {
      const url = `http://127.0.0.1:${port}/api/v1/query?query=${encodeURIComponent(expression)}`;
      const answer = (await (await fetch(url)).json()) as { data: { result: readonly { value: [number, string] }[] } };
      return answer.data.result.map(({ value }) => value[1]);
    },
    firing,
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
