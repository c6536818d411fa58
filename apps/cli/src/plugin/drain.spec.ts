import { describe, expect, it } from 'vitest';
import { progressOf } from './drain.js';

describe('the progress of a drained host', () => {
  it.each<[string, ReturnType<typeof progressOf>]>([
    ['true|Evacuating|2 virtual machines are left', { text: '2 virtual machines are left', ended: null }],
    ['true|InMaintenance|none is left', { text: 'none is left', ended: 'empty' }],
    ['false||', { text: 'the maintenance was called off', ended: 'called off' }],
    ['||', { text: 'the maintenance was called off', ended: 'called off' }],
  ])('of %s', (line, expected) => {
    expect(progressOf(line)).toEqual(expected);
  });
});
