import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Platform } from './platform.js';

/** What every series of ours says beside its own labels. */
const OF_ALL = new Set(['service', 'instance']);
/** What histograms add. */
const OF_BUCKETS = new Set(['le']);
const PROCESSES = ['gateway', 'compute', 'storage', 'network', 'scheduler', 'agent'] as const;

export interface ExposedMetric {
  readonly name: string;
  readonly type: string;
  readonly help: string;
  /** Processes that show it. */
  readonly services: ReadonlySet<string>;
  /** Of the samples that were seen; empty for those that have none yet, too. */
  readonly labels: ReadonlySet<string>;
  readonly samples: number;
}

interface Growing {
  readonly name: string;
  readonly services: Set<string>;
  readonly labels: Set<string>;
  type: string;
  help: string;
  samples: number;
}

const LABEL = /([a-zA-Z_]\w*)="(?:[^"\\]|\\.)*"/g;
const SAMPLE = /^([a-zA-Z_:]\w*)(?:\{(.*)\})? \S+$/;

/** The text format of Prometheus, as far as what is measured is concerned and not how much. */
const readExposition = (text: string, service: string, found: Map<string, Growing>): void => {
  const metric = (name: string): Growing => {
    const known = found.get(name) ?? { name, services: new Set(), labels: new Set(), type: '', help: '', samples: 0 };
    found.set(name, known);
    known.services.add(service);
    return known;
  };
  for (const line of text.split('\n')) {
    const [, comment = '', name = '', rest = ''] = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line) ?? [];
    if (comment === 'HELP') metric(name).help = rest;
    if (comment === 'TYPE') metric(name).type = rest;
    const [, sampled = '', labels = ''] = SAMPLE.exec(line) ?? [];
    if (sampled === '') continue;
    const own = found.get(sampled) ?? found.get(sampled.replace(/_(bucket|sum|count)$/, ''));
    if (own === undefined) throw new Error(`${service} shows ${sampled} without a type`);
    own.samples += 1;
    for (const [, label = ''] of labels.matchAll(LABEL))
      if (!OF_ALL.has(label) && !OF_BUCKETS.has(label)) own.labels.add(label);
  }
};

/** Ports for probes and metrics, by process. */
export const sidePorts = async (platform: Platform): Promise<Readonly<Record<string, number>>> => {
  const settings = JSON.parse(await readFile(join(platform.data, 'settings.json'), 'utf8')) as {
    ports: Record<string, number>;
  };
  return Object.fromEntries(PROCESSES.map((name) => [name, settings.ports[name] ?? 0]));
};

/** What the processes of a platform show at `/metrics`, by name. */
export const exposed = async (platform: Platform): Promise<ReadonlyMap<string, ExposedMetric>> => {
  const found = new Map<string, Growing>();
  for (const [service, port] of Object.entries(await sidePorts(platform)))
    readExposition(await (await fetch(`http://127.0.0.1:${port}/metrics`)).text(), service, found);
  return found;
};
