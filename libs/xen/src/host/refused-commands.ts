import { failed, type ToolOutput } from '../xl/index.js';

const patch = (spec: string): string => `kubectl patch vm NAME --type=merge -p '{"spec":${spec}}'`;
const DEVICES = 'kubectl edit vm NAME';
const WEIGHT = patch('{"cpu":{"weight":W,"cap":C}}');

/** Commands of xl that change something, and what does the same through the platform, which would undo or not know of a change behind its back. */
const INSTEAD: Readonly<Record<string, string>> = {
  'block-attach': `${DEVICES} (spec.disks)`,
  'block-detach': `${DEVICES} (spec.disks)`,
  create: 'kubectl apply -f FILE',
  destroy: 'kubectl xen hard-shutdown NAME',
  'mem-max': `${DEVICES} (spec.memory.staticMax), while it is halted`,
  'mem-set': patch('{"memory":{"dynamicMax":"1Gi"}}'),
  migrate: 'kubectl xen migrate NAME --to HOST',
  'network-attach': `${DEVICES} (spec.nics)`,
  'network-detach': `${DEVICES} (spec.nics)`,
  'pci-attach': `${DEVICES} (spec.devices)`,
  'pci-detach': `${DEVICES} (spec.devices)`,
  pause: 'kubectl xen pause NAME',
  reboot: 'kubectl xen reboot NAME',
  restore: 'kubectl xen resume NAME',
  save: 'kubectl xen suspend NAME',
  shutdown: 'kubectl xen shutdown NAME',
  unpause: 'kubectl xen unpause NAME',
  'usbdev-attach': `${DEVICES} (spec.devices)`,
  'usbdev-detach': `${DEVICES} (spec.devices)`,
  'vcpu-pin': patch('{"cpu":{"pin":"0-3"}}'),
  'vcpu-set': patch('{"cpu":{"vcpus":N}}'),
};

/** Those that a host can do by itself, asked by its own agent. */
const DIRECT: ReadonlySet<string> = new Set(['destroy', 'pause', 'reboot', 'shutdown', 'unpause']);

/** Flags with which a command that looks changes what it looks at. */
const CHANGING_FLAGS: Readonly<Record<string, readonly string[]>> = {
  'sched-credit': ['-w', '-c', '-s', '-t', '-r', '-m'],
  'sched-credit2': ['-w', '-c', '-s', '-r'],
};

/** The refusal of a command that would change something; null: it only looks, or is none. */
export const refusalOf = (
  { tool, host }: { readonly tool: string; readonly host: string },
  command: string,
  args: readonly string[],
): ToolOutput | null => {
  const flagged = (CHANGING_FLAGS[command] ?? []).some((flag) => args.includes(flag));
  const instead = flagged ? WEIGHT : Object.hasOwn(INSTEAD, command) ? INSTEAD[command] : undefined;
  if (instead === undefined) return null;
  const direct = DIRECT.has(command)
    ? `, or, while the control plane is down: ./xenolith ${tool} --direct ${host} ${command} NAME`
    : '';
  return failed(`${tool} ${command}: tools only look from here; instead: ${instead}${direct}`);
};
