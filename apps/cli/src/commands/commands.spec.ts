import { describe, expect, it } from 'vitest';
import { table } from '../terminal.js';
import { splitDataFlag } from './kubectl.js';
import { readable } from './log-line.js';
import { chooseSuites } from './test.js';

describe('kubectl arguments', () => {
  it('keep everything but a leading --data', () => {
    expect(splitDataFlag(['--data', 'my data', 'get', 'vm', '-o', 'json'])).toEqual({
      data: 'my data',
      rest: ['get', 'vm', '-o', 'json'],
    });
    expect(splitDataFlag(['--data=b', 'get', 'vm'])).toEqual({ data: 'b', rest: ['get', 'vm'] });
    expect(splitDataFlag(['get', 'vm', '--data', 'x'])).toEqual({
      data: undefined,
      rest: ['get', 'vm', '--data', 'x'],
    });
  });
});

describe('a log line', () => {
  it('is shown with time, level, message and what else it says', () => {
    const line = JSON.stringify({ level: 40, time: 0, pid: 1, msg: 'lease lost', holder: 'a', attempts: 2 });
    expect(readable(line)).toBe('00:00:00.000 WARN  lease lost  holder=a attempts=2');
  });

  it('stays as it is when it is not JSON, or only looks like it', () => {
    expect(readable('plain text')).toBe('plain text');
    expect(readable('{ broken')).toBe('{ broken');
  });
});

describe('the choice of suites', () => {
  it('is all of them, or those named', () => {
    expect(chooseSuites(undefined).map(({ name }) => name)).toEqual([
      'format',
      'types',
      'lint',
      'unit',
      'images',
      'integration',
      'e2e',
      'containers',
    ]);
    expect(chooseSuites('unit, lint').map(({ name }) => name)).toEqual(['lint', 'unit']);
  });

  it('refuses a name that no suite has', () => {
    expect(() => chooseSuites('unti')).toThrow('there is no suite "unti"');
  });
});

describe('a table', () => {
  it('aligns its columns', () => {
    expect(
      table([
        ['NAME', 'PID'],
        ['gateway', '1'],
      ]),
    ).toBe('NAME     PID\ngateway  1');
  });
});
