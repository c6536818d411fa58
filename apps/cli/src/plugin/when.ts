import { UserError } from '../terminal.js';

const UNIT_MS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

const EXAMPLES = [
  'Write how long ago (10m-ago, 2h30m-ago, 3d-ago), a time (2026-01-31T12:00:00Z), a position of the log (1234), or now.',
];

/** A moment as the API takes it, from what people write. `now` counts in milliseconds. Throws a UserError. */
export const momentOf = (text: string, now: number): string => {
  if (/^\d{1,15}$/.test(text)) return text;
  if (text === 'now') return new Date(now).toISOString();
  const ago = /^((?:\d+(?:\.\d+)?[smhd])+)(?:-ago)?$/.exec(text)?.[1];
  if (ago !== undefined) {
    let past = 0;
    for (const [, amount, unit] of ago.matchAll(/(\d+(?:\.\d+)?)([smhd])/g))
      past += Number(amount) * (UNIT_MS[unit ?? ''] ?? 0);
    return new Date(now - past).toISOString();
  }
  const time = /^\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:\d\d)?)?$/.test(text)
    ? Date.parse(text.replace(' ', 'T'))
    : Number.NaN;
  if (Number.isNaN(time)) throw new UserError(`"${text}" is no moment.`, EXAMPLES);
  return new Date(time).toISOString();
};
