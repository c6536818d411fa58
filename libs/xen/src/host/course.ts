import { reject } from '@xenolith/kernel';
import type { DeviceFault } from '../device-fault.js';
import type { HostInput } from '../host-model.js';
import { nextDueUs, takeDue, type AgendaState } from './agenda.js';
import { nowMs, refuse, US_PER_MS } from './answers.js';
import { isUp, powerOff, powerOn, type PoweredHost } from './power.js';

/** Commands that a host which boots keeps for later; more are refused. */
const WAITING_WHILE_DOWN = 1_024;

/** A host of either kind, as far as it lives in time. */
interface TimedHost<Task> extends PoweredHost {
  readonly state: PoweredHost['state'] & {
    nowUs: number;
    bootedUs: number;
    waiting: HostInput[];
    readonly agenda: AgendaState<Task>;
  };
}

/** What is not done to a host by its own software. */
type FromOutside = 'crash' | 'setFaults' | 'powerOff' | 'powerOn';
export type HostCommand = Exclude<HostInput, { do: FromOutside }>;

/** What a kind of host does when something is due, or somebody says something. */
export interface Course<Host extends TimedHost<Task>, Task> {
  perform(host: Host, task: Task): void;
  /** Whether a task still means anything. */
  stillApplies(host: Host, task: Task): boolean;
  /** After all that happens. */
  follow(host: Host): void;
  /** Before time goes on. */
  settle(host: Host): void;
  /** It is up again, and has answered nobody yet. */
  booted(host: Host): void;
  crash(host: Host): void;
  severMigrations(host: Host): void;
  /** All that was in memory is gone. */
  reset(host: Host): void;
  /** Another boot begins. */
  boot(host: Host): void;
  setFaults(host: Host, faults: readonly DeviceFault[]): void;
  command(host: Host, input: HostCommand): void;
}

export const dueUsOf = ({ off, upAtUs, agenda }: TimedHost<unknown>['state']): number | null =>
  off === true ? null : (upAtUs ?? nextDueUs(agenda));

const moveTo = <Task, Host extends TimedHost<Task>>(course: Course<Host, Task>, host: Host, nowUs: number): void => {
  if (nowUs <= host.state.nowUs) return;
  course.settle(host);
  host.state.nowUs = nowUs;
};

const finishBoot = <Task, Host extends TimedHost<Task>>(course: Course<Host, Task>, host: Host): void => {
  const { state } = host;
  const waiting = state.waiting.splice(0);
  state.upAtUs = null;
  state.bootedUs = state.nowUs;
  course.booted(host);
  host.events.push({ type: 'booted', at: nowMs(host) });
  for (const input of waiting) take(course, host, input);
};

/** What was overtaken is dropped, so that a host at rest has nothing to do. */
const dropOvertaken = <Task, Host extends TimedHost<Task>>(course: Course<Host, Task>, host: Host): void => {
  const { agenda } = host.state;
  for (let [first] = agenda.entries; first; [first] = agenda.entries) {
    if (course.stillApplies(host, first.task)) return;
    takeDue(agenda, first.dueUs);
  }
};

const passTime = <Task, Host extends TimedHost<Task>>(
  course: Course<Host, Task>,
  host: Host,
  untilUs: number,
): void => {
  for (let due = dueUsOf(host.state); due !== null && due <= untilUs; due = dueUsOf(host.state)) {
    moveTo(course, host, due);
    if (host.state.upAtUs !== null) finishBoot(course, host);
    else {
      const next = takeDue(host.state.agenda, due);
      if (!next || !course.stillApplies(host, next.task)) continue;
      course.perform(host, next.task);
    }
    course.follow(host);
  }
  moveTo(course, host, untilUs);
  dropOvertaken(course, host);
};

const take = <Task, Host extends TimedHost<Task>>(course: Course<Host, Task>, host: Host, input: HostInput): void => {
  if (input.do === 'setFaults') course.setFaults(host, input.faults);
  else if (input.do === 'powerOff') powerOff(course, host, input.ticket);
  else if (input.do === 'powerOn') powerOn(course, host, input.ticket);
  else if (host.state.off === true) refuseOff(host, input);
  else if (input.do === 'crash') course.crash(host);
  else if (isUp(host.state)) course.command(host, input);
  else if ('ticket' in input) keepForLater(host, input);
};

const keepForLater = (host: TimedHost<unknown>, input: HostInput & { readonly ticket: string }): void => {
  const { waiting, name } = host.state;
  if (waiting.length < WAITING_WHILE_DOWN) {
    waiting.push(input);
    return;
  }
  const message = `${name} crashed and boots again; ${waiting.length} commands wait for it already`;
  refuse(host, input.ticket, reject('host_crashed', message));
};

/** Power that is off can't be lost, and nobody there does anything. */
const refuseOff = (host: TimedHost<unknown>, input: HostInput): void => {
  if (!('ticket' in input)) return;
  refuse(host, input.ticket, reject('host_powered_off', `${host.state.name} is powered off`));
};

/** Lets time pass to `at`, then takes the input; what takes no time is done at once. */
export const step = <Task, Host extends TimedHost<Task>>(
  course: Course<Host, Task>,
  host: Host,
  { at, input }: { readonly at: number; readonly input?: HostInput | undefined },
): void => {
  const nowUs = Math.max(at * US_PER_MS, host.state.nowUs);
  passTime(course, host, nowUs);
  if (!input) return;
  take(course, host, input);
  course.follow(host);
  passTime(course, host, nowUs);
};
