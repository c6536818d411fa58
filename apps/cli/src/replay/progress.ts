import type { Replayer } from './replayer.js';

const TERMINAL_EVERY_MS = 200;
const PLAIN_EVERY_MS = 5_000;

const lineOf = (replayer: Replayer, events: number): string => {
  const { machines } = replayer;
  const share = ((100 * replayer.begun) / events).toFixed(0);
  return `${share} % of ${events} events, trace day ${replayer.day.toFixed(2)}: ${machines.accepted} accepted, ${machines.running} ran, ${machines.refused} refused, ${replayer.deleted} deleted, ${(machines.running / Math.max(0.001, replayer.seconds)).toFixed(0)} VMs/s`;
};

/** Shows how far the replay is: one line that changes on a terminal, a line now and then elsewhere. The answer ends it. */
export const showProgress = (replayer: Replayer, events: number): (() => void) => {
  const terminal = process.stderr.isTTY;
  const show = (): void => {
    const line = lineOf(replayer, events);
    process.stderr.write(terminal ? `\r\u001b[K${line}` : `${line}\n`);
  };
  const timer = setInterval(show, terminal ? TERMINAL_EVERY_MS : PLAIN_EVERY_MS);
  return () => {
    clearInterval(timer);
    show();
    if (terminal) process.stderr.write('\n');
  };
};
