import { describe, expect, it } from 'vitest';
import { momentOf } from './when.js';

const NOW = Date.parse('2026-06-15T12:00:00.000Z');

describe('a moment as people write it', () => {
  it.each([
    ['10m-ago', '2026-06-15T11:50:00.000Z'],
    ['2h30m-ago', '2026-06-15T09:30:00.000Z'],
    ['1.5d', '2026-06-14T00:00:00.000Z'],
    ['now', '2026-06-15T12:00:00.000Z'],
    ['2026-06-01T10:00:00+02:00', '2026-06-01T08:00:00.000Z'],
    ['2026-06-01 10:00Z', '2026-06-01T10:00:00.000Z'],
    ['2026-06-01', '2026-06-01T00:00:00.000Z'],
    ['1234', '1234'],
  ])('%s is %s', (text, moment) => {
    expect(momentOf(text, NOW)).toBe(moment);
  });

  it.each(['yesterday', '-5m', '5w-ago', '2026-13-01', ''])('refuses "%s", and says what to write', (text) => {
    expect(() => momentOf(text, NOW)).toThrow(`"${text}" is no moment.`);
  });
});
