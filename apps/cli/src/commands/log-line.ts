import { z } from 'zod';
import { namingSources } from './stack-sources.js';

const LEVELS: Readonly<Record<number, string>> = {
  10: 'trace',
  20: 'debug',
  30: 'info',
  40: 'WARN',
  50: 'ERROR',
  60: 'FATAL',
};
/** The same on every line of a process, so people need not read it. */
const HIDDEN = new Set(['level', 'time', 'msg', 'pid', 'hostname', 'name', 'service', 'instance']);

const entrySchema = z.looseObject({
  level: z.union([z.number(), z.string()]).optional(),
  time: z.union([z.number(), z.string()]).optional(),
  msg: z.string().optional(),
});

const shown = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value));

/** A JSON log line as people read it; every other line as it is. Times are UTC, places in stacks are those of the sources. */
export const readable = (line: string): string => namingSources(withoutJson(line));

const withoutJson = (line: string): string => {
  if (!line.startsWith('{')) return line;
  let entry: z.infer<typeof entrySchema>;
  try {
    entry = entrySchema.parse(JSON.parse(line));
  } catch {
    return line;
  }
  const time = entry.time === undefined ? '' : `${new Date(entry.time).toISOString().slice(11, 23)} `;
  const level = typeof entry.level === 'number' ? (LEVELS[entry.level] ?? String(entry.level)) : (entry.level ?? '');
  const rest = Object.entries(entry)
    .filter(([key]) => !HIDDEN.has(key))
    .map(([key, value]) => `${key}=${shown(value)}`);
  return `${time}${level.padEnd(5)} ${entry.msg ?? ''}${rest.length > 0 ? `  ${rest.join(' ')}` : ''}`;
};
