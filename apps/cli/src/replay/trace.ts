import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { messageOf, UserError } from '../terminal.js';

/** One machine of a trace; times in days, sizes in the trace's own units. */
export interface TraceMachine {
  readonly id: string;
  /** Hundredths of a core. */
  readonly cores: number;
  /** Gigabytes. */
  readonly ram: number;
  readonly start: number;
  /** Infinity: it outlives the trace. */
  readonly end: number;
}

/** Something that the trace does at a moment; `machine` is an index into the trace. */
export interface TraceEvent {
  readonly at: number;
  readonly kind: 'create' | 'delete';
  readonly machine: number;
}

const COLUMNS = ['vmId', 'tenantId', 'cores', 'ram', 'vmTypeId', 'starttime', 'endtime'] as const;
const FORMAT = `a header line "${COLUMNS.join(',')}", then one machine a line; cores in hundredths, ram in GB, times in days`;

const numberIn = (text: string | undefined, check: (value: number) => boolean): number | null => {
  const value = text?.trim() === 'inf' ? Number.POSITIVE_INFINITY : text?.trim() === '' ? Number.NaN : Number(text);
  return Number.isNaN(value) || !check(value) ? null : value;
};

const positive = (value: number): boolean => value > 0 && Number.isFinite(value);

/** The machine of a line, or what is wrong with it. */
export const parseLine = (line: string): TraceMachine | string => {
  const fields = line.trim().split(',');
  if (fields.length !== COLUMNS.length) return `it has ${fields.length} fields instead of ${COLUMNS.length}`;
  const [id = '', , coresText, ramText, , startText, endText] = fields;
  const cores = numberIn(coresText, positive);
  const ram = numberIn(ramText, positive);
  const start = numberIn(startText, Number.isFinite);
  const end = numberIn(endText, () => true);
  if (cores === null) return `cores is "${coresText ?? ''}", not a number above 0`;
  if (ram === null) return `ram is "${ramText ?? ''}", not a number above 0`;
  if (start === null) return `starttime is "${startText ?? ''}", not a number of days`;
  if (end === null || end < start)
    return `endtime is "${endText ?? ''}", not a number of days from the start on, or inf`;
  return { id, cores, ram, start, end };
};

/** Reads the first `limit` machines. Throws a UserError that names the line for what cannot be read. */
export const readTrace = async (file: string, limit: number): Promise<readonly TraceMachine[]> => {
  const machines: TraceMachine[] = [];
  let number = 0;
  const stream = createReadStream(file, 'utf8');
  const failed = new Promise<never>((_resolve, reject) => stream.once('error', reject));
  const read = async (): Promise<void> => {
    for await (const line of createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY })) {
      number += 1;
      if (number === 1) {
        if (line.trim() !== COLUMNS.join(',')) throw damaged(file, number, 'it is not the header of a trace');
      } else if (line.trim() !== '') {
        const machine = parseLine(line);
        if (typeof machine === 'string') throw damaged(file, number, machine);
        machines.push(machine);
        if (machines.length >= limit) break;
      }
    }
  };
  try {
    await Promise.race([read(), failed]);
  } catch (cause) {
    if (cause instanceof UserError) throw cause;
    throw new UserError(`cannot read the trace ${file}: ${messageOf(cause)}`, ['--trace names a CSV file.']);
  } finally {
    stream.destroy();
  }
  if (machines.length === 0) throw new UserError(`the trace ${file} holds no machine.`, [`It must be ${FORMAT}.`]);
  return machines;
};

const damaged = (file: string, line: number, what: string): UserError =>
  new UserError(`cannot read line ${line} of ${file}: ${what}.`, [`A trace is ${FORMAT}.`]);

/** At equal times machines go before others come; one that lives for no time comes first and then goes. */
const rankOf = (event: TraceEvent, machines: readonly TraceMachine[]): number => {
  if (event.kind === 'create') return 1;
  const machine = machines[event.machine];
  return machine && machine.end > machine.start ? 0 : 2;
};

/** Everything that happens in the trace, in its order. */
export const eventsOf = (machines: readonly TraceMachine[]): readonly TraceEvent[] => {
  const events = machines.flatMap((machine, index): TraceEvent[] => [
    { at: machine.start, kind: 'create', machine: index },
    ...(Number.isFinite(machine.end) ? [{ at: machine.end, kind: 'delete' as const, machine: index }] : []),
  ]);
  return events.sort(
    (left, right) =>
      left.at - right.at || rankOf(left, machines) - rankOf(right, machines) || left.machine - right.machine,
  );
};
