import { describe, expect, it } from 'vitest';
import { progressOf, SEPARATOR } from './park.js';

const PAUSED = JSON.stringify([
  { virtualMachine: { uid: 'web', name: 'web', namespace: 'default' }, message: 'it is paused' },
]);

const line = (...parts: readonly string[]): string => parts.join(SEPARATOR);

describe('progress of parking', () => {
  it.each([
    [line('true', 'On', '', '3 virtual machines are left on the host', ''), '3 virtual machines are left on the host'],
    [
      line('true', 'On', '', "1 virtual machine is left on the host; 1 can't move", PAUSED),
      "1 virtual machine is left on the host; 1 can't move; default/web: it is paused",
    ],
    [line('true', 'ShuttingDown', '', 'no virtual machine is left on the host', ''), 'its power is being switched off'],
    [
      line('true', 'ShuttingDown', 'it could not be powered off: the bus is broken', '', ''),
      'its power is being switched off; it could not be powered off: the bus is broken',
    ],
  ])('goes on: %j', (text, said) => {
    expect(progressOf(text, 'park')).toEqual({ text: said, ended: null });
  });

  it('ends when the host is off, or when somebody calls it off', () => {
    expect(progressOf(line('true', 'Off', '', '', ''), 'park')).toEqual({
      text: 'the host is powered off',
      ended: 'done',
    });
    expect(progressOf(line('false', 'On', '', '', ''), 'park').ended).toBe('called off');
    expect(progressOf(line('', 'On', '', '', ''), 'park').ended).toBe('called off');
  });
});

describe('progress of waking', () => {
  it('says why a host does not come', () => {
    const failed = line('false', 'Off', 'it could not be powered on: its power supply is broken', '', '');
    expect(progressOf(failed, 'wake')).toEqual({
      text: 'the host is powered off; it could not be powered on: its power supply is broken',
      ended: null,
    });
  });

  it('ends when the host is on', () => {
    expect(progressOf(line('false', 'Starting', '', '', ''), 'wake').ended).toBeNull();
    expect(progressOf(line('false', 'On', '', '', ''), 'wake')).toEqual({ text: 'the host is on', ended: 'done' });
    expect(progressOf(line('true', 'Off', '', '', ''), 'wake').ended).toBe('called off');
  });
});
