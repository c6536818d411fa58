import type { HostTool } from '@xenolith/contracts';
import { Command, InvalidArgumentError, Option } from 'commander';
import type { ArchiveCommandOptions } from './commands/archive.js';
import { down } from './commands/down.js';
import { helm } from './commands/helm.js';
import { hostTool } from './commands/host-tool.js';
import { kubectl } from './commands/kubectl.js';
import { logs } from './commands/logs.js';
import { status } from './commands/status.js';
import type { TimelineOptions } from './commands/timeline.js';
import { test } from './commands/test.js';
import { up } from './commands/up.js';
import { ending, runCommandLine } from './program.js';
import { registerReplay } from './replay/replay.js';
import { SUITES } from './test-run/suites.js';

const integer =
  (least: number, most: number) =>
  (text: string): number => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < least || value > most)
      throw new InvalidArgumentError(`It must be a whole number from ${least} to ${most}.`);
    return value;
  };

const durationSeconds = (text: string): number => {
  const value = Number(text);
  if (!/^\d+(\.\d+)?$/.test(text)) throw new InvalidArgumentError('It must be a number of seconds, 0 or more.');
  return value;
};

const url = (text: string): string => {
  if (!URL.canParse(text)) throw new InvalidArgumentError('It must be a URL such as http://127.0.0.1:4318.');
  return text;
};

/** Ten thousand hosts are what one machine is built to emulate; more is a slip of the finger. */
const MAX_HOSTS = 20_000;
const MAX_PORT = 65_535;
const MAX_LINES = 1_000_000;

/**
 * The newest events stay in any case, as services read them when they start and watches resume among them: the scheduler learns how long machines live from
 * the newest 100,000, the gateway what happened lately from the newest 25,000. With fewer kept, these would need the archive.
 */
const KEPT_EVENTS = 100_000;
const LEAST_KEPT_EVENTS = 25_000;

/** Each tool of a host, and how it is called. */
const TOOL_EXAMPLES = {
  xl: 'host-0001 list',
  xm: 'legacy-0001 list',
  xenstore: 'host-0001 ls',
  brctl: 'host-0001 show',
  ip: 'host-0001 route',
  'ovs-vsctl': 'switched-0001 show',
  virsh: 'kvm-0001 list',
} as const satisfies Readonly<Record<HostTool, string>>;

const EXAMPLES = `
Examples:
  ./xenolith up --hosts 4 --detach         start everything in the background; comes back when it is ready
  ./xenolith kubectl get hosts             the real kubectl, with the right configuration
  ./xenolith xl host-0001 list             what xl prints on a host; xl host-0001 console web-1 shows a guest's console
  ./xenolith xl --direct host-0001 shutdown web-1    what root does on a host, while the control plane is down
  ./xenolith xenstore host-0001 watch /local/domain    changes in a host's xenstore, until Ctrl-C
  ./xenolith status                        what runs
  ./xenolith logs compute -f               what one process says
  ./xenolith up --data ../b --port 7444    a second platform beside the first
  ./xenolith doctor                        what is wrong with an installation, and what to do
  ./xenolith backup ../monday.backup       the log and the hosts' state in one file, while it runs
  ./xenolith archive --older-than 90d --to /srv/archive    old events into files; what was can still be asked
  ./xenolith down                          stop; what was stored stays, the next up goes on from there
  ./xenolith replay --trace examples/office-week.csv    create and delete the machines of a trace, and measure
  ./xenolith test                          run all tests
`;

const dataOption = (): Option =>
  new Option('--data <dir>', 'folder that holds all state and the kubeconfig (default: .xenolith in the checkout)');

const addRunning = (program: Command): void => {
  program
    .command('up')
    .description('start the platform: Postgres, NATS, five services and a fleet of emulated hosts')
    .option('--hosts <n>', 'emulated hosts (default: as before, at first 4)', integer(0, MAX_HOSTS))
    .option(
      '--kvm-hosts <n>',
      'emulated KVM hosts beside them (default: as before, at first none)',
      integer(0, MAX_HOSTS),
    )
    .option(
      '--host-profile <file>',
      'JSON list of Xen hosts of other kinds beside them, such as examples/host-profiles.json (default: as before)',
    )
    .option('--port <n>', 'port of the API on 127.0.0.1 (default: as before, at first 7443)', integer(1, MAX_PORT))
    .addOption(dataOption())
    .option('--detach', 'come back when everything is ready, and leave it running')
    .option(
      '--boot-time <seconds>',
      'how long an emulated guest takes to boot (default: a plausible figure)',
      durationSeconds,
    )
    .option('--seed <n>', 'seed of everything random in the emulated hosts', integer(0, 2 ** 31))
    .option('--otlp <url>', 'send traces to this OpenTelemetry collector (OTLP over HTTP)', url)
    .addHelpText(
      'after',
      '\nDATABASE_URL and NATS_URL name servers of your own; without them, up starts Postgres and NATS itself.\nWithout --detach, Ctrl-C stops everything.',
    )
    .action(
      ending(
        (options: {
          bootTime?: number;
          hosts?: number;
          kvmHosts?: number;
          hostProfile?: string;
          port?: number;
          data?: string;
          detach?: boolean;
          seed?: number;
          otlp?: string;
        }) => up({ ...options, bootTimeSeconds: options.bootTime }),
      ),
    );
  program
    .command('down')
    .description('stop the platform; what it stored stays')
    .addOption(dataOption())
    .action(ending(down));
  program
    .command('status')
    .description('show what runs (exit code 0: all ready, 1: not yet, 3: nothing runs)')
    .addOption(dataOption())
    .addOption(new Option('-o, --output <format>', 'how to print it').choices(['table', 'json']).default('table'))
    .action(ending(status));
  program
    .command('logs')
    .argument('[name]', 'gateway, compute, storage, network, scheduler, agent, nats, postgres or supervisor')
    .description('print the logs of one process, or of all')
    .addOption(dataOption())
    .option('-f, --follow', 'go on printing what is written, until Ctrl-C')
    .option('-n, --lines <n>', 'how many lines of each log', integer(0, MAX_LINES))
    .option('--raw', 'print the JSON as it is logged')
    .action(ending(logs));
};

const addKeeping = (program: Command): void => {
  program
    .command('timeline')
    .description('print or export all that happened between two moments')
    .addOption(dataOption())
    .option('--from <when>', 'such as 10m-ago, 2026-01-31T12:00:00Z, or a position of the log', '1h-ago')
    .option('--to <when>', 'likewise', 'now')
    .option('--object <kind/name>', 'of one object: vm/web-1, vm/default/web-1, or its uid')
    .option('--actor <name>', 'by one user, host or process: admin, host-0003, operations')
    .option('--kind <kind>', 'of one kind, such as vm')
    .addOption(
      new Option('-o, --output <format>', 'text, JSON lines, or CloudEvents 1.0 as JSON lines')
        .choices(['text', 'json', 'cloudevents'])
        .default('text'),
    )
    .action(ending(async (options: TimelineOptions) => (await import('./commands/timeline.js')).timeline(options)));
  program
    .command('verify')
    .description('go through the whole log and its chain of hashes; names the first event that was altered')
    .addOption(dataOption())
    .option('--anchor <position:hash>', 'compare with what an earlier verify printed')
    .action(
      ending(async (options: { data?: string; anchor?: string }) =>
        (await import('./commands/verify.js')).verify(options),
      ),
    );
  program
    .command('archive')
    .description('copy old events into compressed files and remove them from the database; the past stays readable')
    .addOption(dataOption())
    .requiredOption('--older-than <age>', 'how old, such as 30d or 1d12h')
    .requiredOption('--to <place>', 'a folder, or s3://bucket/prefix; the same one each time')
    .option(
      '--keep <n>',
      'newest events that stay, however old',
      integer(LEAST_KEPT_EVENTS, Number.MAX_SAFE_INTEGER),
      KEPT_EVENTS,
    )
    .action(ending(async (options: ArchiveCommandOptions) => (await import('./commands/archive.js')).archive(options)));
  program
    .command('backup')
    .argument('<file>', 'file to write, which must not be there')
    .description('write the log and the state of the hosts into one file, while the platform runs or not')
    .addOption(dataOption())
    .action(
      ending(async (file: string, options: { data?: string }) =>
        (await import('./commands/backup.js')).backup(file, options),
      ),
    );
  program
    .command('restore')
    .argument('<file>', 'what backup has written')
    .description('make a platform of a backup, in an empty folder')
    .addOption(dataOption())
    .action(
      ending(async (file: string, options: { data?: string }) =>
        (await import('./commands/restore.js')).restore(file, options),
      ),
    );
};

const addDoctor = (program: Command): void => {
  program
    .command('doctor')
    .description('look at an installation, running or not, and say what to do (exit code 1: something is wrong)')
    .addOption(dataOption())
    .addOption(new Option('-o, --output <format>', 'how to print it').choices(['table', 'json']).default('table'))
    .action(
      ending(async (options: { data?: string; output?: 'table' | 'json' }) =>
        (await import('./commands/doctor.js')).doctor(options),
      ),
    );
};

const addTools = (program: Command): void => {
  program
    .command('test')
    .description('run all checks and tests; the last line counts them')
    .option('--only <suites>', `some of them, such as unit,lint (${SUITES.map(({ name }) => name).join(', ')})`)
    .action(ending(test));
  program
    .command('kubectl')
    .description('run the real kubectl against the platform ("--data DIR" first, if it is not the default one)')
    .argument('[args...]')
    .allowUnknownOption()
    .helpOption(false)
    .passThroughOptions()
    .action(ending((args: readonly string[]) => kubectl(args)));
  program
    .command('helm')
    .description('run the real Helm, such as: helm template deploy/helm/xenolith')
    .argument('[args...]')
    .allowUnknownOption()
    .helpOption(false)
    .passThroughOptions()
    .action(ending((args: readonly string[]) => helm(args)));
  for (const [tool, example] of Object.entries(TOOL_EXAMPLES) as [HostTool, string][])
    program
      .command(tool)
      .description(
        `what ${tool} prints on a host, such as: ${tool} ${example} (--direct first: through its agent alone)`,
      )
      .argument('[args...]')
      .allowUnknownOption()
      .helpOption(false)
      .passThroughOptions()
      .action(ending((args: readonly string[]) => hostTool(tool, args)));
};

const buildProgram = (): Command => {
  const program = new Command('./xenolith')
    .description('Xenolith: an event-sourced virtualization platform on emulated Xen hosts')
    .usage('<command> [options]')
    .addHelpText('after', EXAMPLES)
    .showHelpAfterError('(./xenolith help <command> says more)')
    .showSuggestionAfterError()
    .enablePositionalOptions();
  addRunning(program);
  addKeeping(program);
  addDoctor(program);
  addTools(program);
  registerReplay(program);
  for (const command of program.commands) command.copyInheritedSettings(program);
  return program;
};

await runCommandLine(buildProgram());
