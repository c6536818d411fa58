import { MIGRATION_POLICIES } from '@xenolith/contracts';
import { Argument, Command, InvalidArgumentError, Option } from 'commander';
import { ending, runCommandLine } from '../program.js';
import { act, ACTIONS, type ActionOptions } from './action.js';
import type { ClusterOptions } from './cluster.js';
import { showConsole } from './console.js';
import { drain, undrain, type DrainOptions } from './drain.js';
import { setParked } from './park.js';
import { at, diff, history, why, type PastOptions } from './past.js';
import { SORT_KEYS, topHosts, topMachines, type TopOptions } from './top.js';

const program = new Command('kubectl xen')
  .description(
    'Actions on virtual machines (each makes an Operation, which kubectl get operations shows), and looks at them.',
  )
  .argument('<action>', [...ACTIONS.keys()].join(', '))
  .argument('[name]', 'the virtual machine (for retry, undo and abandon: the operation)')
  .option('-n, --namespace <namespace>', "namespace (default: the context's)")
  .option('-w, --wait', 'show its progress, and end when it does')
  .option(
    '--to <name>',
    'migrate: the host that it is to run on (default: the one with most room); revert: the snapshot that it is put back to',
  )
  .option('--name <name>', 'snapshot, checkpoint: name of the snapshot')
  .addOption(new Option('--policy <policy>', 'migrate: when to stop copying').choices(MIGRATION_POLICIES))
  .option(
    '--allow-overcommit',
    'migrate, start, resume: even if the cluster could not survive the losses of hosts any more that it promises to',
  )
  .option('--paused', 'start, resume: leave it paused')
  .addOption(new Option('--context <name>', 'context of the kubeconfig'))
  .addOption(new Option('--kubeconfig <file>', 'kubeconfig'))
  .addHelpText(
    'after',
    '\nExamples:\n  kubectl xen reboot web-1\n  kubectl xen shutdown web-1 --wait\n  kubectl xen migrate web-1 --to host-0003 --wait\n  kubectl xen checkpoint web-1 --name before-upgrade\n  kubectl xen revert web-1 --to before-upgrade\n  kubectl xen top vms --sort-by cpu\n  kubectl xen drain host-0003 --wait\n  kubectl xen park host-0003\n',
  )
  .showHelpAfterError('(kubectl xen --help says more)')
  .action(
    ending((action: string, name: string | undefined, options: ActionOptions) => {
      // kubectl takes flags for itself unless they come last; a word is what people try first.
      if (action === 'help') program.help();
      return act(action, name, options);
    }),
  );

const positive = (text: string): number => {
  if (!/^[1-9]\d{0,6}$/.test(text)) throw new InvalidArgumentError('It must be a whole number, 1 or more.');
  return Number(text);
};

const NAMES_OF: Readonly<Record<string, typeof topHosts>> = {
  hosts: topHosts,
  host: topHosts,
  vms: topMachines,
  vm: topMachines,
  virtualmachines: topMachines,
};

program
  .command('top')
  .description('what hosts or virtual machines use: CPU, memory, I/O')
  .addArgument(new Argument('<what>', 'hosts or vms').choices(Object.keys(NAMES_OF)))
  .argument('[name]', 'one of them alone')
  .option('-A, --all-namespaces', 'of all namespaces')
  .option('-l, --selector <labels>', 'only those with these labels')
  .addOption(new Option('--sort-by <figure>', 'the busiest first').choices(SORT_KEYS))
  .action(
    ending((what: string, name: string | undefined, _own: object, command: Command) =>
      (NAMES_OF[what] ?? topHosts)(name, command.optsWithGlobals<TopOptions>()),
    ),
  );

program
  .command('console')
  .description('what the console of a virtual machine has shown')
  .argument('<name>', 'the virtual machine')
  .action(
    ending((name: string, _own: object, command: Command) =>
      showConsole(name, command.optsWithGlobals<ClusterOptions>()),
    ),
  );

program
  .command('drain')
  .description('puts a host under maintenance: its machines move to other hosts (-w: shows it until none is left)')
  .argument('<host>', 'the host')
  .action(
    ending((host: string, _own: object, command: Command) => drain(host, command.optsWithGlobals<DrainOptions>())),
  );

program
  .command('undrain')
  .description('ends the maintenance of a host')
  .argument('<host>', 'the host')
  .action(
    ending((host: string, _own: object, command: Command) => undrain(host, command.optsWithGlobals<ClusterOptions>())),
  );

const POWER = {
  park: 'powers a host off once its machines have moved to other hosts, and shows how far that is',
  wake: 'powers a parked host on, and shows it until it is up',
} as const;

for (const wish of ['park', 'wake'] as const)
  program
    .command(wish)
    .description(POWER[wish])
    .argument('<host>', 'the host')
    .option('--no-wait', 'do not wait until it is done')
    .action(
      ending((host: string, own: { readonly wait: boolean }, command: Command) =>
        setParked(host, wish, { ...command.optsWithGlobals<ClusterOptions>(), noWait: !own.wait }),
      ),
    );

const output = (): Option =>
  new Option('-o, --output <format>', 'how to print it').choices(['text', 'json']).default('text');
const uid = (): Option => new Option('--uid <uid>', 'of several that had the name one after the other, this one');
const OBJECT = 'vm web-1, host host-0001, operation/…; a name alone is a virtual machine';

program
  .command('why')
  .description('what set a field of an object, and what led there, from the request or fault on')
  .argument('<object...>', OBJECT)
  .option(
    '--field <path>',
    'such as status.host or status.conditions[Ready].reason (default: its power state or phase)',
  )
  .addOption(uid())
  .addOption(output())
  .action(
    ending((words: readonly string[], _own: object, command: Command) =>
      why(words, command.optsWithGlobals<PastOptions & { field?: string }>()),
    ),
  );

program
  .command('history')
  .description('all that happened to an object, deleted ones too')
  .argument('<object...>', OBJECT)
  .option('--limit <n>', 'the newest events, so many', positive, 100)
  .option('--changes', 'show what each event changed')
  .addOption(uid())
  .addOption(output())
  .action(
    ending((words: readonly string[], _own: object, command: Command) =>
      history(words, command.optsWithGlobals<PastOptions & { limit: number; changes?: boolean }>()),
    ),
  );

program
  .command('diff')
  .description('what changed in an object from one moment to another')
  .argument('<object...>', OBJECT)
  .requiredOption('--from <when>', 'such as 10m-ago, 2026-01-31T12:00:00Z, or a position of the log')
  .option('--to <when>', 'likewise', 'now')
  .addOption(uid())
  .addOption(output())
  .action(
    // The plugin's own --to is read first, wherever it stands.
    ending((words: readonly string[], _own: object, command: Command) =>
      diff(words, command.optsWithGlobals<PastOptions & { from: string; to: string }>()),
    ),
  );

program
  .command('at')
  .description('kubectl as of a moment of the past, such as: at 10m-ago get vms')
  .argument('<when> [args...]');

// Everything behind the moment is kubectl's, which commander would take for ours.
const [, , action, ...rest] = process.argv;
if (action === 'at') {
  const asIs = new Command('kubectl xen at');
  await runCommandLine(
    asIs
      .argument('[args...]')
      .allowUnknownOption()
      .helpOption(false)
      .passThroughOptions()
      .action(ending(() => at(rest))),
  );
} else await runCommandLine(program);
