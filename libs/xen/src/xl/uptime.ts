import { left, lines, right } from './columns.js';

const two = (value: number): string => String(value).padStart(2, '0');

/** Days, hours and minutes, as `uptime` of the tools writes them. */
export const spanText = (seconds: number, withSeconds: boolean): string => {
  const days = Math.floor(seconds / 86_400);
  const hours = Math.floor((seconds % 86_400) / 3600);
  const minutes = Math.floor((seconds % 3600) / 60);
  const clock = `${right(hours, 2)}:${two(minutes)}${withSeconds ? `:${two(seconds % 60)}` : ''}`;
  if (days === 0) return clock;
  return `${days} ${days === 1 ? 'day' : 'days'}, ${clock}`;
};

export interface UptimeFacts {
  readonly name: string;
  readonly domid: number;
  /** Whole seconds since it started. */
  readonly uptimeSeconds: number;
}

/** `xl uptime` (tools/xl/xl_info.c). */
export const uptimeText = (domains: readonly UptimeFacts[]): string =>
  lines([
    `${left('Name', 33)} ${right('ID', 4)} Uptime`,
    ...domains.map(
      ({ name, domid, uptimeSeconds }) => `${left(name, 33)} ${right(domid, 4)} ${spanText(uptimeSeconds, true)}`,
    ),
  ]);

/** `xl uptime -s`; `timeOfDaySeconds` since midnight, in the host's time zone. */
export const shortUptimeText = (domains: readonly UptimeFacts[], timeOfDaySeconds: number): string => {
  const hours = Math.floor(timeOfDaySeconds / 3600);
  const minutes = Math.floor((timeOfDaySeconds % 3600) / 60);
  const clock = `${two(hours)}:${two(minutes)}:${two(timeOfDaySeconds % 60)}`;
  return lines(
    domains.map(
      ({ name, domid, uptimeSeconds }) => ` ${clock} up ${spanText(uptimeSeconds, false)}, ${name} (${domid})`,
    ),
  );
};
