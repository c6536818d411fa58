import { randomBytes } from 'node:crypto';
import { InvalidArgumentError, Option, type Command } from 'commander';
import { ending } from '../program.js';
import { say, UserError } from '../terminal.js';
import { ApiClient, readKubeconfig } from './api-client.js';
import { readFleet } from './fleet.js';
import { MachineWatch } from './machine-watch.js';
import { checkHosts, choosePlatform, type ChosenPlatform, type PlatformChoice } from './platform.js';
import { showProgress } from './progress.js';
import { reportOf } from './report.js';
import { Replayer, RUN_LABEL } from './replayer.js';
import { fittingScale, peakServers, sizeOf } from './sizing.js';
import { latencyOf, Usage, type Summary } from './statistics.js';
import { eventsOf, readTrace, type TraceMachine } from './trace.js';

/** Enough to keep a platform on two cores busy; more would only wait in its queues. */
const DEFAULT_CONCURRENCY = 64;
const MOST_CONCURRENT = 1_024;
const MOST_MACHINES = 1_000_000;
const MOST_HOSTS = 20_000;
const EXIT_INTERRUPTED = 130;

export interface ReplayOptions extends PlatformChoice {
  readonly trace: string;
  readonly limit?: number | undefined;
  readonly speed?: number | undefined;
  readonly scale?: number | undefined;
  readonly namespace?: string | undefined;
  readonly concurrency: number;
  readonly keep?: boolean | undefined;
  readonly output: 'text' | 'json';
}

/** Aborted by Ctrl-C. Pressed again it ends the process, having said how to clean up. */
const watchInterrupts = (onSecond: () => void): { readonly signal: AbortSignal; readonly release: () => void } => {
  const abort = new AbortController();
  const interrupt = (): void => {
    if (abort.signal.aborted) {
      onSecond();
      process.exit(EXIT_INTERRUPTED);
    }
    abort.abort();
  };
  process.on('SIGINT', interrupt);
  process.on('SIGTERM', interrupt);
  return {
    signal: abort.signal,
    release: () => {
      process.off('SIGINT', interrupt);
      process.off('SIGTERM', interrupt);
    },
  };
};

const NAME_OF_MACHINE = /^[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?$/;

const replayOn = async (
  platform: ChosenPlatform,
  options: ReplayOptions,
  machines: readonly TraceMachine[],
): Promise<number> => {
  const access = await readKubeconfig(platform.kubeconfig);
  const client = new ApiClient(access, options.concurrency);
  const namespace = options.namespace ?? access.namespace ?? 'default';
  const events = eventsOf(machines);
  const fleet = await readFleet(client);
  checkHosts(platform, fleet.hosts.size, options.hosts);
  const scale = options.scale ?? fittingScale(peakServers(machines, events), fleet.hosts.size);
  const run = randomBytes(4).toString('hex');
  const collection = `/apis/compute.xenolith.dev/v1alpha1/namespaces/${namespace}/virtualmachines`;
  const usage = new Usage((host) => fleet.hosts.get(host) ?? fleet.average);
  const replayer = new Replayer(
    client,
    {
      run,
      collection,
      events,
      sizes: machines.map((machine) => sizeOf(machine, fleet.average, scale)),
      nameOf: (index) => {
        const id = machines[index]?.id.toLowerCase() ?? '';
        return NAME_OF_MACHINE.test(id) ? `replay-${run}-${index}-${id}` : `replay-${run}-${index}`;
      },
      speed: options.speed ?? null,
      concurrency: options.concurrency,
    },
    usage,
  );
  say(`replaying ${machines.length} VMs on ${fleet.hosts.size} hosts of ${access.server}, as run ${run}`);
  const watch = new MachineWatch(client, collection, `${RUN_LABEL}=${run}`, replayer.machines);
  await watch.start();
  const howToClear = `kubectl delete vms -n ${namespace} -l ${RUN_LABEL}=${run}`;
  const interrupts = watchInterrupts(() => {
    if (!platform.temporary) say(`\nends at once; what is left goes with: ${howToClear}`);
    else say(`\nends at once; the temporary platform goes with: ${platform.howToStop}`);
  });
  interrupts.signal.addEventListener('abort', () => {
    say('\nstopping; once more to end at once');
    replayer.stop();
  });
  const endProgress = showProgress(replayer, events.length);
  await replayer.run();
  endProgress();
  const summary = summaryOf(replayer, {
    trace: options.trace,
    machines: machines.length,
    hosts: fleet.hosts.size,
    scale,
    interrupted: interrupts.signal.aborted,
  });
  process.stdout.write(options.output === 'json' ? `${JSON.stringify(summary, null, 2)}\n` : `${reportOf(summary)}\n`);
  if (!platform.temporary) await clearUp(replayer, options, howToClear);
  interrupts.release();
  await watch.stop();
  client.close();
  return summary.interrupted ? EXIT_INTERRUPTED : 0;
};

const clearUp = async (replayer: Replayer, options: ReplayOptions, howToClear: string): Promise<void> => {
  const left = replayer.machines.present.size;
  if (left === 0) return;
  if (options.keep === true) {
    say(`${left} VMs stay, as --keep says. They go with: ${howToClear}`);
    return;
  }
  say(`deleting the ${left} VMs that the trace leaves running`);
  const stuck = await replayer.clear();
  if (stuck > 0) throw new UserError(`${stuck} VMs could not be deleted.`, [`Try: ${howToClear}`]);
};

const summaryOf = (
  replayer: Replayer,
  about: Pick<Summary, 'trace' | 'machines' | 'hosts' | 'scale' | 'interrupted'>,
): Summary => {
  const { machines, seconds } = replayer;
  const round = (value: number): number => Math.round(1000 * value) / 1000;
  return {
    ...about,
    scale: round(about.scale),
    seconds: round(seconds),
    accepted: machines.accepted,
    running: machines.running,
    refused: machines.refused,
    refusals: machines.refusals.list(),
    deleted: replayer.deleted,
    runningPerSecond: round(machines.running / Math.max(0.001, seconds)),
    latencyMs: latencyOf(machines.latencies),
    density: replayer.samples,
  };
};

/** Replays a trace; the answer is the exit code. Throws a UserError for what a person can mend. */
export const replay = async (options: ReplayOptions): Promise<number> => {
  // First what costs nothing: a wrong file name should not start a platform.
  const machines = await readTrace(options.trace, options.limit ?? MOST_MACHINES);
  const platform = await choosePlatform(options);
  try {
    return await replayOn(platform, options, machines);
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ECONNREFUSED')
      throw new UserError(`nobody answers at the API of ${platform.kubeconfig}.`, [
        'Start the platform with ./xenolith up, or name another with --kubeconfig.',
      ]);
    throw cause;
  } finally {
    await platform.close();
  }
};

const wholeNumber =
  (most: number) =>
  (text: string): number => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < 1 || value > most)
      throw new InvalidArgumentError(`It must be a whole number from 1 to ${most}.`);
    return value;
  };

const positiveNumber = (text: string): number => {
  const value = Number(text);
  if (!/^\d+(\.\d+)?$/.test(text) || value <= 0) throw new InvalidArgumentError('It must be a number above 0.');
  return value;
};

const HELP = `
A trace is a CSV file with the columns vmId,tenantId,cores,ram,vmTypeId,starttime,endtime: hundredths of a core, GB, days.
Its VMs were packed on servers of 96 cores and 2250 GB. Each takes the same share of a host here as it took of such a
server; when the trace needs more servers than there are hosts, sizes shrink together until its peak fills 90 % of the
hosts (--scale 1 keeps them). What no host has room for is refused and counted, and the replay goes on.

Examples:
  ./xenolith replay --trace examples/office-week.csv
  ./xenolith replay --trace azure-packing-1pct-bernoulli-0.csv --hosts 40 --limit 5000
  ./xenolith replay --trace examples/office-week.csv --speed 86400 -o json      a day of the trace in a second
`;

/** Adds the command `replay`. */
export const registerReplay = (program: Command): void => {
  program
    .command('replay')
    .description('create and delete the VMs of a trace through the API, and measure')
    .requiredOption('--trace <file>', 'the trace')
    .option(
      '--hosts <n>',
      'hosts that it needs: a temporary platform is started unless one with as many runs already, or is named',
      wholeNumber(MOST_HOSTS),
    )
    .option('--limit <n>', 'only the first VMs of the trace', wholeNumber(MOST_MACHINES))
    .option('--speed <x>', 'x times as fast as it was (default: as fast as the platform takes it)', positiveNumber)
    .option('--scale <x>', 'servers of the trace that each host stands for (default: so that it fits)', positiveNumber)
    .option('--kubeconfig <file>', 'the platform to replay on (default: the one that runs)')
    .option('--data <dir>', 'data folder of the platform to replay on')
    .option('-n, --namespace <name>', 'namespace for the VMs (default: the context’s)')
    .option('--concurrency <n>', 'events under way at once', wholeNumber(MOST_CONCURRENT), DEFAULT_CONCURRENCY)
    .option('--keep', 'leave the VMs that the trace leaves running')
    .addOption(
      new Option('-o, --output <format>', 'how to print the summary').choices(['text', 'json']).default('text'),
    )
    .addHelpText('after', HELP)
    .action(ending(replay));
};
