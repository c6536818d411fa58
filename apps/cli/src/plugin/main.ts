import { Command, Option } from 'commander';
import { ending, runCommandLine } from '../program.js';
import { act, ACTIONS, type ActionOptions } from './action.js';

const program = new Command('kubectl xen')
  .description('Actions on virtual machines: each makes an Operation, which kubectl get operations shows.')
  .argument('<action>', [...ACTIONS.keys()].join(', '))
  .argument('[name]', 'the virtual machine (for retry, undo and abandon: the operation)')
  .option('-n, --namespace <namespace>', "namespace (default: the context's)")
  .option('-w, --wait', 'show its progress, and end when it does')
  .addOption(new Option('--context <name>', 'context of the kubeconfig'))
  .addOption(new Option('--kubeconfig <file>', 'kubeconfig'))
  .addHelpText('after', '\nExamples:\n  kubectl xen reboot web-1\n  kubectl xen shutdown web-1 --wait\n')
  .showHelpAfterError('(kubectl xen --help says more)')
  .action(
    ending((action: string, name: string | undefined, options: ActionOptions) => {
      // kubectl takes flags for itself unless they come last; a word is what people try first.
      if (action === 'help') program.help();
      return act(action, name, options);
    }),
  );

await runCommandLine(program);
