import { VIRTUAL_EPOCH_MS } from '@xenolith/testing';
import { writeFileSync } from 'node:fs';
import { chosenHistories, eventTypes, goldenText } from './golden.js';
import { MUTANTS } from './mutants.js';
import { simulate, type Outcome } from './run.js';

const USAGE = `usage: npm run simulate -- [--seeds N] [--from SEED] [--mutant NAME] [--trace TEXT]
  --seeds N      how many runs (default 100)
  --from SEED    seed of the first (default: drawn)
  --trace TEXT   show every event whose line holds TEXT (a uid, a type); '' shows all
  --record FILE  write histories that hold each type of event that came up, for later releases to read
  --mutant NAME  take a guard out: ${MUTANTS.map((mutant) => mutant.name).join(', ')}`;

/** Broken promises shown of one run: more of them rarely say more. */
const MOST_SHOWN = 10;

const option = (name: string): string | undefined => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? undefined : process.argv[at + 1];
};

const show = (outcome: Outcome): void => {
  console.log(`seed ${outcome.seed}: ${outcome.events} events, log ${outcome.hash}`);
  for (const what of outcome.broken.slice(0, MOST_SHOWN)) console.log(`  broken: ${what}`);
};

const record = (file: string, outcomes: readonly Outcome[]): void => {
  const histories = chosenHistories(outcomes.map(({ log }) => log));
  writeFileSync(file, goldenText(histories));
  const held = new Set(histories.flat().map(({ type }) => type));
  const missing = eventTypes().filter((type) => !held.has(type));
  console.log(`${file}: ${histories.length} streams, ${held.size} types of events; did not come up: ${missing.join()}`);
};

/** One line per event: position, virtual seconds since the start, stream and version, who, what. */
const trace = (outcome: Outcome, wanted: string): void => {
  for (const { position, metadata, category, streamId, version, type, data } of outcome.log) {
    const seconds = ((metadata.at - VIRTUAL_EPOCH_MS) / 1000).toFixed(3);
    const line = `${position} ${seconds} ${category}/${streamId}@${version} ${metadata.actor} ${type} ${JSON.stringify(data)}`;
    if (line.includes(wanted)) console.log(line);
  }
};

const main = async (): Promise<number> => {
  if (process.argv.includes('--help')) {
    console.log(USAGE);
    return 0;
  }
  const seeds = Number(option('seeds') ?? 100);
  const from = Number(option('from') ?? Math.floor(Math.random() * 2 ** 31));
  const wanted = option('mutant');
  const mutant = MUTANTS.find((known) => known.name === wanted);
  if (!Number.isInteger(seeds) || !Number.isInteger(from) || (wanted !== undefined && !mutant)) {
    console.error(USAGE);
    return 64;
  }
  const traced = option('trace');
  const recorded = option('record');
  const outcomes: Outcome[] = [];
  const start = performance.now();
  let failures = 0;
  for (let seed = from; seed < from + seeds; seed += 1) {
    const outcome = await simulate(seed, mutant);
    if (recorded !== undefined) outcomes.push(outcome);
    if (traced !== undefined) trace(outcome, traced);
    if (outcome.broken.length > 0) {
      failures += 1;
      show(outcome);
      console.log(`  again: npm run simulate -- --seeds 1 --from ${seed}${mutant ? ` --mutant ${mutant.name}` : ''}`);
      if (mutant) break;
    } else if (seeds <= 20) show(outcome);
    if (process.stdout.isTTY) process.stdout.write(`\r${seed - from + 1} of ${seeds} runs, ${failures} broken `);
  }
  console.log(
    `\n${seeds} runs from seed ${from}, ${failures} broken, ${((performance.now() - start) / 1000).toFixed(1)} s`,
  );
  if (recorded !== undefined) record(recorded, outcomes);
  return failures > 0 === (mutant !== undefined) ? 0 : 1;
};

process.exitCode = await main();
