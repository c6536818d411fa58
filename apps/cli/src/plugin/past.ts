import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { documentDiff, type FieldChange, type JsonObject } from '@xenolith/kernel';
import { z } from 'zod';
import { say, table, UserError } from '../terminal.js';
import { readRaw, type ClusterOptions } from './cluster.js';
import { readKubectl } from './kubectl.js';
import { objectOf } from './object-path.js';
import { momentOf } from './when.js';

export interface PastOptions extends ClusterOptions {
  readonly output?: 'text' | 'json' | undefined;
  readonly uid?: string | undefined;
}

const fieldChange = z.looseObject({
  op: z.enum(['add', 'remove', 'replace']),
  path: z.string(),
  from: z.unknown().optional(),
  value: z.unknown().optional(),
});

const historyPage = z.looseObject({
  metadata: z.looseObject({ uid: z.string(), continue: z.string().optional() }),
  items: z.array(
    z.looseObject({
      position: z.number(),
      time: z.string(),
      type: z.string(),
      message: z.string().optional(),
      actor: z.string(),
      command: z.looseObject({ type: z.string().optional() }),
      changes: z.array(fieldChange).default([]),
    }),
  ),
});
type Entry = z.infer<typeof historyPage>['items'][number];

const explanation = z.looseObject({
  sentence: z.string(),
  chain: z.array(
    z.looseObject({
      position: z.number(),
      time: z.string().optional(),
      type: z.string().optional(),
      actor: z.string().optional(),
      sentence: z.string(),
    }),
  ),
  hindrance: z.looseObject({ position: z.number(), time: z.string().optional(), sentence: z.string() }).optional(),
});

const print = (text: string): void => {
  process.stdout.write(text.endsWith('\n') ? text : `${text}\n`);
};

const json = (value: unknown): void => print(JSON.stringify(value, null, 2));

const withQuery = (target: string, query: Readonly<Record<string, string | undefined>>): string => {
  const stated = Object.entries(query).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}=${encodeURIComponent(value)}`],
  );
  return stated.length === 0 ? target : `${target}?${stated.join('&')}`;
};

/** Events of a page of the API. */
const PAGE = '500';

const shortly = (value: unknown): string => {
  const text = value === undefined ? 'nothing' : JSON.stringify(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
};

const changeLine = ({ op, path: field, from, value }: FieldChange | z.infer<typeof fieldChange>): string => {
  if (field === '') return op === 'add' ? '+ the object' : '- the object';
  if (op === 'add') return `+ ${field}: ${shortly(value)}`;
  return op === 'remove' ? `- ${field}: ${shortly(from)}` : `~ ${field}: ${shortly(from)} -> ${shortly(value)}`;
};

const historyText = (entries: readonly Entry[], withChanges: boolean): string => {
  const rows = entries.map((entry) => [
    String(entry.position),
    entry.time,
    entry.actor,
    entry.type,
    entry.message ?? entry.command.type ?? '',
  ]);
  const lines = table([['POSITION', 'TIME', 'ACTOR', 'EVENT', 'MESSAGE'], ...rows]).split('\n');
  if (!withChanges) return lines.join('\n');
  const [head = '', ...told] = lines;
  return [
    head,
    ...told.flatMap((line, index) => [
      line,
      ...(entries[index]?.changes ?? []).map((each) => `    ${changeLine(each)}`),
    ]),
  ].join('\n');
};

/** All that happened to an object, oldest first. */
export const history = async (
  words: readonly string[],
  options: PastOptions & { readonly limit: number; readonly changes?: boolean | undefined },
): Promise<number> => {
  const { path: target } = await objectOf(words, options);
  let entries: Entry[] = [];
  let [next, left]: [string | undefined, number] = [undefined, 0];
  do {
    const query = withQuery(`${target}/history`, { limit: PAGE, uid: options.uid, continue: next });
    const page = historyPage.parse(JSON.parse(await readRaw(options, query)));
    entries.push(...page.items);
    left += Math.max(0, entries.length - options.limit);
    entries = entries.slice(-options.limit);
    next = page.metadata.continue;
  } while (next !== undefined);
  if (options.output === 'json') json(entries);
  else print(historyText(entries, options.changes === true));
  if (left > 0) say(`${left} older events are left out; --limit ${left + entries.length} shows all.`);
  return 0;
};

/** What set a field, and what led there. */
export const why = async (
  words: readonly string[],
  options: PastOptions & { readonly field?: string | undefined },
): Promise<number> => {
  const { path: target } = await objectOf(words, options);
  const text = await readRaw(options, withQuery(`${target}/why`, { field: options.field, uid: options.uid }));
  if (options.output === 'json') {
    json(JSON.parse(text));
    return 0;
  }
  const { sentence, chain, hindrance } = explanation.parse(JSON.parse(text));
  print(sentence.slice(0, sentence.indexOf(': ') + 1));
  chain.forEach((link, index) => {
    print(`${'  '.repeat(index + 1)}${index === 0 ? '' : 'because '}${link.sentence}`);
    print(
      `${'  '.repeat(index + 1)}  position ${link.position}, ${link.time ?? ''} ${link.type ?? ''} by ${link.actor ?? ''}`,
    );
  });
  if (hindrance !== undefined) {
    print(`  nothing came of what was tried since: ${hindrance.sentence}`);
    print(`    position ${hindrance.position}, ${hindrance.time ?? ''}`);
  }
  return 0;
};

const document = z.custom<JsonObject>((value) => typeof value === 'object' && value !== null);

/** What changed in an object from one moment to another. */
export const diff = async (
  words: readonly string[],
  options: PastOptions & { readonly from: string; readonly to: string },
): Promise<number> => {
  const { path: target } = await objectOf(words, options);
  const now = Date.now();
  const read = async (when: string): Promise<JsonObject> => {
    const asOf = `/asof/${momentOf(when, now)}${withQuery(target, { uid: options.uid })}`;
    return document.parse(JSON.parse(await readRaw(options, asOf)));
  };
  const changes = documentDiff(await read(options.from), await read(options.to));
  if (options.output === 'json') json(changes);
  else if (changes.length === 0) say('Nothing changed between the two.');
  else print(changes.map(changeLine).join('\n'));
  return 0;
};

const CLUSTER_FLAGS = ['--context', '--kubeconfig', '--cluster', '--user'];

/** Flags among kubectl's own that say which cluster is meant. */
const clusterFlagsIn = (args: readonly string[]): readonly string[] =>
  args.flatMap((arg, index) => {
    if (CLUSTER_FLAGS.some((flag) => arg.startsWith(`${flag}=`))) return [arg];
    return CLUSTER_FLAGS.includes(arg) ? [arg, args[index + 1] ?? ''] : [];
  });

const AT_HELP = `Usage: kubectl xen at <when> [--speed <n>] <arguments of kubectl>

Runs kubectl on the platform as it was: read-only, with ages as they were.
A watch (-w) replays what happened since, in real time or --speed times as fast (max: as fast as it can be read), and ends at the present.

  kubectl xen at 10m-ago get vms
  kubectl xen at 2026-01-31T12:00:00Z get vm web-1 -o yaml
  kubectl xen at 1h-ago --speed 60 get vms -w
`;

/** `at <when> [--speed n] …`: everything behind it is kubectl's. The answer is its exit code. */
export const at = async (args: readonly string[]): Promise<number> => {
  const [when, ...rest] = args;
  if (when === undefined || when === '--help' || when === '-h') {
    print(AT_HELP);
    return when === undefined ? 1 : 0;
  }
  const speed =
    rest[0] === '--speed' ? rest[1] : rest[0]?.startsWith('--speed=') === true ? rest[0].slice(8) : undefined;
  const own = speed === undefined ? rest : rest.slice(rest[0] === '--speed' ? 2 : 1);
  if (own.length === 0)
    throw new UserError('say what kubectl is to do there.', [`For example: kubectl xen at ${when} get vms`]);
  const moment = momentOf(when, Date.now());
  const find = ['config', 'view', '--minify', '--output=jsonpath={.clusters[0].cluster.server}'];
  const server = (await readKubectl([...clusterFlagsIn(own), ...find])).replace(/\/+$/, '');
  // Every moment is a server of its own to kubectl: what it remembers of them would pile up.
  const cache = await mkdtemp(path.join(tmpdir(), 'kubectl-xen-at-'));
  const options = speed === undefined ? '' : `;speed=${speed}`;
  try {
    const flags = [`--server=${server}/asof/${moment}${options}`, `--cache-dir=${cache}`];
    const child = spawn('kubectl', [...own, ...flags], { stdio: 'inherit' });
    process.on('SIGINT', () => undefined);
    const [code] = (await once(child, 'exit')) as [number | null];
    return code ?? 1;
  } finally {
    await rm(cache, { recursive: true, force: true });
  }
};
