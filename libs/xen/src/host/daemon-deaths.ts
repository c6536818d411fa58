import { reject, sameJson, type Rejection } from '@xenolith/kernel';
import type { DeviceFault, MortalDaemon } from '../device-fault.js';
import { Daemons, type DaemonName } from '../dom0/index.js';
import type { DomainSettings, HostInput } from '../host-model.js';
import { failed, type ToolOutput } from '../xl/index.js';
import { nowMs, refuse } from './answers.js';
import { struckBy, type FaultyHost, type FaultyMachine } from './faults.js';
import { isDeviceModelKilled } from './device-model.js';
import { pauseGuest } from './guest-life.js';
import { releaseOfHost, type Host, type HostState, type HostTask, type Machine } from './host-state.js';
import { hasDevice, isStuck } from './machine-devices.js';

const MORTAL = ['xenstored', 'xenconsoled', 'xend'] as const satisfies readonly (MortalDaemon & DaemonName)[];

/** Daemons without which nothing can be done to domains. */
const CONTROL_PLANE: readonly string[] = ['xenstored', 'xend', 'libvirtd'];

/** What is struck is the host itself. */
const hostAsTarget = ({ name, bootId }: { name: string; bootId: string }): FaultyMachine => ({
  uid: bootId,
  incarnation: 0,
  domid: 0,
  settings: { name },
});

/** Whether a fault in force kills the daemon, this process of it. */
export const isKilled = (
  host: FaultyHost & { state: { name: string; bootId: string } },
  daemon: MortalDaemon,
  process: number,
): boolean => {
  const target = { machine: hostAsTarget(host.state), device: daemon, what: `kill/${process}` };
  return struckBy(host, target, 'killDaemon', ({ killDaemon }) => killDaemon === daemon) !== null;
};

/** Whether the daemon is to stay dead: nobody starts it again before the rule is taken back. */
export const staysDead = (faults: readonly DeviceFault[], daemon: MortalDaemon): boolean =>
  faults.some(({ effects }) => effects.killDaemon === daemon);

const daemonsOf = ({ state }: Pick<Host, 'state'>): Daemons => new Daemons(state.daemons, releaseOfHost({ state }));

/** Daemons that the release has and that do not run. */
export const lostDaemons = (state: HostState): readonly MortalDaemon[] => {
  const { xend } = releaseOfHost({ state });
  const daemons = daemonsOf({ state });
  return MORTAL.filter((daemon) => (daemon !== 'xend' || xend) && daemons.running(daemon) === null);
};

/** Who waits for the toolstack waits in vain. */
const letWaitersDown = (host: Host): void => {
  for (const machine of Object.values(host.state.machines))
    for (const { ticket } of machine.waiting.splice(0))
      refuse(host, ticket, controlPlaneLost(host.state.name, 'xenstored'));
};

const controlPlaneLost = (host: string, daemon: string): { readonly rejection: Rejection } => {
  const until =
    daemon === 'xenstored' ? 'and can not be started again before the host boots' : 'and has not been started again';
  return reject(
    'host_control_plane_lost',
    `${daemon} of ${host} has died ${until}: guests run on, and nothing can be done to them`,
  );
};

/** Faults came or went, or the host has booted: daemons die, and those that nobody wants dead any more are started. */
export const followDaemons = (host: Host): void => {
  const { faults } = host.state;
  const daemons = daemonsOf(host);
  let changed = false;
  for (const daemon of MORTAL) {
    const process = daemons.running(daemon);
    if (process !== null && isKilled(host, daemon, process.pid)) {
      daemons.kill(process.pid);
      if (daemon === 'xenstored') letWaitersDown(host);
      changed = true;
    } else if (process === null && !staysDead(faults, daemon)) changed = daemons.start(daemon).ok || changed;
  }
  if (changed) host.events.push({ type: 'daemonsChanged', at: nowMs(host) });
};

/** The device model of a machine dies where a fault in force says so; one without PV drivers waits for its answers for ever then. */
export const mayLoseDeviceModel = (host: Host, machine: Machine): void => {
  if (host.state.faults.length === 0 || !isDeviceModelKilled(host, machine)) return;
  machine.deviceModel = 'lost';
  if (isStuck(machine)) pauseGuest(host, machine);
  const { uid, incarnation, domid } = machine;
  host.events.push({ type: 'deviceModelLost', at: nowMs(host), uid, incarnation, domid });
};

/** Commands that need the device model's help, or its state. */
const BY_DEVICE_MODEL: ReadonlySet<HostInput['do']> = new Set(['suspend', 'checkpoint', 'migrate', 'give', 'take']);

/** Whether the command needs the device model of a machine that lost its own: then it is refused. */
export const refusedWithoutDeviceModel = (host: Host, input: HostInput): boolean => {
  if (!BY_DEVICE_MODEL.has(input.do) || !('ticket' in input) || !('uid' in input)) return false;
  const machine = host.state.machines[input.uid];
  if (machine?.deviceModel !== 'lost') return false;
  const message = `${machine.settings.name} on ${host.state.name}: its device model has died, and nothing answers for it; a hard reboot starts another`;
  refuse(host, input.ticket, reject('host_device_failed', message, { details: { device: 'device-model' } }));
  return true;
};

/** What asks a host for the end of its own part of a migration, or for nothing. */
const GOES_ON: ReadonlySet<HostInput['do']> = new Set([
  'cancelMigration',
  'settleMigration',
  'peer',
  'peerRefused',
  'guestEnds',
]);
const BEGINS: ReadonlySet<HostInput['do']> = new Set(['start', 'resume', 'receive']);

/** Of a machine on a host of either kind, what commands may find as they want it. */
interface AskedMachine {
  readonly paused: boolean;
  readonly settings: DomainSettings;
}

const isAsAsked = ({ paused, settings }: AskedMachine, input: HostInput): boolean => {
  if (input.do === 'pause' || input.do === 'unpause') return paused === (input.do === 'pause');
  if (input.do === 'change') return sameJson({ ...settings, ...input.change }, settings);
  if (input.do === 'detach') return !hasDevice(settings, input);
  return input.do === 'take' && !(settings.devices ?? []).some(({ name }) => name === input.name);
};

/** Whether the command needs the control plane, and that is gone: then it is refused. */
export const refusedWithout = (
  host: FaultyHost & { state: { name: string; machines: Readonly<Record<string, AskedMachine>> } },
  lost: readonly MortalDaemon[],
  input: HostInput,
): boolean => {
  const daemon = lost.find((each) => CONTROL_PLANE.includes(each));
  if (daemon === undefined || GOES_ON.has(input.do) || !('ticket' in input) || !('uid' in input)) return false;
  const machine = host.state.machines[input.uid];
  // There is nothing to be done to a machine that is not here, nor to one that is as it shall be: what was refused needs no taking back.
  if (!BEGINS.has(input.do) && (machine === undefined || isAsAsked(machine, input))) return false;
  refuse(host, input.ticket, controlPlaneLost(host.state.name, daemon));
  return true;
};

/** Nobody destroys domains or builds others. */
export const hasToolstack = (state: HostState): boolean =>
  !lostDaemons(state).some((daemon) => CONTROL_PLANE.includes(daemon));

const BY_STORE: ReadonlySet<HostTask['do']> = new Set([
  'watch',
  'script',
  'deviceTimer',
  'retry',
  'deviceModel',
  'driverDomain',
]);

/** What would have been told through the store is not heard by anybody. */
export const isUnheard = ({ daemons }: HostState, { do: what }: HostTask): boolean =>
  daemons.storeLost && BY_STORE.has(what);

/**
 * What a tool says when the daemon that it asks is dead; null: it has its answer. `xend`: tools/python/xen/xm/main.py at RELEASE-4.4.0. Without xenstored the tools open
 * the kernel's device instead of its socket (tools/libs/store/xs.c, `xs_open`), where nobody answers.
 */
export const unansweredTool = (state: HostState, tool: string): ToolOutput | null => {
  const lost = lostDaemons(state);
  const asksStore = tool === 'xl' || tool === 'xm' || tool === 'xenstore';
  if (tool === 'xm' && lost.includes('xend'))
    return failed('Error: Unable to connect to xend: Connection refused. Is xend running?');
  if (!asksStore || !lost.includes('xenstored')) return null;
  return failed(`${tool}: xenstored of ${state.name} has died: on a real host this waits for ever (interrupted)`);
};
